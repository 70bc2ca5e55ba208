"""Deadlines: how long a job may stay in a status, as it is kept with the job.

A deadline is a `timedelta`, counted from the moment at which the job enters the status, each time
anew; or an aware `datetime`, the same however often the job enters it. Where the job goes then is
the lifecycle's choice, `Lifecycle.expires_to`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Event, Lifecycle

Deadline: TypeAlias = timedelta | datetime

_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)
_LONGEST: Final = timedelta(days=3_652_059)  # from the first day of the calendar to the last one


def deadlines_text(
    lifecycle: Lifecycle[Any], deadlines: Mapping[Any, Deadline] | None
) -> str | None:
    """Return deadlines as they are kept: a JSON object of seconds and times, by status.

    Raises:
        InvalidValueError: No status, or one in which the lifecycle lets no time run out; or neither
            a timedelta above 0 nor an aware datetime.
    """
    if not deadlines:
        return None
    if not isinstance(deadlines, Mapping):
        raise InvalidValueError("deadlines", f"must map statuses to times, not {shown(deadlines)}")
    kept: dict[str, float | str] = {}
    for status, deadline in deadlines.items():
        value = lifecycle.value(status)
        check_expires(lifecycle, value)
        check_deadline("deadlines", deadline)
        kept[value] = (
            deadline.astimezone(UTC).isoformat()
            if isinstance(deadline, datetime)
            else min(deadline, _LONGEST).total_seconds()
        )
    return json.dumps(kept, separators=(",", ":"))


def check_expires(lifecycle: Lifecycle[Any], status: str) -> None:
    """Check that time may run out in a status.

    Raises:
        InvalidValueError: The lifecycle doesn't say where such a job would go.
    """
    if lifecycle.target(status, Event.EXPIRE) is None:
        able = " or ".join(lifecycle.able(Event.EXPIRE))
        whose = (
            f"only a job in {able} may have a deadline" if able else "no job may have a deadline"
        )
        raise InvalidValueError(
            "deadlines", f"can't be kept in {status}: {whose} in this lifecycle; see `expires_to`"
        )


def check_deadline(field: str, deadline: object) -> None:
    """Check a deadline by itself.

    Raises:
        InvalidValueError: It is neither a timedelta above 0 nor an aware datetime.
    """
    if isinstance(deadline, timedelta) and deadline > timedelta(0):
        return
    if isinstance(deadline, datetime) and deadline.tzinfo is not None and _has_utc(deadline):
        return
    raise InvalidValueError(
        field, f"must be a timedelta above 0 or an aware datetime, not {shown(deadline)}"
    )


def _has_utc(time: datetime) -> bool:
    try:
        time.astimezone(UTC)
    except OverflowError:  # before the first time of the calendar, or after the last one
        return False
    return True


def deadline_at(deadlines: str | None, status: str, now: datetime) -> datetime | None:
    """Return when a job has to leave a status that it enters now; None for no limit."""
    deadline = None if deadlines is None else json.loads(deadlines).get(status)
    if isinstance(deadline, str):
        return datetime.fromisoformat(deadline)
    return None if deadline is None else time_after(now, timedelta(seconds=deadline))


def time_after(now: datetime, delay: timedelta) -> datetime:
    """Return the time after a delay, or the last one of the calendar."""
    return now + delay if delay < _LAST_TIME - now else _LAST_TIME
