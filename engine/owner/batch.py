"""The batch: what is to be committed together, and how the jobs are after it, so far.

It judges nothing. Every change can be taken back until it is committed, so that a request that
fails half way leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from engine.domain.exceptions import (
    DuplicateJobIdError,
    JobDamagedError,
    JobNotFoundError,
)
from engine.owner.messages import CheckedJob
from engine.storage.protocol import CheckedOut
from engine.storage.record import Change, Damaged, Execution, Record, newest_records


class Batch:
    """The changes of one turn.

    Args:
        now: The time of every change.
        last_sequence: The number of the newest committed transition.
        last_position: The position of the newest committed job.
        named: The committed jobs that the turn's messages name, by id and by key. Read only.
        find: Returns the job with an id, if the owner holds it.

    Attributes:
        now: The same.
        changes: What is to be committed, in order.
        last_position: The position of the newest job, new ones included.
    """

    def __init__(
        self,
        *,
        now: datetime,
        last_sequence: int,
        last_position: int,
        named: CheckedOut,
        find: Callable[[str], Record | None],
    ) -> None:
        self.now = now
        self.changes: list[Change] = []
        self.last_position = last_position
        self._next_sequence = last_sequence + 1
        self._named = named
        self._jobs = dict(named.jobs)  # as they are after the changes so far
        self._ids_of_keys = {key: record.job_id for key, record in named.keys.items()}
        self._jobs.update({record.job_id: record for record in named.keys.values()})
        self._find = find
        self._before: list[Record | None] = []  # for each change, the job before it

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
        """
        record = self._jobs.get(job_id)
        if record is None:
            _check_sound(self._named.damaged.get(job_id))
            raise JobNotFoundError(job_id)
        return record

    def newest(self, job_id: str) -> Record | None:
        """Return a job that the owner holds, as it is now; None if it holds none."""
        return self._jobs.get(job_id) or self._find(job_id)

    def job_with_key(self, key: str) -> Record | None:
        """Return the job that has an idempotency key, or None.

        Raises:
            JobDamagedError: It can't be read.
        """
        if key in self._ids_of_keys:
            return self._jobs[self._ids_of_keys[key]]
        _check_sound(self._named.damaged_keys.get(key))
        return None

    def create(self, job: CheckedJob, status: str, execution: Execution) -> Record:
        """Add a new job.

        Raises:
            DuplicateJobIdError: There is one with this id.
        """
        job_id = job.job_id
        taken = job_id in self._jobs or job_id in self._named.damaged
        if taken or self._find(job_id) is not None:
            raise DuplicateJobIdError(job_id)
        now = self.now
        self.last_position += 1
        record = Record(
            job_id,
            status,
            job.input_hash,
            job.blockchain_identifier,
            now,
            now,
            self.last_position,
            idempotency_key=job.idempotency_key,
            input=job.input,
            execution=execution,
        )
        if job.idempotency_key is not None:
            self._ids_of_keys[job.idempotency_key] = job_id
        self._add(None, None, record)
        return record

    def move(
        self,
        before: Record,
        status: str,
        *,
        result: str | None = None,
        error: str | None = None,
        execution: Execution,
    ) -> Record:
        """Add a transition."""
        record = before.moved(status, self.now, result=result, error=error, execution=execution)
        self._add(before, before.status, record)
        return record

    def amend(self, before: Record, execution: Execution) -> Record:
        """Add a change that is no transition: of the execution."""
        record = before.with_execution(execution)
        self.changes.append(Change(None, before.status, record))
        self._before.append(before)
        self._jobs[record.job_id] = record
        return record

    def _add(self, before: Record | None, from_status: str | None, record: Record) -> None:
        self.changes.append(Change(self._next_sequence, from_status, record))
        self._next_sequence += 1
        self._before.append(before)
        self._jobs[record.job_id] = record

    def take_back(self, to: int) -> None:
        """Undo the newest changes, until there are so many."""
        while len(self.changes) > to:
            self._take_back()

    def _take_back(self) -> None:
        change = self.changes.pop()
        record = change.record
        if change.sequence is not None:
            self._next_sequence -= 1
        before = self._before.pop()
        if before is not None:
            self._jobs[record.job_id] = before
            return
        del self._jobs[record.job_id]
        self.last_position -= 1
        if (key := record.idempotency_key) is not None:
            del self._ids_of_keys[key]


def _check_sound(damaged: Damaged | None) -> None:
    """Refuse to go on with a job that can't be read.

    Raises:
        JobDamagedError: There is such a job.
    """
    if damaged is not None:
        raise JobDamagedError(damaged.job_id, damaged.problem)
