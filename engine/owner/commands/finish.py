"""Finish a job: end it with the result or the error of its attempt."""

from __future__ import annotations

from collections.abc import Sequence

from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import WriteOne
from engine.owner.failed_attempts import failed_attempt
from engine.owner.message import CHARACTERS_OF_WEIGHT
from engine.storage.record import NO_ACT, Act, AttemptRecord, Record


class FinishJob(WriteOne):
    """End the last attempt of a job, and with it the job, if the lifecycle does not let it wait.

    A job that waits has no error: its attempt has. One that is to be cancelled does not wait.

    Attributes:
        token: The token of the attempt.
        event: `Event.SUCCEED`, with a result or none; or with an error `Event.FAIL`,
            `Event.EXHAUST` or `Event.DIE`.
        result: The result; None without one.
        result_form: ``json`` for a result that is JSON; None for any other.
        error: The error; None without one.
        act: Of the worker.
    """

    __slots__ = ("act", "error", "event", "result", "result_form", "token")
    by_attempt = True

    def __init__(
        self,
        job_id: str,
        token: str,
        event: Event,
        *,
        result: str | None = None,
        result_form: str | None = None,
        error: str | None = None,
        act: Act = NO_ACT,
    ) -> None:
        super().__init__(job_id, 1 + len(result or error or "") // CHARACTERS_OF_WEIGHT)
        self.token = token
        self.event = event
        self.result = result
        self.result_form = result_form
        self.error = error
        self.act = act

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StaleAttemptError: The attempt doesn't have the job any more.
            InvalidStateTransitionError: The lifecycle leads from the job's status to no such end.
        """
        before, lifecycle = batch.job(self.job_id), batch.lifecycle
        batch.check_holder(before, self.token)
        target = lifecycle.after(before.status, self.event, self.job_id)
        failed = self._failed(batch, before)
        is_cancelled = before.execution.cancel_reason is not None
        if is_cancelled and not lifecycle.is_final(target):
            return [end_cancelled(batch, before, before.execution, failed)]
        execution = batch.entering(before.execution, target)
        if self.result_form is not None:
            execution = execution.with_result(self.result_form)
        return [
            batch.move(
                before,
                target,
                event=self.event,
                result=self.result,
                error=self.error if lifecycle.is_failure(target) else None,
                execution=execution,
                failed=failed,
                act=self.act,
            )
        ]

    def _failed(self, batch: Batch, before: Record) -> AttemptRecord | None:
        if self.error is None:
            return None
        return failed_attempt(before, batch.now, self.error, died=self.event is Event.DIE)
