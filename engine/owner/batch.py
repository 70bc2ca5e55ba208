"""The batch: the changes that a round decides, and the jobs as they are after them.

No one sees a change before its commit. Until then it can be undone: a bulk call that fails leaves
no trace.

The batch also knows the holder of a job: while an attempt holds it, only that attempt may move it,
and proves itself by its token. The lifecycle judges the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from datetime import datetime
from typing import Any, TypeVar

from engine.domain.deadlines import due_in
from engine.domain.exceptions import (
    DuplicateJobIdError,
    EngineError,
    InvalidValueError,
    JobClaimedError,
    JobDamagedError,
    JobNotFoundError,
    StaleAttemptError,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage.protocol import CheckedOut
from engine.storage.record import (
    NO_EXECUTION,
    Change,
    Damaged,
    Execution,
    Record,
    newest_records,
)

Item = TypeVar("Item")


class Batch:
    """The changes of one round.

    Args:
        lifecycle: The judge of moves.
        now: The time of every change.
        last_sequence: The number of the newest committed transition.
        last_position: The position of the newest committed job.
        named: The committed jobs that the round's messages name, by id and by key. Read only.
        find: Returns the job with an id, if the owner holds it.
        is_orphan: Returns whether a job's newest attempt died with its engine.
        strays: The jobs that stray threads hold back.

    Attributes:
        lifecycle, now: The same.
        changes: The changes to commit, in order.
        last_position: The position of the newest job, new ones included.
        expired: How many jobs a deadline has moved on.
        retried: How many attempts have failed and are followed by another.
    """

    def __init__(
        self,
        lifecycle: Lifecycle[Any],
        *,
        now: datetime,
        last_sequence: int,
        last_position: int,
        named: CheckedOut,
        find: Callable[[str], Record | None],
        is_orphan: Callable[[Record], bool],
        strays: Container[str],
    ) -> None:
        self.lifecycle = lifecycle
        self.now = now
        self._strays = strays
        self.changes: list[Change] = []
        self.last_position = last_position
        self.expired = 0
        self.retried = 0
        self._next_sequence = last_sequence + 1
        self._named = named
        self._jobs = dict(named.jobs)  # as they are after the changes so far
        self._ids_of_keys = {key: record.job_id for key, record in named.keys.items()}
        self._jobs.update({record.job_id: record for record in named.keys.values()})
        self._find = find
        self._is_orphan = is_orphan
        self._before: list[Record | None] = []  # for each change, the job before it

    # Looking.

    def new_ids(self) -> set[str]:
        """Return the ids of the new jobs."""
        return {change.record.job_id for change in self.changes if change.from_status is None}

    def changed(self) -> dict[str, Record]:
        """Return the jobs that change, as they are after it, by id."""
        return newest_records(self.changes)

    def job(self, job_id: str) -> Record:
        """Return a job that was named, as it is now.

        Raises:
            JobNotFoundError: There is none.
            JobDamagedError: It can't be read.
            InvalidValueError: It was not read: the jobs of the items before are too large.
        """
        record = self._jobs.get(job_id)
        if record is None:
            _check_sound(self._named.damaged.get(job_id))
            if job_id in self._named.left_out:
                raise too_much("job_id")
            raise JobNotFoundError(job_id)
        return record

    def newest(self, job_id: str) -> Record | None:
        """Return a job that the owner holds, as it is now; None if it holds none."""
        return self._jobs.get(job_id) or self._find(job_id)

    def job_with_key(self, key: str) -> Record | None:
        """Return the job that has an idempotency key, or None.

        Raises:
            JobDamagedError: It can't be read.
            InvalidValueError: It was not read: the jobs of the items before are too large.
        """
        if key in self._ids_of_keys:
            return self._jobs[self._ids_of_keys[key]]
        _check_sound(self._named.damaged_keys.get(key))
        if key in self._named.left_out_keys:
            raise too_much("idempotency_key")
        return None

    # The holder of a job.

    def is_held(self, record: Record) -> bool:
        """Return whether a living attempt holds a job."""
        return record.execution.token is not None and not self._is_orphan(record)

    def check_holder(self, record: Record, token: str | None) -> None:
        """Check that the holder of this token, or of none, may move a job.

        Raises:
            JobClaimedError: An attempt holds the job.
            StaleAttemptError: The attempt with this token doesn't hold the job.
        """
        execution = record.execution
        if token is None:
            if self.is_held(record):
                raise JobClaimedError(record.job_id, execution.attempt)
        elif token != execution.token:
            raise StaleAttemptError(record.job_id, execution.attempt)

    def is_ready(self, record: Record) -> bool:
        """Tell whether a job may be claimed."""
        if record.status != self.lifecycle.running_value or record.job_id in self._strays:
            return False
        retry_at = record.execution.retry_at
        return (retry_at is None or retry_at <= self.now) and not self.is_held(record)

    # Changing.

    def entering(self, execution: Execution, status: str) -> Execution:
        """Return the execution of a job that enters a status: its time there begins."""
        if execution is NO_EXECUTION:
            return execution
        return execution.entering(due_in(execution.deadlines, status, self.now))

    def create(
        self,
        job_id: str,
        *,
        input_hash: str,
        blockchain_identifier: str | None,
        idempotency_key: str | None,
        given: str | None,
        execution: Execution,
    ) -> Record:
        """Add a new job, in the initial status.

        Raises:
            DuplicateJobIdError: There is one with this id.
        """
        taken = job_id in self._jobs or job_id in self._named.damaged
        if taken or self._find(job_id) is not None:
            raise DuplicateJobIdError(job_id)
        status = self.lifecycle.initial_value
        self.last_position += 1
        record = Record(
            job_id,
            status,
            input_hash,
            blockchain_identifier,
            self.now,
            self.now,
            self.last_position,
            idempotency_key=idempotency_key,
            input=given,
            execution=self.entering(execution, status),
        )
        if idempotency_key is not None:
            self._ids_of_keys[idempotency_key] = job_id
        return self._add(None, None, record)

    def move(
        self,
        before: Record,
        status: str,
        *,
        result: str | None = None,
        error: str | None = None,
        execution: Execution,
    ) -> Record:
        """Add a transition, with the execution that the job has after it."""
        record = before.moved(status, self.now, result=result, error=error, execution=execution)
        return self._add(before, before.status, record)

    def force(self, before: Record, status: str, error: str, execution: Execution) -> Record:
        """Add a transition even if an attempt holds the job. Keep the error only in a failure."""
        kept = error if self.lifecycle.is_failure(status) else None
        return self.move(before, status, error=kept, execution=self.entering(execution, status))

    def amend(self, before: Record, execution: Execution) -> Record:
        """Change a job's execution without a transition."""
        record = before.with_execution(execution)
        self.changes.append(Change(None, before.status, record))
        self._before.append(before)
        self._jobs[record.job_id] = record
        return record

    def _add(self, before: Record | None, from_status: str | None, record: Record) -> Record:
        self.changes.append(Change(self._next_sequence, from_status, record))
        self._next_sequence += 1
        self._before.append(before)
        self._jobs[record.job_id] = record
        return record

    # Taking back.

    def all_or_none(
        self, items: Iterable[Item], decide: Callable[[Batch, Item], Record]
    ) -> list[Record]:
        """Decide items in their order; return a job for each.

        Raises:
            EngineError: An item's; its ``item`` is the item's number. Nothing is added.
        """
        before = len(self.changes)
        records: list[Record] = []
        try:
            for item in items:
                records.append(decide(self, item))
        except EngineError as error:
            error.item = len(records)
            self._take_back(before)
            raise
        return records

    def _take_back(self, to: int) -> None:
        """Undo the newest changes, until there are so many."""
        while len(self.changes) > to:
            change = self.changes.pop()
            before, record = self._before.pop(), change.record
            if change.sequence is not None:
                self._next_sequence -= 1
            if before is not None:
                self._jobs[record.job_id] = before
                continue
            del self._jobs[record.job_id]
            self.last_position -= 1
            if record.idempotency_key is not None:
                del self._ids_of_keys[record.idempotency_key]


def too_much(field: str) -> InvalidValueError:
    """Return the error of an item whose job no longer fits into the answer of its call."""
    return InvalidValueError(
        field,
        f"is one too many: the items before it name jobs of {MAX_READ_CHARACTERS:,} characters, "
        "as many as one call returns; put it into another call",
    )


def _check_sound(damaged: Damaged | None) -> None:
    """Refuse to go on with a job that can't be read.

    Raises:
        JobDamagedError: There is such a job.
    """
    if damaged is not None:
        raise JobDamagedError(damaged.job_id, damaged.problem)
