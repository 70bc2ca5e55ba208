"""The event loop that an engine belongs to: its events, its callbacks, and the calls it refuses."""

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
    """Wakes any number of tasks, once, at half the cost of `asyncio.Event`.

    It makes one future for each task. It keeps those of cancelled tasks too, until it is set.
    """

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def wait(self) -> asyncio.Future[None]:
        """Return a future that ends when the event is set. To be called before it is set."""
        waiter: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._waiters.append(waiter)
        return waiter

    def waiting(self) -> int:
        """Return how many tasks wait."""
        return sum(not waiter.cancelled() for waiter in self._waiters)

    def set(self) -> None:
        """Wake all that wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def choose_event() -> Callable[[], Event]:
    """Return a maker of events for the running event loop, of its cheapest kind."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        return lambda: AsyncioEvent(loop)
    return _trio_event_kind()


@cache
def _trio_event_kind() -> type[Event]:
    trio_event: Any = sys.modules["trio"].Event

    class TrioEvent:
        """A `trio.Event` that counts its waiting tasks."""

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


def call_soon() -> Callable[[Callable[[], object]], object]:
    """Return a function that schedules a callback on the running event loop.

    Any thread and a signal's handler may call that function. Once the loop has ended it raises a
    `RuntimeError`.
    """
    loop: Any = current_token().native_token
    asyncio_runs = isinstance(loop, asyncio.AbstractEventLoop)
    call: Callable[[Callable[[], object]], object] = (
        loop.call_soon_threadsafe if asyncio_runs else loop.run_sync_soon
    )
    return call


class Affinity(Protocol):
    """The tie of an engine to those who may call it."""

    def check(self) -> None:
        """Refuse a caller who may not.

        Raises:
            EngineUnavailableError: This is none.
        """
        ...


class LoopAffinity:
    """The tie of an engine to the event loop that runs when this is made."""

    def __init__(self) -> None:
        self._loop = current_token().native_token
        self._running_loop: Callable[[], object] = (
            asyncio.get_running_loop
            if isinstance(self._loop, asyncio.AbstractEventLoop)
            else sys.modules["trio"].lowlevel.current_trio_token
        )

    def check(self) -> None:
        """Refuse a call from any other event loop.

        Raises:
            WrongLoopError: Another event loop is running in this thread, or none.
        """
        try:
            if self._running_loop() is self._loop:
                return
        except RuntimeError:
            pass
        raise WrongLoopError(
            "this engine belongs to another event loop: await it there, or use SyncJobEngine, "
            "which any thread may call"
        )
