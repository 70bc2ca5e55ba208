"""Release a job: end its attempt, and make it ready again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from msgspec import Struct

from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import WriteOne
from engine.owner.failed_attempts import failed_attempt
from engine.storage.record import Record

_NONE: Final = timedelta(0)


class Failed(Struct, frozen=True, gc=False):
    """The failure of an attempt, or its death, which counts apart from failures."""

    error: str
    is_death: bool = False


class ReleaseJob(WriteOne):
    """End an attempt, and make its job ready again: at once, or after a delay.

    Attributes:
        token: The token of the attempt.
        delay_seconds: The delay; 0 for none.
        failed: The failure that counts against the job; None for none.
    """

    __slots__ = ("delay_seconds", "failed", "token")
    by_attempt = True

    def __init__(
        self, job_id: str, token: str, delay_seconds: float = 0.0, failed: Failed | None = None
    ) -> None:
        super().__init__(job_id)
        self.token = token
        self.delay_seconds = delay_seconds
        self.failed = failed

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StaleAttemptError: The attempt doesn't have the job any more.
            InvalidStateTransitionError: The job was cancelled, and the lifecycle can't end it.
        """
        record = batch.job(self.job_id)
        batch.check_holder(record, self.token)
        delay = timedelta(seconds=self.delay_seconds)
        return [release(batch, record, delay=delay, failed=self.failed)]


def release(
    batch: Batch, record: Record, *, delay: timedelta = _NONE, failed: Failed | None = None
) -> Record:
    """End an attempt. Its job becomes ready again, now or later; a cancelled job ends."""
    execution, kept = record.execution, None
    if failed is not None:
        kept = failed_attempt(record, batch.now, failed.error, died=failed.is_death)
    if execution.cancel_reason is not None:
        return end_cancelled(batch, record, execution, kept)
    batch.retried += failed is not None
    retry = batch.next_attempt_of(record, delay)
    return batch.amend(record, execution.released(retry), kept)
