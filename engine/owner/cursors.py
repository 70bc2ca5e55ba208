"""Cursors: the opaque texts that name the place where the next page of jobs begins."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, MAX_INTEGER, check_text

_FORM: Final = "position "


def cursor_of(position: int) -> str:
    """Return the cursor of the page behind a position."""
    return urlsafe_b64encode(f"{_FORM}{position}".encode()).decode().rstrip("=")


def position_of(cursor: object) -> int:
    """Return the position in a cursor.

    Raises:
        InvalidValueError: No page has this cursor.
    """
    text = check_text("after", cursor, MAX_IDENTIFIER_CHARACTERS)
    try:
        plain = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        position = int(plain.removeprefix(_FORM))
    except ValueError:
        position = 0
    if not 0 < position <= MAX_INTEGER or cursor_of(position) != text:
        raise InvalidValueError("after", f"must be the next_cursor of a page, not {shown(cursor)}")
    return position
