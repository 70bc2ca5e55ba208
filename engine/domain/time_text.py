"""The text of a time, as files and JSON have it, and of a duration, as JSON has it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

_durations: Final = TypeAdapter(timedelta)


def time_text(time: datetime) -> str:
    """Return a time in UTC by RFC 3339, always with 6 decimals.

    Texts of this form sort as their times do.
    """
    return f"{time.isoformat(timespec='microseconds')[:-6]}Z"


def duration_text(duration: timedelta) -> str:
    """Return a duration by ISO 8601, such as ``PT1M30S``, as the dump of a job has it.

    A year has 365 days.
    """
    text: str = _durations.dump_python(duration, mode="json")
    return text


def parsed_duration(text: str) -> timedelta:
    """Return the duration in a text of ISO 8601; a year has 365 days, and a month 30.

    Raises:
        ValueError: It has none, or one that no timedelta holds.
    """
    if not text.startswith("P"):  # pydantic also reads other forms
        raise ValueError("a duration begins with P")
    try:
        return _durations.validate_python(text)
    except ValidationError:
        raise ValueError("no duration of ISO 8601") from None
