"""Release a job: let its attempt give it back, to be run again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from engine.domain.deadlines import time_after
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import WriteOne
from engine.storage.record import Record


class ReleaseJob(WriteOne):
    """Let an attempt give its job back, to be run again: at once, or after a delay.

    Attributes:
        token: Of the attempt.
        delay_seconds: How long the job rests.
        failed: Whether the attempt counts as one that failed.
    """

    __slots__ = ("delay_seconds", "failed", "token")

    def __init__(self, job_id: str, token: str, delay_seconds: float, *, failed: bool) -> None:
        super().__init__(job_id)
        self.token = token
        self.delay_seconds = delay_seconds
        self.failed = failed

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: There is no such job.
            StaleAttemptError: The attempt has lost it.
        """
        record = batch.job(self.job_id)
        batch.check_holder(record, self.token)
        delay = timedelta(seconds=self.delay_seconds)
        retry_at = time_after(batch.now, delay) if delay else None
        return [release(batch, record, retry_at=retry_at, failed=self.failed)]


def release(batch: Batch, record: Record, *, retry_at: datetime | None, failed: bool) -> Record:
    """End an attempt: its job is ready again, now or later; or it ends, if it was cancelled."""
    execution = record.execution
    if execution.cancel_reason is not None:
        return end_cancelled(batch, record, execution.cancel_reason)
    batch.retried += failed
    return batch.amend(record, execution.released(retry_at, execution.failures + failed))
