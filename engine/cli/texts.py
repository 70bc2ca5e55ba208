"""Texts: what is stored becomes what can be shown on a terminal, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final
from unicodedata import combining, east_asian_width

Cells = Sequence[str]

NOTHING: Final = "-"
"""Stands for None, so that a column is never empty."""
_GAP: Final = "  "
_CELL_COLUMNS: Final = 40  # on a terminal, so that one long id leaves room for the rest
_NARROWEST_COLUMNS: Final = 8  # less of a column says nothing


def plain(text: str) -> str:
    """Return a text on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 1 + (east_asian_width(each) in "WF") for each in text)


def cut(text: str, room: int) -> str:
    """Return a text, cut to so many columns."""
    if len(text) <= room and columns_of(text) <= room:
        return text
    ends = accumulate(columns_of(each) for each in text)
    fitting = next((count for count, end in enumerate(ends) if end >= room), len(text))
    return f"{text[:fitting]}…"


def widths_of(rows: Sequence[Cells], room: int | None) -> list[int]:
    """Return how wide the columns of a table are, but for those that the room is too small for."""
    longest = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    if room is None:
        return longest
    widths = [min(width, _CELL_COLUMNS) for width in longest[:-1]] + longest[-1:]
    starts = accumulate((width + len(_GAP) for width in widths), initial=0)
    return [
        width
        for width, start in zip(widths, starts, strict=False)
        if not start or start + min(width, _NARROWEST_COLUMNS) <= room
    ]


def lines_of(rows: Sequence[Cells], widths: Sequence[int], room: int | None) -> Iterator[str]:
    """Return the lines of a table, each cut to the room."""
    for row in rows:
        cells = row[: len(widths)]
        if room is not None:
            cells = [cut(cell, width) for cell, width in zip(cells, widths, strict=True)]
        padded = (
            cell + " " * (width - columns_of(cell))
            for cell, width in zip(cells, widths, strict=True)
        )
        line = _GAP.join(padded).rstrip()
        yield line if room is None else cut(line, room)
