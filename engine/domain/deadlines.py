"""Deadlines: the time that a job may stay in a status, and its stored form.

A deadline is a `timedelta`, which starts anew each time the job enters the status, or an aware
`datetime`, which stays the same. `Lifecycle.expires_to` says where an expired job goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from engine.domain.exceptions import InvalidValueError, alternatives, shown
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.validation import plain_duration, plain_time

Deadline: TypeAlias = timedelta | datetime

_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)
_LONGEST: Final = timedelta(days=3_652_059)  # from the first day of the calendar to the last
LONGEST_SECONDS: Final = _LONGEST.total_seconds()
"""The longest time that `deadlines_text` keeps."""


def deadlines_text(
    lifecycle: Lifecycle[Any], deadlines: Mapping[Any, Deadline] | None
) -> str | None:
    """Return the stored form of deadlines: a JSON object of seconds and times, by status.

    Raises:
        InvalidValueError: A key is not a status, or not one that can have a deadline in this
            lifecycle; or a value is neither a timedelta above 0 nor an aware datetime.
    """
    if not deadlines:
        return None
    if not isinstance(deadlines, Mapping):
        raise InvalidValueError("deadlines", f"must map statuses to times, not {shown(deadlines)}")
    kept: dict[str, float | str] = {}
    for status, deadline in deadlines.items():
        value = lifecycle.value(status)
        check_expires(lifecycle, value)
        plain = check_deadline(f"deadlines[{value!r}]", deadline)
        kept[value] = (
            plain.isoformat()
            if isinstance(plain, datetime)
            else min(plain, _LONGEST).total_seconds()
        )
    return json.dumps(kept, separators=(",", ":"))


def check_expires(lifecycle: Lifecycle[Any], status: str) -> None:
    """Check that a status can have a deadline.

    Raises:
        InvalidValueError: The lifecycle has no `expires_to` for it.
    """
    if lifecycle.target(status, Event.EXPIRE) is None:
        able = alternatives(lifecycle.able(Event.EXPIRE))
        whose = (
            f"only a job in {able} may have a deadline" if able else "no job may have a deadline"
        )
        advice = f"; {lifecycle.hint}" if lifecycle.hint else ""
        raise InvalidValueError(
            "deadlines",
            f"can't apply to {status}: {whose} in this lifecycle; see `expires_to`{advice}",
        )


def check_deadline(field: str, deadline: object) -> Deadline:
    """Return a deadline, checked without its status: as a plain timedelta, or a time in UTC.

    Raises:
        InvalidValueError: It is neither a timedelta above 0 nor an aware datetime.
    """
    if isinstance(deadline, datetime):
        if deadline.utcoffset() is None:
            raise InvalidValueError(field, "is a datetime without time zone: add tzinfo")
        try:
            return plain_time(deadline)
        except OverflowError:  # before the first time of the calendar, or after the last
            problem = f"is outside the calendar in UTC: {shown(deadline)}"
            raise InvalidValueError(field, problem) from None
    if not isinstance(deadline, timedelta) or plain_duration(deadline) <= timedelta(0):
        raise InvalidValueError(
            field, f"must be a timedelta above 0 or an aware datetime, not {shown(deadline)}"
        )
    return plain_duration(deadline)


def deadline_at(deadlines: str | None, status: str, now: datetime) -> datetime | None:
    """Return the deadline of a job that enters a status now; None if it has none."""
    deadline = None if deadlines is None else json.loads(deadlines).get(status)
    if isinstance(deadline, str):
        return datetime.fromisoformat(deadline)
    return None if deadline is None else time_after(now, timedelta(seconds=deadline))


def time_after(now: datetime, delay: timedelta) -> datetime:
    """Return the time after a delay, at most the last time of the calendar."""
    return now + delay if delay < _LAST_TIME - now else _LAST_TIME
