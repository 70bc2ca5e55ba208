"""Cursors: the opaque texts that name the place where the next page of jobs begins."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, MAX_INTEGER, check_text

_OLDEST_FIRST: Final = "position "
_NEWEST_FIRST: Final = "below "


def cursor_of(position: int, *, newest_first: bool) -> str:
    """Return the cursor of the page behind a position, in one of the two orders."""
    form = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
    return urlsafe_b64encode(f"{form}{position}".encode()).decode().rstrip("=")


def position_of(cursor: object, *, newest_first: bool) -> int:
    """Return the position in a cursor.

    Raises:
        InvalidValueError: No page has this cursor, or only one in the other order.
    """
    text = check_text("after", cursor, MAX_IDENTIFIER_CHARACTERS)
    try:
        plain = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        position = int(plain.removeprefix(_OLDEST_FIRST).removeprefix(_NEWEST_FIRST))
    except ValueError:
        position = 0
    if 0 < position <= MAX_INTEGER:
        if text == cursor_of(position, newest_first=newest_first):
            return position
        if text == cursor_of(position, newest_first=not newest_first):
            raise InvalidValueError(
                "after", f"is the cursor of a page with newest_first={not newest_first}"
            )
    raise InvalidValueError("after", f"must be the next_cursor of a page, not {shown(cursor)}")
