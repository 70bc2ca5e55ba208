"""The decisions of one batch: pure code that turns requests into changes, in order.

Everything that a decision may look at is here: the committed jobs that the batch names and, in
their place, what the batch has made of them so far. Nothing is visible to anybody until the owner
has committed it; a decision that fails leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from engine.domain.exceptions import (
    DuplicateJobIdError,
    EngineError,
    IdempotencyConflictError,
    JobDamagedError,
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
    Damaged,
    Record,
    blockchain_identifier,
    moved,
)
from engine.messages import CreateJobs, Draft, Step, Write
from engine.storage.protocol import CheckedOut


class Decisions:
    """What one batch decides.

    Args:
        lifecycle: The judge of moves.
        now: The time of every change of the batch.
        last_sequence: The number of the newest committed change.
        last_position: The position of the newest committed job.
        named: The committed jobs that the batch names, by id and by key. Read only.
        find: Returns the job with an id, if the owner holds it.

    Attributes:
        changes: What is to be committed, in order.
        last_position: The position of the newest job, new ones included.
    """

    def __init__(
        self,
        *,
        lifecycle: Lifecycle[Any],
        now: datetime,
        last_sequence: int,
        last_position: int,
        named: CheckedOut,
        find: Callable[[str], Record | None],
    ) -> None:
        self.changes: list[Change] = []
        self.last_position = last_position
        self._lifecycle = lifecycle
        self._now = now
        self._next_sequence = last_sequence + 1
        self._named = named
        self._jobs = dict(named.jobs)  # as they are after the changes so far
        self._ids_of_keys = {key: record[JOB_ID] for key, record in named.keys.items()}
        self._jobs.update({record[JOB_ID]: record for record in named.keys.values()})
        self._find = find
        self._before: list[Record | None] = []  # for each change, the job before it

    def new_ids(self) -> set[str]:
        """Return the ids of the new jobs."""
        return {record[JOB_ID] for _, from_status, record in self.changes if not from_status}

    def decide(self, message: Write) -> Sequence[Record]:
        """Decide one message, all of it or nothing.

        Raises:
            EngineError: The caller's mistake; its ``item`` says which item was wrong.
        """
        before = len(self.changes)
        records: list[Record] = []
        try:
            if isinstance(message, CreateJobs):
                for draft in message.drafts:
                    records.append(self._create(draft))
            else:
                for step in message.steps:
                    records.append(self._move(step))
        except EngineError as error:
            error.item = len(records)
            while len(self.changes) > before:
                self._take_back()
            raise
        return records

    def _create(self, draft: Draft) -> Record:
        job_id, input_hash, identifier, key = draft
        if key is not None:
            if key in self._ids_of_keys:
                return _same_content(self._jobs[self._ids_of_keys[key]], draft)
            _check_sound(self._named.damaged_keys.get(key))
        taken = job_id in self._jobs or job_id in self._named.damaged
        if taken or self._find(job_id) is not None:
            raise DuplicateJobIdError(job_id)
        now, status, position = self._now, self._lifecycle.initial_value, self.last_position + 1
        record = (job_id, status, input_hash, identifier, now, now, None, None, 1, position, key)
        if key is not None:
            self._ids_of_keys[key] = job_id
        self.last_position = position
        self._add(None, None, record)
        return record

    def _move(self, step: Step) -> Record:
        job_id, target, result, error, expected_version = step
        before = self._jobs.get(job_id)
        if before is None:
            _check_sound(self._named.damaged.get(job_id))
            raise JobNotFoundError(job_id)
        if expected_version is not None and expected_version != before[VERSION]:
            raise VersionConflictError(job_id, expected_version, before[VERSION])
        self._lifecycle.validate(before[STATUS], target, job_id)
        record = moved(before, target, self._now, result, error)
        self._add(before, before[STATUS], record)
        return record

    def _add(self, before: Record | None, from_status: str | None, record: Record) -> None:
        self.changes.append((self._next_sequence, from_status, record))
        self._next_sequence += 1
        self._before.append(before)
        self._jobs[record[JOB_ID]] = record

    def _take_back(self) -> None:
        """Undo the newest change."""
        _, _, record = self.changes.pop()
        self._next_sequence -= 1
        before = self._before.pop()
        if before is not None:
            self._jobs[record[JOB_ID]] = before
            return
        del self._jobs[record[JOB_ID]]
        self.last_position -= 1
        if (key := record[IDEMPOTENCY_KEY]) is not None:
            del self._ids_of_keys[key]


def _check_sound(damaged: Damaged | None) -> None:
    """Refuse to go on with a job that can't be read.

    Raises:
        JobDamagedError: There is such a job.
    """
    if damaged is not None:
        raise JobDamagedError(damaged.job_id, damaged.problem)


def _same_content(existing: Record, draft: Draft) -> Record:
    """Return the job that has the draft's key already, if it was created with the same content."""
    _, input_hash, identifier, key = draft
    job_id = existing[JOB_ID]
    if existing[INPUT_HASH] != input_hash:
        raise IdempotencyConflictError(str(key), job_id, "input_hash")
    existing_identifier = blockchain_identifier(job_id, existing[BLOCKCHAIN_IDENTIFIER])
    if existing_identifier != blockchain_identifier(job_id, identifier):
        raise IdempotencyConflictError(str(key), job_id, "blockchain_identifier")
    return existing
