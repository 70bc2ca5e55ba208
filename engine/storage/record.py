"""Records: how the engine keeps a job.

A record is a frozen `msgspec.Struct` that the garbage collector never tracks (``gc=False``): it
holds texts, numbers and times alone, so it can't be part of a cycle. A live frozen pydantic job
takes 1,290 bytes where a record and its texts take less than 500; and a million records cost a
collection nothing, where a million tracked objects stop the event loop for a tenth of a second.

Records never leave the engine: callers get `engine.domain.models.Job`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace


class Execution(Struct, frozen=True, gc=False):
    """The part of a job that only handlers, deadlines and priorities need.

    Most jobs of an engine that is used as a mere state machine share `NO_EXECUTION`.
    """

    priority: int = 0
    """Jobs with a higher one are claimed first."""
    deadlines: str | None = None
    """By status, a JSON object of seconds or times; see `engine.domain.deadlines`."""
    deadline_at: datetime | None = None
    """When the present status is left by force."""
    attempt: int = 0
    """The number of the newest attempt; 0 before the first."""
    failures: int = 0
    """How many attempts count against the retries."""
    token: str | None = None
    """Of the attempt that has the job; None when none has."""
    retry_at: datetime | None = None
    """The job is not claimed before."""
    prompt: str | None = None
    """The open question, a JSON object; see `engine.owner.prompts`."""
    answers: str | None = None
    """The answers so far, a JSON object by the names of the prompts."""
    cancel_reason: str | None = None
    """Why somebody wants the job to end; None when nobody does."""

    def entering(self, deadline_at: datetime | None) -> Execution:
        """Return it for a job that enters a status: no attempt has the job, its time begins."""
        return Execution(
            priority=self.priority,
            deadlines=self.deadlines,
            deadline_at=deadline_at,
            attempt=self.attempt,
            failures=self.failures,
            answers=self.answers,
            cancel_reason=self.cancel_reason,
        )

    def claimed(self, token: str, failures: int) -> Execution:
        """Return it for a new attempt."""
        return replace(
            self, attempt=self.attempt + 1, failures=failures, token=token, retry_at=None
        )

    def released(self, retry_at: datetime | None, failures: int) -> Execution:
        """Return it for a job whose attempt has ended and left it running."""
        return replace(self, token=None, retry_at=retry_at, failures=failures)

    def asking(self, prompt: str, deadline_at: datetime | None) -> Execution:
        """Return it with an open question, and the time until which that may be answered."""
        return replace(self, prompt=prompt, deadline_at=deadline_at)

    def answered(self, answers: str) -> Execution:
        """Return it with these answers."""
        return replace(self, answers=answers)

    def to_be_cancelled(self, reason: str | None) -> Execution:
        """Return it with a reason to end the job."""
        return replace(self, cancel_reason=reason)


NO_EXECUTION: Final = Execution()


def default_identifier(job_id: str) -> str:
    """Return the payment's name of a job that was given none."""
    return f"mock_bc_{job_id}"


class Record(Struct, frozen=True, gc=False):
    """A job as the engine keeps it."""

    job_id: str
    status: str
    """The enum member's value."""
    input_hash: str
    blockchain_identifier: str | None
    """None for the default, which is made of the id; see `identifier`."""
    created_at: datetime
    """Aware, UTC, as are all times here."""
    updated_at: datetime
    """Never before ``created_at``."""
    position: int
    """1 for the first job of the engine; the order of a listing."""
    version: int = 1
    """One more with each transition."""
    result: str | None = None
    error: str | None = None
    idempotency_key: str | None = None
    input: str | None = None
    """What the handler is given, as JSON."""
    execution: Execution = NO_EXECUTION

    @property
    def identifier(self) -> str:
        """The payment's name: as it was given, or the default."""
        return self.blockchain_identifier or default_identifier(self.job_id)

    def moved(
        self,
        status: str,
        now: datetime,
        *,
        result: str | None = None,
        error: str | None = None,
        execution: Execution = NO_EXECUTION,
    ) -> Record:
        """Return the record after a move; its time never goes backwards when the clock does."""
        return Record(
            self.job_id,
            status,
            self.input_hash,
            self.blockchain_identifier,
            self.created_at,
            max(self.updated_at, now),
            self.position,
            self.version + 1,
            result,
            error,
            self.idempotency_key,
            self.input,
            execution,
        )

    def with_execution(self, execution: Execution) -> Record:
        """Return the record with another execution, and nothing else changed."""
        return replace(self, execution=execution)


class Change(Struct, frozen=True, gc=False):
    """One decided change: what a storage commits.

    Most are transitions. One without a sequence number is none: only the job's execution changes.
    It leaves status, version and updated_at as they are, and no line in the history.
    """

    sequence: int | None
    """The transition's number: 1 for the engine's first one, without gaps."""
    from_status: str | None
    """The status before; None when the job is created."""
    record: Record
    """The job after it: its status is the one moved to, its updated_at the time."""


class Damaged(NamedTuple):
    """Stands in the place of a record that a storage could not read."""

    job_id: str
    position: int
    problem: str


class Entry(NamedTuple):
    """One line of history, as a storage keeps it."""

    sequence: int
    job_id: str
    from_status: str | None
    to_status: str
    at: datetime


def newest_records(changes: Sequence[Change]) -> dict[str, Record]:
    """Return the newest record of each job that changes, by id."""
    return {change.record.job_id: change.record for change in changes}


def entries_of(changes: Sequence[Change]) -> list[Entry]:
    """Return the lines of history that changes make: one for each transition."""
    return [
        Entry(
            change.sequence,
            change.record.job_id,
            change.from_status,
            change.record.status,
            change.record.updated_at,
        )
        for change in changes
        if change.sequence is not None
    ]
