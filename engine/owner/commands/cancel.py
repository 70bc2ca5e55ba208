"""Cancel a job: end it, or ask the attempt that has it to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from engine.domain.exceptions import JobEndedError
from engine.domain.lifecycle import Event
from engine.domain.validation import MAX_REASON_CHARACTERS, check_job_id, check_text
from engine.owner.batch import Batch
from engine.owner.commands.command import WriteOne
from engine.storage.record import AttemptRecord, Record

CANCELLED: Final = "cancelled"


class CancelJob(WriteOne):
    """End a job, or ask the attempt that has it to stop."""

    __slots__ = ("reason",)

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(job_id)
        self.reason = reason

    @classmethod
    def checked(cls, job_id: str, reason: str) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: The id or the reason is of the wrong type or size.
        """
        reason = check_text("reason", reason, MAX_REASON_CHARACTERS, shortest=0)
        return cls(check_job_id(job_id), reason)

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Another cancel of the same job changes nothing.

        Raises:
            JobNotFoundError: No job has this id.
            JobEndedError: The job has ended without a cancel.
            InvalidStateTransitionError: The lifecycle has no ``cancels_to`` for the job's status.
        """
        record, lifecycle = batch.job(self.job_id), batch.lifecycle
        earlier = record.execution.cancel_reason
        if lifecycle.is_final(record.status):
            if earlier is None or not lifecycle.leads_to(Event.CANCEL, record.status):
                raise JobEndedError(self.job_id, record.status)
            return [record]
        lifecycle.after(record.status, Event.CANCEL, self.job_id)
        if not batch.is_held(record):
            return [end_cancelled(batch, record, self.reason if earlier is None else earlier)]
        if earlier is not None:
            return [record]
        return [batch.amend(record, record.execution.to_be_cancelled(self.reason))]


def end_cancelled(
    batch: Batch, record: Record, reason: str, failed: AttemptRecord | None = None
) -> Record:
    """End a cancelled job, even if an attempt has it; ``failed`` if that has failed by itself.

    Raises:
        InvalidStateTransitionError: The lifecycle leads from the job's status to no failure.
    """
    lifecycle = batch.lifecycle
    target = lifecycle.target(record.status, Event.CANCEL)
    if target is None:
        # The lifecycle may have lost its `cancels_to` since the request; then a running job fails.
        target = lifecycle.after(record.status, Event.FAIL, record.job_id)
    error = f"{CANCELLED}: {reason}" if reason else CANCELLED
    cancelled = record.execution.to_be_cancelled(reason)
    return batch.force(record, target, Event.CANCEL, error, cancelled, failed=failed)
