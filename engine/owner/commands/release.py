"""Release a job: end its attempt, and make it ready again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum, auto

from engine.domain.deadlines import NEVER, Due, due_after
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import WriteOne
from engine.storage.record import Record


class Count(Enum):
    """The kind of an attempt's end: what it counts as against the job."""

    NOTHING = auto()
    FAILURE = auto()
    DEATH = auto()


class ReleaseJob(WriteOne):
    """End an attempt, and make its job ready again: at once, or after a delay.

    Attributes:
        token: The token of the attempt.
        delay_seconds: The delay; 0 for none.
        count: What the attempt counts as.
    """

    __slots__ = ("count", "delay_seconds", "token")

    def __init__(
        self, job_id: str, token: str, delay_seconds: float = 0.0, count: Count = Count.NOTHING
    ) -> None:
        super().__init__(job_id)
        self.token = token
        self.delay_seconds = delay_seconds
        self.count = count

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
        retry = due_after(batch.now, delay) if delay else NEVER
        return [release(batch, record, retry=retry, count=self.count)]


def release(batch: Batch, record: Record, *, retry: Due, count: Count) -> Record:
    """End an attempt. Its job becomes ready again, now or later; a cancelled job ends."""
    execution = record.execution
    if execution.cancel_reason is not None:
        return end_cancelled(batch, record, execution.cancel_reason)
    batch.retried += count is not Count.NOTHING
    failures = execution.failures + (count is Count.FAILURE)
    deaths = (execution.deaths or 0) + (count is Count.DEATH)
    return batch.amend(record, execution.released(retry, failures=failures, deaths=deaths))
