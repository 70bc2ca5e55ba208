"""The sender of outcomes: reports them to the owner, again and again while it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidStateTransitionError,
    JobNotFoundError,
    StaleAttemptError,
)
from engine.owner.core import Core
from engine.owner.message import Message
from engine.portal.logs import TaskLogger
from engine.portal.tasks import StartTask
from engine.worker.attempt import Attempt
from engine.worker.changes import Changes

logger = TaskLogger("engine.worker")

_FIRST_PAUSE_SECONDS: Final = 0.05  # after a refused outcome
_LONGEST_PAUSE_SECONDS: Final = 2.0


class OutcomeSender:
    """Sends the outcomes of attempts; no task waits for an answer.

    Args:
        core: Has the inbox.
        changes: Wakes a pause before its end.
        start: Starts tasks.
        forget: Called when an outcome is committed, or no longer counts.

    Attributes:
        is_out_of_time: Whether the worker has no time left: a refused outcome is not sent again.
    """

    def __init__(
        self,
        core: Core[Any],
        changes: Changes,
        start: StartTask,
        forget: Callable[[Attempt], object],
    ) -> None:
        self.is_out_of_time = False
        self._core = core
        self._changes = changes
        self._start = start
        self._forget = forget

    def send(self, attempt: Attempt, message: Message[Any]) -> None:
        """Send an outcome to the owner."""
        try:
            # Not limited by `max_waiting`: the concurrency bounds outcomes, and they end jobs.
            self._core.inbox.put(
                message, lambda: self._take_answer(attempt, message), internal=True
            )
        except EngineError as error:
            self._take_error(attempt, message, error)

    def _take_answer(self, attempt: Attempt, message: Message[Any]) -> None:
        try:
            message.outcome()
        except EngineError as error:
            self._take_error(attempt, message, error)
        else:
            self._forget(attempt)

    def _take_error(self, attempt: Attempt, message: Message[Any], error: EngineError) -> None:
        """Send the outcome again later, unless it no longer counts or the engine has ended.

        The owner may get the same outcome twice: by the token, only the first one counts.
        """
        whose = f"the outcome of attempt {attempt.number} of job {attempt.job_id}"
        if isinstance(error, StaleAttemptError | InvalidStateTransitionError | JobNotFoundError):
            logger.info("%s no longer counts: %s", whose, error, extra=attempt.fields)
        elif isinstance(error, EngineUnavailableError) or self.is_out_of_time:
            logger.warning(
                "%s is lost; the job will run again: %s", whose, error, extra=attempt.fields
            )
        else:
            logger.warning("%s is refused, and sent again: %s", whose, error, extra=attempt.fields)
            self._start(self._send_later, attempt, message, name="engine outcome")
            return
        self._forget(attempt)

    async def _send_later(self, attempt: Attempt, message: Message[Any]) -> None:
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(attempt.refusals, 10), _LONGEST_PAUSE_SECONDS)
        attempt.refusals += 1
        with anyio.CancelScope(shield=True):
            await self._changes.pause(seconds, lambda: self.is_out_of_time)
        self.send(attempt, message)
