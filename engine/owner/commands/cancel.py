"""Cancel a job: end it, or ask the attempt that has it to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self, cast

from engine.domain.exceptions import JobEndedError
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.outcomes import Outcome
from engine.domain.validation import check_job_id
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.command import WriteOne
from engine.storage.record import Act, AttemptRecord, Execution, Record

CANCELLED: Final = "cancelled"


class CancelJob(WriteOne):
    """End a job, or ask the attempt that has it to stop."""

    __slots__ = ("act",)

    def __init__(self, job_id: str, act: Act, acted: Acted | None = None) -> None:
        super().__init__(job_id, acted=acted)
        self.act = act

    @classmethod
    def checked(cls, job_id: str, reason: str | None, by: str | None) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: The id, the reason or ``by`` has the wrong type or size.
        """
        act = checked_act(by, reason)
        return cls(check_job_id(job_id), act, acted("cancel", act))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`. Another cancel of a cancelled job changes nothing.

        Raises:
            JobNotFoundError: No job has this id.
            JobEndedError: The job has ended otherwise.
            InvalidStateTransitionError: The lifecycle has no ``cancels_to`` for the job's status.
        """
        record, lifecycle = batch.job(self.job_id), batch.lifecycle
        execution = record.execution
        is_first = execution.cancel_reason is None
        if lifecycle.is_final(record.status):
            if not _is_cancelled(lifecycle, record):
                raise ended_error(record)
            return [record]
        lifecycle.after(record.status, Event.CANCEL, self.job_id)
        if is_first:
            # A request without a reason has an empty one: None means no request.
            execution = execution.to_be_cancelled(self.act.reason or "", self.act.by)
        if not batch.is_held(record):
            return [end_cancelled(batch, record, execution)]
        return [batch.amend(record, execution) if is_first else record]


def _is_cancelled(lifecycle: Lifecycle[Any], record: Record) -> bool:
    """Return whether a job has ended as cancelled, whatever else a cancel of it may have met."""
    outcome = lifecycle.outcome(record.status, Event.CANCEL)
    if outcome is Outcome.CANCELLED or not lifecycle.leads_to(Event.CANCEL, record.status):
        return record.outcome == Outcome.CANCELLED.value
    # All jobs in this status have another outcome: what else a cancel leaves has to tell.
    error = _error(record.execution) if lifecycle.is_failure(record.status) else None
    was_asked = record.execution.cancel_reason is not None
    return was_asked and (record.result, record.error) == (None, error)


def ended_error(record: Record) -> JobEndedError:
    """Return the error for a job that has ended."""
    return JobEndedError(record.job_id, record.status, outcome_of(record))


def outcome_of(record: Record) -> Outcome:
    """Return the outcome of a job that has ended."""
    return Outcome(cast("str", record.outcome))


def end_cancelled(
    batch: Batch, record: Record, execution: Execution, failed: AttemptRecord | None = None
) -> Record:
    """End a cancelled job, even if an attempt has it.

    Args:
        batch: Takes the change.
        record: The job.
        execution: Its execution, with the request to cancel it.
        failed: The attempt that has it, if that has failed by itself.

    Raises:
        InvalidStateTransitionError: The lifecycle leads from the job's status to no failure.
    """
    lifecycle = batch.lifecycle
    target = lifecycle.target(record.status, Event.CANCEL)
    if target is None:
        # The lifecycle may have lost its `cancels_to` since the request; then a running job fails.
        target = lifecycle.after(record.status, Event.FAIL, record.job_id)
    act = Act(execution.cancelled_by, execution.cancel_reason or None)
    return batch.force(record, target, Event.CANCEL, _error(execution), execution, act, failed)


def _error(execution: Execution) -> str:
    reason = execution.cancel_reason
    return f"{CANCELLED}: {reason}" if reason else CANCELLED
