"""The header ``Retry-After``: seconds or a date (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_SECONDS: Final = 86_400
"""A receiver may put a delivery off by so much, a day."""

_MAX_DIGITS: Final = 12


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Return the delay that a header asks for, a day at most; None without one that has sense."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:_MAX_DIGITS]), MAX_RETRY_AFTER_SECONDS))
    try:
        at = parsedate_to_datetime(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        seconds = (at - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
