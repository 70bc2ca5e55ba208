"""Texts: stored values become texts and tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final
from unicodedata import combining, east_asian_width

Cells = Sequence[str]

NOTHING: Final = "-"
"""Stands for None, so that a column is never empty."""
CUT: Final = "…"
"""Stands behind a text that is cut."""
_GAP: Final = "  "
_CELL_COLUMNS: Final = 40  # on a terminal, so that one long text leaves room for the rest
_NARROW_CELL_COLUMNS: Final = 18  # then an id is cut, and its beginning may be that of several
_NARROW_ROOM: Final = 100
_NARROWEST_COLUMNS: Final = 8  # a narrower column is left out


def job_line(job: Mapping[str, Any], room: int) -> str:
    """Return the line of a job, given as its JSON: its id, its status and how it has ended.

    Args:
        job: The job.
        room: How many columns of its error are shown.
    """
    outcome = f" ({job['outcome']})" if job.get("outcome") else ""
    error = "" if job.get("error") is None else f": {cut(job['error'], room)}"
    return f"{job['job_id']} {job['status']}{outcome}{error}"


def counted(number: int, noun: str) -> str:
    """Return a number of things, as "1 job" or "1,000 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def width_of(text: str) -> int:
    """Return the width of a text in a terminal's columns."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 1 + (east_asian_width(each) in "WF") for each in text)


def cut(text: str, room: int) -> str:
    """Return a text, cut to a number of columns."""
    if len(text) <= room and width_of(text) <= room:
        return text
    ends = accumulate(width_of(each) for each in text)
    fitting = next((count for count, end in enumerate(ends) if end >= room), len(text))
    return f"{text[:fitting]}{CUT}"


def ready_cell(jobs: int, *, is_paused: bool) -> str:
    """Return the cell of the ready jobs of a kind, which may be paused."""
    return f"{jobs:,} paused" if is_paused else f"{jobs:,}"


def column_widths(rows: Sequence[Cells], room: int | None) -> list[int]:
    """Return the widths of a table's columns, as many as the room is wide enough for."""
    longest = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    if room is None:
        return longest
    most = _NARROW_CELL_COLUMNS if room < _NARROW_ROOM else _CELL_COLUMNS
    widths = [min(width, most) for width in longest[:-1]] + longest[-1:]
    starts = accumulate((width + len(_GAP) for width in widths), initial=0)
    return [
        width
        for width, start in zip(widths, starts, strict=False)
        if not start or start + min(width, _NARROWEST_COLUMNS) <= room
    ]


def table_lines(rows: Sequence[Cells], widths: Sequence[int], room: int | None) -> Iterator[str]:
    """Return the lines of a table, each cut to the room."""
    for row in rows:
        cells = row[: len(widths)]
        if room is not None:
            cells = [cut(cell, width) for cell, width in zip(cells, widths, strict=True)]
        padded = (
            cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=True)
        )
        line = _GAP.join(padded).rstrip()
        yield line if room is None else cut(line, room)
