"""Ask for an input: suspend a job until its prompt is answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from engine.domain.deadlines import Due, due_after
from engine.domain.lifecycle import Event
from engine.owner.batch import Batch
from engine.owner.commands.cancel import end_cancelled
from engine.owner.commands.command import WriteOne
from engine.storage.record import NO_ACT, Act, Record


class AskForInput(WriteOne):
    """End an attempt, and suspend its job until its prompt is answered.

    Attributes:
        token: The token of the attempt.
        prompt: The prompt as JSON; see `engine.owner.prompts`.
        deadline: The limit of the wait for the answer; None leaves it to the job's deadlines.
        act: Of the worker.
    """

    __slots__ = ("act", "deadline", "prompt", "token")
    by_attempt = True

    def __init__(
        self,
        job_id: str,
        token: str,
        prompt: str,
        deadline: timedelta | datetime | None,
        act: Act = NO_ACT,
    ) -> None:
        super().__init__(job_id)
        self.act = act
        self.token = token
        self.prompt = prompt
        self.deadline = deadline

    def decide(self, batch: Batch) -> Sequence[Record]:
        """See `Write.decide`.

        Raises:
            JobNotFoundError: No job has this id.
            StaleAttemptError: The attempt doesn't have the job any more.
            InvalidStateTransitionError: The lifecycle has no ``awaiting_input``.
        """
        record = batch.job(self.job_id)
        batch.check_holder(record, self.token)
        if record.execution.cancel_reason is not None:
            return [end_cancelled(batch, record, record.execution)]
        target = batch.lifecycle.after(record.status, Event.ASK, self.job_id)
        execution = batch.entering(record.execution, target)
        ends = execution.deadline()
        if isinstance(self.deadline, timedelta):
            ends = due_after(batch.now, self.deadline)
        elif self.deadline is not None:
            ends = Due(self.deadline.astimezone(UTC))
        asking = execution.asking(self.prompt, ends)
        return [batch.move(record, target, execution=asking, act=self.act)]
