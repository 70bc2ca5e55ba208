"""Progress of handlers, from any thread to the event loop of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from engine.domain.models import Progress
from engine.owner.events import Events
from engine.portal import call_soon
from engine.worker.attempt import Attempt


class ProgressRelay:
    """Publishes the newest progress of each job. Made on the event loop of the engine.

    Args:
        attempts: Those at work, by job id. Progress of any other attempt is dropped.
        events: Passes the progress on.
    """

    def __init__(self, attempts: Mapping[str, Attempt], events: Events) -> None:
        self._attempts = attempts
        self._events = events
        self._call_soon = call_soon()
        self._newest: dict[str, Progress] = {}  # of each job, to be published
        self._is_scheduled = False

    def publish(self, progress: Progress) -> None:
        """Publish a handler's progress soon. Any thread may call it. It replaces an earlier one."""
        self._newest[progress.job_id] = progress
        if not self._is_scheduled:
            self._is_scheduled = True
            with suppress(RuntimeError):  # the event loop has ended
                self._call_soon(self._publish_all)

    def _publish_all(self) -> None:
        self._is_scheduled = False  # first: later progress schedules another call
        for _ in range(len(self._newest)):
            _, each = self._newest.popitem()
            attempt = self._attempts.get(each.job_id)
            if attempt is not None and attempt.number == each.attempt:
                self._events.publish_progress(each)
