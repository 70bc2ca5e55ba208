"""Deadlines: the time that a job may stay in a status, and its stored form.

A deadline is a `timedelta`, which starts anew each time the job enters the status, or an aware
`datetime`, which stays the same. `Lifecycle.expires_to` says where an expired job goes.

A relative time keeps its length. It is kept as a moment of the calendar, so that it survives a
restart, and so is its beginning: a clock that shows an earlier time than that was set back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from msgspec import Meta
from msgspec.json import Decoder

from engine.domain.exceptions import InvalidValueError, alternatives, shown
from engine.domain.lifecycle import Event, Lifecycle
from engine.domain.validation import plain_duration, plain_time

Deadline: TypeAlias = timedelta | datetime

LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)
"""The last moment of the calendar."""
_LONGEST: Final = timedelta(days=3_652_059)  # from the first day of the calendar to the last
_Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=_LONGEST.total_seconds())]
_Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
_decoder: Final = Decoder(dict[str, _Seconds | _Time])


class Due(NamedTuple):
    """A moment at which something is due."""

    at: datetime | None = None
    """None: never."""
    since: datetime | None = None
    """When a relative time began; None for an absolute one, which stays."""

    def kept(self, now: datetime) -> Due:
        """Return it with its length: if it began in the future, the clock was set back."""
        if self.since is None or self.since <= now:
            return self
        return NEVER if self.at is None else due_after(now, self.at - self.since)

    def no_earlier_than(self, at: datetime | None) -> Due:
        """Return the later one of it and this moment, which may be None."""
        if at is None or (self.at is not None and self.at >= at):
            return self
        return Due(at)


NEVER: Final = Due()


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
        check_expires(lifecycle, value, "deadlines")
        kept[value] = kept_deadline(check_deadline(f"deadlines[{value!r}]", deadline))
    return _text(kept)


def with_deadline(text: str | None, status: str, deadline: Deadline | None) -> str | None:
    """Return the stored form with another deadline of a status; None removes it."""
    kept: dict[str, float | str] = {} if text is None else json.loads(text)
    kept.pop(status, None)
    return _text(kept if deadline is None else {**kept, status: kept_deadline(deadline)})


def durations_text(text: str | None) -> str | None:
    """Return the stored form of the durations alone, without times of the calendar."""
    kept: dict[str, float | str] = {} if text is None else json.loads(text)
    return _text({status: each for status, each in kept.items() if not isinstance(each, str)})


def kept_deadline(deadline: Deadline) -> float | str:
    """Return the stored form of one deadline: seconds, or a time."""
    if isinstance(deadline, datetime):
        return deadline.isoformat()
    return min(deadline, _LONGEST).total_seconds()


def _text(kept: Mapping[str, float | str]) -> str | None:
    return json.dumps(kept, separators=(",", ":")) if kept else None


def check_expires(lifecycle: Lifecycle[Any], status: str, field: str) -> None:
    """Check that a status can have a deadline.

    Args:
        lifecycle: The lifecycle.
        status: The status.
        field: The argument with the deadline, for the error.

    Raises:
        InvalidValueError: The lifecycle has no `expires_to` for it.
    """
    if lifecycle.target(status, Event.EXPIRE) is None:
        able = alternatives(lifecycle.able(Event.EXPIRE))
        whose = (
            f"only a job in {able} may have a deadline" if able else "no job may have a deadline"
        )
        hint = lifecycle.advice(status, Event.EXPIRE)
        raise InvalidValueError(
            field,
            f"can't apply to {status}: {whose} in this lifecycle; see `expires_to`"
            + (f"; {hint}" if hint else ""),
        )


def check_deadline(field: str, deadline: object) -> Deadline:
    """Return a deadline, checked without its status: as a plain timedelta, or a time in UTC.

    Raises:
        InvalidValueError: It is neither a timedelta above 0 nor an aware datetime.
    """
    if isinstance(deadline, datetime):
        return check_time(field, deadline)
    if not isinstance(deadline, timedelta) or plain_duration(deadline) <= timedelta(0):
        raise InvalidValueError(
            field, f"must be a timedelta above 0 or an aware datetime, not {shown(deadline)}"
        )
    return plain_duration(deadline)


def check_time(field: str, time: object) -> datetime:
    """Return an aware datetime in UTC.

    Raises:
        InvalidValueError: It is none, or outside the calendar in UTC.
    """
    if not isinstance(time, datetime):
        raise InvalidValueError(field, f"must be an aware datetime, not {shown(time)}")
    if time.utcoffset() is None:
        raise InvalidValueError(field, "is a datetime without time zone: add tzinfo")
    try:
        return plain_time(time)
    except OverflowError:  # before the first time of the calendar, or after the last
        problem = f"is outside the calendar in UTC: {shown(time)}"
        raise InvalidValueError(field, problem) from None


def due_in(deadlines: str | None, status: str, now: datetime) -> Due:
    """Return the deadline of a job that enters a status now."""
    deadline = None if deadlines is None else read_deadlines(deadlines).get(status)
    if isinstance(deadline, datetime):
        return Due(deadline)
    return NEVER if deadline is None else due_after(now, timedelta(seconds=deadline))


def read_deadlines(text: str) -> dict[str, float | datetime]:
    """Return the seconds and times of the stored form, by status.

    Raises:
        ValueError: `deadlines_text` has not written it.
        DecodeError: Nor any writer of JSON.
    """
    deadlines = _decoder.decode(text)
    for deadline in deadlines.values():
        if isinstance(deadline, datetime) and deadline.tzinfo is not UTC:
            raise ValueError("a time is not in UTC")
    return deadlines


def shown_deadlines(text: str | None) -> dict[str, Deadline]:
    """Return the deadlines of the stored form as callers give them, by the value of the status."""
    if text is None:
        return {}
    return {
        status: each if isinstance(each, datetime) else timedelta(seconds=each)
        for status, each in read_deadlines(text).items()
    }


def renamed_deadlines(deadlines: str | None, names: Mapping[str, str]) -> str | None:
    """Return the stored form of deadlines with the new names of old statuses."""
    if deadlines is None or not names:
        return deadlines
    kept: dict[str, float | str] = json.loads(deadlines)
    if kept.keys().isdisjoint(names):
        return deadlines
    new = {names.get(status, status): deadline for status, deadline in kept.items()}
    return json.dumps(new, separators=(",", ":"))


def due_after(now: datetime, delay: timedelta) -> Due:
    """Return the moment after a delay: at least now, at most the last time of the calendar."""
    delay = min(max(delay, timedelta(0)), LAST_TIME - now)
    return Due(now + delay, now)
