"""The event loop that an engine lives on, and events of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Protocol

from anyio.lowlevel import current_token

from engine.domain.exceptions import WrongLoopError


class Event(Protocol):
    """Wakes any number of tasks, once. Cancelling one `wait` affects no other."""

    def waiting(self) -> int:
        """Return how many tasks wait."""
        ...

    def set(self) -> None:
        """Wake all that wait."""
        ...

    def wait(self) -> Awaitable[object]:
        """Return an awaitable that ends when the event is set."""
        ...


class AsyncioEvent:
    """Tells any number of tasks, once, at half the cost of `asyncio.Event`.

    It makes one future for each, and keeps those of cancelled tasks too, until it has been set.
    """

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def wait(self) -> asyncio.Future[None]:
        """Return a future that ends when the event is set. To be called before that."""
        waiter: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._waiters.append(waiter)
        return waiter

    def waiting(self) -> int:
        """Return how many tasks wait."""
        return sum(not waiter.cancelled() for waiter in self._waiters)

    def set(self) -> None:
        """Tell all that wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def choose_event() -> Callable[[], Event]:
    """Return what makes events of the running event loop, the cheapest that it has."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        return lambda: AsyncioEvent(loop)
    return _trio_event_kind()


@cache
def _trio_event_kind() -> type[Event]:
    trio_event: Any = sys.modules["trio"].Event

    class TrioEvent:
        """A `trio.Event` that tells how many tasks wait."""

        __slots__ = ("_event", "set", "wait")

        def __init__(self) -> None:
            self._event = trio_event()
            self.set = self._event.set
            self.wait = self._event.wait

        def waiting(self) -> int:
            """Return how many tasks wait."""
            waiting: int = self._event.statistics().tasks_waiting
            return waiting

    return TrioEvent


class LoopAffinity:
    """The event loop that is running when this is made."""

    def __init__(self) -> None:
        self._loop = current_token().native_token
        self._running_loop: Callable[[], object] = (
            asyncio.get_running_loop
            if isinstance(self._loop, asyncio.AbstractEventLoop)
            else sys.modules["trio"].lowlevel.current_trio_token
        )

    def check(self) -> None:
        """Refuse a call that comes from elsewhere.

        Raises:
            WrongLoopError: Another event loop is running in this thread, or none.
        """
        try:
            if self._running_loop() is self._loop:
                return
        except RuntimeError:
            pass
        raise WrongLoopError(
            "this engine lives on another event loop: await it there, or use SyncJobEngine, "
            "which any thread may call"
        )
