"""Time: all waits of the engine, for seconds or for a moment of the calendar.

Two measures are kept apart. Seconds (`Time.sleep`, `Time.limit`) are monotonic: setting the clock
does not change them. Moments (`Time.wait_until`) follow the engine's clock, wherever it jumps; they
survive a restart, and a wait for one checks the clock every second.
`engine.testing.VirtualClock` stands in for both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias, runtime_checkable

import anyio
import anyio.lowlevel

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import plain_time

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time as an aware datetime. It dates events, and measures no durations."""

Begin: TypeAlias = Callable[[], datetime | None]
"""Returns a time that the clock has shown; None for no such time."""

# How late a wait may notice that the clock jumped over its moment: no system reports a jump.
LOOK_AGAIN_SECONDS: Final = 1.0

# The shortest wait: a clock that stands still just before the moment must burn no CPU.
_SHORTEST_SECONDS: Final = 0.001

_NO_MARK: Final = nullcontext()


def utc_now() -> datetime:
    """Return the system's time, in UTC."""
    return datetime.now(UTC)


def read_clock(clock: Clock) -> datetime:
    """Return a clock's time, in UTC.

    Raises:
        InvalidValueError: It returns a time without a time zone, or something else.
    """
    now: object = clock()
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise InvalidValueError("clock", f"must return an aware datetime, not {shown(now)}")
    return plain_time(now)


def is_over(at: datetime, begin: Begin, now: datetime) -> bool:
    """Return whether a wait for a time is over: it has come, or the clock was set back."""
    return at <= now or ((since := begin()) is not None and since > now)


@runtime_checkable
class Time(Protocol):
    """Measures time for the engine. Every wait may be cancelled, and leaves nothing behind."""

    def now(self) -> datetime:
        """Return the time of the engine's clock, in UTC.

        Raises:
            InvalidValueError: The clock returns no aware time.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds; for 0 or less, just let other tasks run."""
        ...

    async def wait_until(
        self, at: datetime | None, earlier: anyio.Event, begin: Begin = lambda: None
    ) -> None:
        """Wait until the clock shows this time or a later one, or the event is set.

        Args:
            at: The time, aware. None: wait for the event alone.
            earlier: Ends the wait before its time.
            begin: Returns a time that the clock has shown. The wait ends when the clock shows an
                earlier one: it was set back.
        """
        ...

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Cancel a scope after a number of seconds from now; this replaces an earlier limit.

        The scope need not have been entered. A limit of 0 or less cancels it at once.
        """
        ...

    def at_work(self) -> AbstractContextManager[None]:
        """Mark work outside of the event loop, in a thread, a process or a storage.

        A virtual clock can see that all tasks are blocked, but not that one of them waits for real
        work. While this context is open, the clock gives that work real time before it moves on.
        """
        ...


class SystemTime:
    """Measures real time: moments by a clock, seconds by the event loop's monotonic time.

    Args:
        clock: Returns the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """See `Time.now`."""
        return read_clock(self._clock)

    async def sleep(self, seconds: float) -> None:
        """See `Time.sleep`."""
        await anyio.sleep(max(seconds, 0.0))

    async def wait_until(
        self, at: datetime | None, earlier: anyio.Event, begin: Begin = lambda: None
    ) -> None:
        """See `Time.wait_until`; it notices a jump of the clock within `LOOK_AGAIN_SECONDS`."""
        if at is None:
            await earlier.wait()
            return
        await anyio.lowlevel.checkpoint()
        while not earlier.is_set() and not is_over(at, begin, now := self.now()):
            left = (at - now).total_seconds()
            with anyio.move_on_after(min(max(left, _SHORTEST_SECONDS), LOOK_AGAIN_SECONDS)):
                await earlier.wait()

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """See `Time.limit`."""
        scope.deadline = anyio.current_time() + seconds

    def at_work(self) -> AbstractContextManager[None]:
        """See `Time.at_work`: real time needs no mark."""
        return _NO_MARK


def time_of(clock: Clock) -> Time:
    """Return the time of a clock: the clock itself if it has the calls of `Time`.

    A virtual clock has them. Any other clock gives the calendar, and the event loop the seconds.
    """
    virtual: object = clock
    return virtual if isinstance(virtual, Time) else SystemTime(clock)
