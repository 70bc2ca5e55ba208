"""The stuck monitor: reports jobs that block the event loop, and attempts that refuse to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

import anyio

from engine.portal import Watchdog, stack_text
from engine.portal.logs import TaskLogger
from engine.worker.attempt import Attempt

logger = TaskLogger("engine.worker")

_PATIENCE_SECONDS: Final = 3.0  # with attempts asked to stop, and with code that blocks the loop
_PAUSE_SECONDS: Final = 1.0


class StuckMonitor:
    """Logs the job, the attempt and the stack, within 5 seconds.

    Args:
        attempts: The attempts at work. Read, and never changed.
    """

    def __init__(self, attempts: Mapping[str, Attempt]) -> None:
        self._attempts = attempts
        self._orphans: list[Attempt] = []  # their threads run on, though the attempts have ended
        self._watchdog = Watchdog(self._log_blocked, self._log_resumed, _PATIENCE_SECONDS)

    def open(self) -> None:
        """Begin to watch the running event loop."""
        self._scope = anyio.CancelScope(shield=True)
        self._watchdog.start()

    def close(self) -> None:
        """Stop watching."""
        self._watchdog.close()
        self._scope.cancel()

    def add_orphan(self, attempt: Attempt) -> None:
        """Watch the thread of an attempt that ended without it."""
        self._orphans.append(attempt)

    def remove_orphan(self, attempt: Attempt) -> None:
        """Stop watching that thread."""
        self._orphans.remove(attempt)

    async def watch(self) -> None:
        """Watch attempts that were asked to stop, until closed. Runs in real time."""
        with self._scope:
            while True:
                await anyio.sleep(_PAUSE_SECONDS)
                self._report(_PATIENCE_SECONDS)

    def report_all(self) -> None:
        """Log all attempts that were asked to stop and run on, without any patience."""
        self._report(0.0)

    def _report(self, patience_seconds: float) -> None:
        for attempt in (*self._attempts.values(), *self._orphans):
            asked_at = attempt.stopped_at
            if asked_at is not None and not attempt.is_reported:
                seconds = anyio.current_time() - asked_at
                if seconds >= patience_seconds:
                    self._log_refusal(attempt, seconds)

    def _log_refusal(self, attempt: Attempt, seconds: float) -> None:
        attempt.is_reported = True
        logger.error(
            "attempt %s of job %s was asked to stop %.1f s ago and is still running:\n%s",
            *(attempt.number, attempt.job_id, seconds, attempt.stack()),
            extra=attempt.fields,
        )

    def _log_blocked(self, frames: Sequence[FrameType], seconds: float) -> None:
        """Log the code that blocks the event loop. Runs on the watchdog's thread."""
        attempt = _attempt_in(frames)
        culprit = "code outside of any attempt"
        if attempt is not None:
            culprit = f"attempt {attempt.number} of job {attempt.job_id}"
        logger.error(
            "%s has blocked the event loop for %.1f s; nothing else can run:\n%s",
            *(culprit, seconds, stack_text(frames)),
            extra={} if attempt is None else attempt.fields,
        )

    def _log_resumed(self, seconds: float) -> None:
        logger.warning("the event loop was blocked for %.1f s, and runs again", seconds)


def _attempt_in(frames: Sequence[FrameType]) -> Any:  # noqa: ANN401 - an attempt or None
    """Return the attempt whose handler is running: its frame is below the handler's."""
    code = Attempt.run.__code__
    return next((frame.f_locals["self"] for frame in frames if frame.f_code is code), None)
