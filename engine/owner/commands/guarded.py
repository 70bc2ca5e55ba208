"""Guard a write of one job: it is decided only while the job is as its caller has seen it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from engine.domain.exceptions import StatusConflictError, VersionConflictError
from engine.owner.batch import Batch
from engine.owner.commands.command import Write
from engine.storage.audit import AuditLine
from engine.storage.record import Change, Record


class Guarded(Write):
    """Decides another write while a job has the status and the version that its caller has seen.

    Args:
        write: The write.
        job_id: The job, one of those that the write names.
        status: The status; None for any.
        version: The version; None for any.
    """

    __slots__ = ("acted", "job_id", "job_ids", "keys", "payments", "status", "version", "write")

    def __init__(self, write: Write, job_id: str, status: str | None, version: int | None) -> None:
        super().__init__(write.weight)
        self.acted = write.acted
        self.write = write
        self.job_id = job_id
        self.status = status
        self.version = version
        self.job_ids, self.keys, self.payments = write.job_ids, write.keys, write.payments

    def decide(self, batch: Batch) -> Sequence[Record] | None:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StatusConflictError: The job has another status.
            VersionConflictError: The job has another version.
            EngineError: As the write's own.
        """
        check_as_seen(batch.job(self.job_id), self.status, self.version)
        return self.write.decide(batch)

    def lines(self, changes: Sequence[Change], at: datetime) -> Iterable[AuditLine]:
        """See `Write.lines`."""
        return self.write.lines(changes, at)


def check_as_seen(job: Record, status: str | None, version: int | None) -> None:
    """Check that a job is as somebody has seen it; None: he has not looked.

    Raises:
        StatusConflictError: It has another status.
        VersionConflictError: It has another version.
    """
    if status is not None and status != job.status:
        raise StatusConflictError(job.job_id, status, job.status)
    if version is not None and version != job.version:
        raise VersionConflictError(job.job_id, version, job.version)
