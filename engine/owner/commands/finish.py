"""Finish a job: end it with the result or the error of its attempt."""

from __future__ import annotations

from collections.abc import Sequence

from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.command import WriteOne
from engine.owner.message import CHARACTERS_OF_WEIGHT
from engine.storage.record import Record


class FinishJob(WriteOne):
    """End a job by the outcome of its attempt.

    Attributes:
        token: The token of the attempt.
        event: `Event.SUCCEED`, with a result or none, or `Event.FAIL`, with an error.
        result: The result; None without one.
        result_form: ``json`` for a result that is JSON; None for any other.
        error: The error; None without one.
    """

    __slots__ = ("error", "event", "result", "result_form", "token")

    def __init__(
        self,
        job_id: str,
        token: str,
        event: Event,
        *,
        result: str | None = None,
        result_form: str | None = None,
        error: str | None = None,
    ) -> None:
        super().__init__(job_id, 1 + len(result or error or "") // CHARACTERS_OF_WEIGHT)
        self.token = token
        self.event = event
        self.result = result
        self.result_form = result_form
        self.error = error

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StaleAttemptError: The attempt doesn't have the job any more.
            InvalidStateTransitionError: The lifecycle leads from the job's status to no such end.
        """
        before = batch.job(self.job_id)
        batch.check_holder(before, self.token)
        target = batch.lifecycle.after(before.status, self.event, self.job_id)
        execution = batch.entering(before.execution, target)
        if self.result_form is not None:
            execution = execution.with_result(self.result_form)
        return [
            batch.move(
                before,
                target,
                event=self.event,
                result=self.result,
                error=self.error,
                execution=execution,
            )
        ]
