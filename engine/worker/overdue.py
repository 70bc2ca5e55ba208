"""Oversight: says which jobs block the event loop, and which don't end though told to stop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

import anyio

from engine.portal import Watchdog, stack_text
from engine.worker.attempt import Attempt

logger = logging.getLogger("engine.worker")

_PATIENCE_SECONDS: Final = 3.0  # with what was told to stop, and with what blocks the loop
_PAUSE_SECONDS: Final = 1.0


class Overseer:
    """Logs, within 5 seconds, with the job, the attempt and the stack.

    Args:
        attempts: Those at work; looked at, never changed.
    """

    def __init__(self, attempts: Mapping[str, Attempt]) -> None:
        self._attempts = attempts
        self._strays: list[Attempt] = []  # whose thread goes on, though the attempt has ended
        self._watchdog = Watchdog(self._tell_blocked, self._tell_went_on, _PATIENCE_SECONDS)

    def open(self) -> None:
        """Begin to watch the event loop that is running."""
        self._scope = anyio.CancelScope(shield=True)
        self._watchdog.start()

    def close(self) -> None:
        """Watch no more."""
        self._watchdog.close()
        self._scope.cancel()

    def add_stray(self, attempt: Attempt) -> None:
        """Look after a thread whose attempt has ended without it."""
        self._strays.append(attempt)

    def remove_stray(self, attempt: Attempt) -> None:
        """Look after it no more."""
        self._strays.remove(attempt)

    async def look_after(self) -> None:
        """Look after attempts that were told to stop, until closed. In real time."""
        with self._scope:
            while True:
                await anyio.sleep(_PAUSE_SECONDS)
                for attempt in (*self._attempts.values(), *self._strays):
                    self._look_at(attempt)

    def _look_at(self, attempt: Attempt) -> None:
        told_at = attempt.stopped_at
        seconds = 0.0 if told_at is None else anyio.current_time() - told_at
        if seconds < _PATIENCE_SECONDS or attempt.is_reported:
            return
        attempt.is_reported = True
        logger.error(
            "attempt %s of job %s was told to stop %.1f s ago, and goes on:\n%s",
            *(attempt.number, attempt.job_id, seconds, attempt.stack()),
            extra=attempt.fields,
        )

    def _tell_blocked(self, frames: Sequence[FrameType], seconds: float) -> None:
        """Say what blocks the event loop. On the watchdog's thread."""
        attempt = _attempt_in(frames)
        whose = "something" if attempt is None else f"attempt {attempt.number} of {attempt.job_id}"
        logger.error(
            "%s has blocked the event loop for %.1f s; nothing else can run:\n%s",
            *(whose, seconds, stack_text(frames)),
            extra={} if attempt is None else attempt.fields,
        )

    def _tell_went_on(self, seconds: float) -> None:
        logger.warning("the event loop was blocked for %.1f s, and goes on", seconds)


def _attempt_in(frames: Sequence[FrameType]) -> Any:  # noqa: ANN401 - an attempt or None
    """Return the attempt whose handler is running: what it awaits stands above it on the stack."""
    code = Attempt.run.__code__
    return next((frame.f_locals["self"] for frame in frames if frame.f_code is code), None)
