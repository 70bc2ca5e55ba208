"""Timing: everything that waits, for seconds or for a moment of the calendar, waits here.

Two measures are kept apart. Seconds (`Time.sleep`, `Time.limit`) are measured monotonically, and a
clock that is set back or forth does not touch them. Moments (`Time.wait_until`) are what the
engine's clock tells, whatever it does; so they survive a restart, and are looked at again and
again. `engine.testing.VirtualClock` stands in for both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias, runtime_checkable

import anyio
import anyio.lowlevel

from engine.domain.exceptions import InvalidValueError, shown

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time as an aware datetime. It dates what happens, and measures no duration."""

# How late a moment may be met when the clock jumps forward over it: no system tells of a jump.
LOOK_AGAIN_SECONDS: Final = 1.0

# A wait is no shorter, so that a clock that stands still just before the moment burns no CPU.
_SHORTEST_SECONDS: Final = 0.001


def utc_now() -> datetime:
    """Return the system's time, in UTC."""
    return datetime.now(UTC)


def read_clock(clock: Clock) -> datetime:
    """Return the time that a clock tells, in UTC.

    Raises:
        InvalidValueError: It tells a time without a time zone, or something else.
    """
    now: object = clock()
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise InvalidValueError("clock", f"must return an aware datetime, not {shown(now)}")
    return now if now.tzinfo is UTC else now.astimezone(UTC)


@runtime_checkable
class Time(Protocol):
    """What the engine knows of time. Every wait may be cancelled and leaves nothing behind."""

    def now(self) -> datetime:
        """Return the time that the engine's clock tells, in UTC.

        Raises:
            InvalidValueError: The clock tells no aware time.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds; for 0 or less, just let others run."""
        ...

    async def wait_until(self, at: datetime | None, earlier: anyio.Event) -> None:
        """Wait until the clock tells this time or a later one, never less, or the event is set.

        Args:
            at: The time, aware. None: wait for the event alone.
            earlier: What ends the wait before its time.
        """
        ...

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """Have a scope cancelled after so many seconds from now, in place of an earlier limit.

        The scope may be entered or not. A limit of 0 or less cancels it at once.
        """
        ...

    def at_work(self) -> AbstractContextManager[None]:
        """Mark what works outside the event loop, in a thread, a process or a storage.

        A virtual time can see that all tasks are blocked, but not that one of them waits for real
        work: while such a mark is set it gives the work real time before it moves on.
        """
        ...


class SystemTime:
    """The real time: the calendar of a clock, and the event loop's own monotonic measure.

    Args:
        clock: What tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """See `Time.now`."""
        return read_clock(self._clock)

    async def sleep(self, seconds: float) -> None:
        """See `Time.sleep`."""
        await anyio.sleep(max(seconds, 0.0))

    async def wait_until(self, at: datetime | None, earlier: anyio.Event) -> None:
        """See `Time.wait_until`; a jump of the clock is met within `LOOK_AGAIN_SECONDS`."""
        if at is None:
            await earlier.wait()
            return
        await anyio.lowlevel.checkpoint()
        while not earlier.is_set() and (left := (at - self.now()).total_seconds()) > 0:
            with anyio.move_on_after(min(max(left, _SHORTEST_SECONDS), LOOK_AGAIN_SECONDS)):
                await earlier.wait()

    def limit(self, scope: anyio.CancelScope, seconds: float) -> None:
        """See `Time.limit`."""
        scope.deadline = anyio.current_time() + seconds

    def at_work(self) -> AbstractContextManager[None]:
        """See `Time.at_work`: real time needs no mark."""
        return nullcontext()


def time_of(clock: Clock) -> Time:
    """Return the time of a clock: the clock itself if it has the calls of `Time`, as a virtual one.

    Any other clock tells the calendar, and seconds are measured by the event loop.
    """
    virtual: object = clock
    return virtual if isinstance(virtual, Time) else SystemTime(clock)
