"""Guard a write of one job: it is decided only while the job is as its caller has seen it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from engine.domain.deadlines import Deadline, shown_deadlines
from engine.domain.exceptions import (
    AttemptConflictError,
    DeadlineConflictError,
    StatusConflictError,
    VersionConflictError,
)
from engine.domain.time_text import duration_text, time_text
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.storage.audit import AuditLine
from engine.storage.record import Change, Record


class SeenDeadline(NamedTuple):
    """A deadline of a job, as a caller has seen it. To extend a job is no transition."""

    status: str
    deadline: Deadline | None
    """That of the present status is a time, of another one as it was given; None for none."""

    def check(self, job: Record) -> None:
        """Check that a job has it.

        Raises:
            DeadlineConflictError: It has another one, or none.
        """
        status, expected = self
        if status == job.status:
            actual: Deadline | None = job.execution.deadline_at
        else:
            actual = shown_deadlines(job.execution.deadlines).get(status)
        if actual != expected:
            raise DeadlineConflictError(job.job_id, status, _text(expected), _text(actual))


def _text(deadline: Deadline | None) -> str | None:
    """Return a deadline as the dump of a job has it."""
    if deadline is None:
        return None
    return time_text(deadline) if isinstance(deadline, datetime) else duration_text(deadline)


class Expected(NamedTuple):
    """What a caller has seen of a job; None: he has not looked."""

    status: str | None = None
    version: int | None = None
    """The number of transitions. An attempt that fails, and is retried, is none."""
    attempt: int | None = None
    """The number of the newest attempt; 0 before the first."""
    deadline: SeenDeadline | None = None

    def check(self, job: Record) -> None:
        """Check that a job is as it was seen.

        Raises:
            StatusConflictError: It has another status.
            VersionConflictError: It has another version.
            AttemptConflictError: It has another newest attempt.
            DeadlineConflictError: It has another deadline.
        """
        status, version, attempt, deadline = self
        if status is not None and status != job.status:
            raise StatusConflictError(job.job_id, status, job.status)
        if version is not None and version != job.version:
            raise VersionConflictError(job.job_id, version, job.version)
        if attempt is not None and attempt != job.execution.attempt:
            raise AttemptConflictError(job.job_id, attempt, job.execution.attempt)
        if deadline is not None:
            deadline.check(job)


ANYTHING: Final = Expected()


class Guarded(Write):
    """Decides another write while a job is as its caller has seen it.

    Args:
        write: The write.
        job_id: The job, one of those that the write names.
        expected: What the caller has seen.
    """

    __slots__ = ("acted", "expected", "job_id", "job_ids", "keys", "payments", "write")

    def __init__(self, write: Write, job_id: str, expected: Expected) -> None:
        super().__init__(write.weight)
        self.acted = write.acted
        self.write = write
        self.job_id = job_id
        self.expected = expected
        self.job_ids, self.keys, self.payments = write.job_ids, write.keys, write.payments

    def decide(self, batch: Batch) -> Sequence[Record] | None:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StatusConflictError: The job has another status.
            VersionConflictError: The job has another version.
            AttemptConflictError: The job has another newest attempt.
            DeadlineConflictError: The job has another deadline.
            EngineError: As the write's own.
        """
        self.expected.check(batch.job(self.job_id))
        return self.write.decide(batch)

    def lines(self, changes: Sequence[Change], at: datetime) -> Iterable[AuditLine]:
        """See `Write.lines`."""
        return self.write.lines(changes, at)
