"""Times: ages and distances, as people write them."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS_OF: Final = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,9})(s|min|m|h|d|w)", re.ASCII)


def duration(text: str) -> timedelta:
    """Return the time that a text such as ``90s``, ``30min``, ``2h`` or ``7d`` says.

    Raises:
        ArgumentTypeError: It says none.
    """
    found = _DURATION.fullmatch(text)
    try:
        if found is not None:
            return timedelta(seconds=int(found[1]) * _SECONDS_OF[found[2]])
    except OverflowError:
        pass
    raise ArgumentTypeError(f"must be a time such as 90s, 30min, 2h or 7d, not {text!r}")


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that a text names: so long ago, or a time by RFC 3339.

    Args:
        text: Such as ``2h``, ``2026-11-22`` or ``2026-11-22T13:00:00+01:00``; UTC without an
            offset.
        now: The time.

    Raises:
        ArgumentTypeError: It names none.
    """
    try:
        if _DURATION.fullmatch(text):
            return now - duration(text)
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"must be an age such as 2h, or a time such as 2026-11-22T13:00:00Z, not {text!r}"
        ) from None
