"""Changes: waiting until something about a worker has changed."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from engine.portal.time import Time


class Changes:
    """Wakes tasks that wait for conditions, to check them again.

    Args:
        time: Limits pauses.
    """

    def __init__(self, time: Time) -> None:
        self._time = time
        self._changed: anyio.Event | None = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        while not condition():
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    async def pause(self, seconds: float, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, for a number of seconds at most."""
        with anyio.CancelScope() as scope:
            self._time.limit(scope, seconds)
            await self.until(condition)

    def wake(self) -> None:
        """Wake the tasks that wait."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None
