"""Retry a job: let it run again now, as if none of its attempts had failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from engine.domain.deadlines import NEVER
from engine.domain.exceptions import NotRetryableError
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.validation import check_job_id
from engine.owner.acts import Acted, acted, checked_act
from engine.owner.batch import Batch
from engine.owner.commands.command import WriteOne
from engine.storage.record import Act, Execution, Record


class RetryJob(WriteOne):
    """Let a job run again now, with fresh attempts.

    A job in the lifecycle's ``exhausted_to`` moves back to the running status. A running job that
    waits for its next attempt after a failed one does not move; it waits no longer.

    Attributes:
        act: Who makes the transition, and why.
    """

    __slots__ = ("act",)

    def __init__(self, job_id: str, act: Act, acted: Acted | None = None) -> None:
        super().__init__(job_id, acted=acted)
        self.act = act

    @classmethod
    def checked(cls, job_id: str, by: str | None, reason: str | None) -> Self:
        """Check the arguments.

        Raises:
            InvalidValueError: One has the wrong type or size.
        """
        act = checked_act(by, reason)
        return cls(check_job_id(job_id), act, acted("retry", act))

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            NotRetryableError: The job is in another state.
        """
        record, lifecycle = batch.job(self.job_id), batch.lifecycle
        fresh = record.execution.fresh()
        target = lifecycle.target(record.status, Event.RETRY)
        if target is not None:
            fresh = batch.entering(fresh, target)
            return [batch.move(record, target, event=Event.RETRY, execution=fresh, act=self.act)]
        problem = problem_of_retry(
            *(record.status, record.execution, batch.now, lifecycle),
            is_held=batch.is_held(record),
        )
        if problem is not None:
            raise NotRetryableError(self.job_id, record.status, problem)
        return [batch.amend(record, fresh.released(NEVER))]


def problem_of_retry(
    status: str,
    execution: Execution,
    now: datetime,
    lifecycle: Lifecycle[Any],
    *,
    is_held: bool,
) -> str | None:
    """Return why a job can't be retried, and what to do instead; None if it can.

    Args:
        status: The job's.
        execution: The job's.
        now: The time.
        lifecycle: The lifecycle.
        is_held: Whether an attempt has the job.
    """
    if lifecycle.target(status, Event.RETRY) is not None:
        return None
    if status == lifecycle.running_value:
        return _problem_of_running(execution, now, is_held=is_held)
    if lifecycle.is_final(status):
        hint = lifecycle.advice(status, Event.RETRY) if lifecycle.is_failure(status) else ""
        return "it has ended; `repeat` makes another job like it" + (f", or {hint}" if hint else "")
    if status == lifecycle.initial_value:
        return "it has not started; start it"
    if execution.prompt is not None:
        return "it waits for an answer; give it by `provide_input`"
    return "no attempt of it has failed; move it by `transition`"


def _problem_of_running(execution: Execution, now: datetime, *, is_held: bool) -> str | None:
    if is_held:
        return (
            f"attempt {execution.attempt} is at work on it; wait for the end of the attempt, or "
            "`cancel` the job"
        )
    if execution.cancel_reason is not None:
        return "it is to be cancelled, and ends as soon as a worker is open"
    if execution.not_before is not None and execution.not_before > now:
        return f"it may not run before {execution.not_before}; wait until then"
    if execution.token is None and not _has_failed(execution):
        return "it is ready, and no failure counts against it; the next free worker takes it"
    return None


def _has_failed(execution: Execution) -> bool:
    """Return whether a failure or a death counts against a job or delays it."""
    return bool(
        execution.failures
        or execution.deaths
        or execution.died_attempt is not None
        or execution.retry_at is not None
    )
