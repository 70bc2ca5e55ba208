"""The text of a time, as files and JSON have it."""

from __future__ import annotations

from datetime import datetime


def time_text(time: datetime) -> str:
    """Return a time in UTC by RFC 3339, always with 6 decimals.

    Texts of this form sort as their times do.
    """
    return f"{time.isoformat(timespec='microseconds')[:-6]}Z"
