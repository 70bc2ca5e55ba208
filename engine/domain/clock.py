"""The clock: where time stamps come from. Durations are never measured by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from engine.domain.exceptions import InvalidValueError, shown

Clock: TypeAlias = Callable[[], datetime]


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
