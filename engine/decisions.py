"""The decisions of one batch: pure code that turns requests into changes, in order.

Everything that a decision may look at is here: the committed jobs (those that the owner holds and
those that were checked out for this batch) and, on top of them, what the batch has decided so far.
Nothing is visible to anybody until the owner has committed it; a decision that fails leaves no
trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from engine.domain.exceptions import (
    DuplicateJobIdError,
    EngineError,
    IdempotencyConflictError,
    JobNotFoundError,
    VersionConflictError,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.record import (
    BLOCKCHAIN_IDENTIFIER,
    IDEMPOTENCY_KEY,
    INPUT_HASH,
    JOB_ID,
    STATUS,
    VERSION,
    Change,
    Record,
    moved,
)
from engine.domain.table import Table
from engine.messages import CreateJobs, Draft, Step, Write
from engine.storage.protocol import CheckedOut

Item = TypeVar("Item")


class Decisions:
    """What one batch decides.

    Args:
        lifecycle: The judge of moves.
        now: The time of every change of the batch.
        last_sequence: The number of the newest committed change.
        last_position: The position of the newest committed job.
        table: The jobs that the owner holds. Read only.
        checked_out: The others that the batch names.

    Attributes:
        changes: What is to be committed, in order.
        changed: The newest record of each job that changed, by id.
        last_position: The position of the newest job, new ones included.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle[Any],
        now: datetime,
        last_sequence: int,
        last_position: int,
        table: Table,
        checked_out: CheckedOut,
    ) -> None:
        self.changes: list[Change] = []
        self.last_position = last_position
        self._lifecycle = lifecycle
        self._now = now
        self._last_sequence = last_sequence
        self._table = table
        self._checked_out = checked_out
        self.changed: dict[str, Record] = {}
        self._new_keys: dict[str, str] = {}
        self._before: list[Record | None] = []  # for each change, what `changed` had of the job

    def decide(self, message: Write) -> Sequence[Record]:
        """Decide one message, all of it or nothing.

        Raises:
            EngineError: The caller's mistake; its ``item`` says which item was wrong.
        """
        if isinstance(message, CreateJobs):
            return self._each(self._create, message.drafts)
        return self._each(self._move, message.steps)

    def creates(self, job_id: str) -> bool:
        """Tell whether a job with this id is among the new ones."""
        return any(
            record[JOB_ID] == job_id for _, from_status, record in self.changes if not from_status
        )

    def _each(self, decide: Callable[[Item], Record], items: Sequence[Item]) -> list[Record]:
        before = len(self.changes)
        records: list[Record] = []
        try:
            for item in items:
                records.append(decide(item))
        except EngineError as error:
            error.item = len(records)
            while len(self.changes) > before:
                self._take_back()
            raise
        return records

    def _create(self, draft: Draft) -> Record:
        job_id, input_hash, identifier, key = draft
        if key is not None and (existing := self._find_by_key(key)) is not None:
            return _same_content(existing, draft)
        if self._find(job_id) is not None:
            raise DuplicateJobIdError(job_id)
        if identifier is None:
            identifier = default_blockchain_identifier(job_id)
        self.last_position += 1
        now, status = self._now, self._lifecycle.initial_value
        position = self.last_position
        record = (job_id, status, input_hash, identifier, now, now, None, None, 1, position, key)
        if key is not None:
            self._new_keys[key] = job_id
        return self._change(None, record)

    def _move(self, step: Step) -> Record:
        job_id, target, result, error, expected_version = step
        record = self._find(job_id)
        if record is None:
            raise JobNotFoundError(job_id)
        if expected_version is not None and expected_version != record[VERSION]:
            raise VersionConflictError(job_id, expected_version, record[VERSION])
        status = record[STATUS]
        self._lifecycle.validate(status, target, job_id)
        return self._change(status, moved(record, target, self._now, result, error))

    def _change(self, from_status: str | None, record: Record) -> Record:
        changes = self.changes
        changes.append((self._last_sequence + len(changes) + 1, from_status, record))
        self._before.append(self.changed.get(record[JOB_ID]))
        self.changed[record[JOB_ID]] = record
        return record

    def _take_back(self) -> None:
        """Undo the newest change."""
        _, from_status, record = self.changes.pop()
        before = self._before.pop()
        if before is not None:
            self.changed[record[JOB_ID]] = before
            return
        del self.changed[record[JOB_ID]]
        if from_status is None:
            self.last_position -= 1
            if (key := record[IDEMPOTENCY_KEY]) is not None:
                del self._new_keys[key]

    def _find(self, job_id: str) -> Record | None:
        return (
            self.changed.get(job_id)
            or self._table.find(job_id)
            or self._checked_out.jobs.get(job_id)
        )

    def _find_by_key(self, key: str) -> Record | None:
        if (job_id := self._new_keys.get(key)) is not None:
            return self.changed[job_id]
        existing = self._table.find_by_key(key) or self._checked_out.keys.get(key)
        return None if existing is None else self.changed.get(existing[JOB_ID], existing)


def default_blockchain_identifier(job_id: str) -> str:
    """Return the identifier of a job that was created without one."""
    return f"mock_bc_{job_id}"


def _same_content(existing: Record, draft: Draft) -> Record:
    """Return the job that has the draft's key already, if it was created with the same content."""
    _, input_hash, identifier, key = draft
    if identifier is None:
        identifier = default_blockchain_identifier(existing[JOB_ID])
    for field, place, value in (
        ("input_hash", INPUT_HASH, input_hash),
        ("blockchain_identifier", BLOCKCHAIN_IDENTIFIER, identifier),
    ):
        if existing[place] != value:
            raise IdempotencyConflictError(str(key), existing[JOB_ID], field)
    return existing
