"""Spans: lengths of time, and how far a moment is from now, as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

_SHOWN: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(length: timedelta, *, most_units: int = 2) -> str:
    """Return a length of time by its largest units, such as ``2 h 5 min``; by four it is whole."""
    left = max(0, int(length.total_seconds()))
    parts: list[str] = []
    for name, seconds in _SHOWN:
        number, left = divmod(left, seconds)
        if number or parts:
            parts.append(f"{number} {name}" if number else "")
    return " ".join(filter(None, parts[:most_units])) or "0 s"


def distance(at: datetime, now: datetime) -> str:
    """Return how far a moment is from now: ``in 2 h 5 min``, or ``3 d 4 h ago``."""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
