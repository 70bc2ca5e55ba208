"""The diagram: a lifecycle drawn as SVG, with the way of one job and its present status lit.

Statuses stand in columns by their distance from the first one, and the ends in the last column.
There is no style in the picture: classes name the role of each part, and the style sheet does the
rest, in light and dark.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from engine.web.dashboard.tables import Tables

_WIDTH: Final = 140
_HEIGHT: Final = 30
_GAP_X: Final = 64
_GAP_Y: Final = 18
_MARGIN: Final = 12
_MOST_STATUSES: Final = 40
_LABEL_CHARACTERS: Final = 18


class Place(NamedTuple):
    """The left upper corner of a box."""

    x: int
    y: int


class Box(NamedTuple):
    """A status."""

    status: str
    label: str
    classes: str
    place: Place


class Arrow(NamedTuple):
    """A move."""

    path: str
    is_taken: bool


class Diagram(NamedTuple):
    """A drawing."""

    width: int
    height: int
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def diagram_of(
    tables: Tables, moves: Collection[tuple[str | None, str]], now: str
) -> Diagram | None:
    """Draw a lifecycle; None if it has too many statuses for a picture that helps.

    Args:
        tables: The lifecycle's.
        moves: Those that the job has made; the first one leads from nowhere.
        now: The status of the job.
    """
    if len(tables.statuses) > _MOST_STATUSES:
        return None
    columns = _columns(tables)
    tallest = max(map(len, columns))
    places = {
        status: Place(_MARGIN + x * (_WIDTH + _GAP_X), _top(y, len(column), tallest))
        for x, column in enumerate(columns)
        for y, status in enumerate(column)
    }
    been = {status for move in moves for status in move}
    arrows = [
        Arrow(_path(places[status], places[to]), (status, to) in moves)
        for status in tables.statuses
        for to in tables.moves.get(status, ())
    ]
    return Diagram(
        2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X,
        2 * _MARGIN + tallest * (_HEIGHT + _GAP_Y) - _GAP_Y,
        [
            Box(status, _label(status), _classes(tables, status, been, now), places[status])
            for status in tables.statuses
        ],
        sorted(arrows, key=lambda each: each.is_taken),  # the way of the job on top
    )


def _columns(tables: Tables) -> Sequence[Sequence[str]]:
    distances, ends = _distances(tables.moves, tables.initial), list[str]()
    columns = dict[int, list[str]]()
    for status in tables.statuses:
        if tables.is_end(status):
            ends.append(status)
        else:
            columns.setdefault(distances.get(status, 0), []).append(status)
    return [*(columns[number] for number in sorted(columns)), *filter(None, [ends])]


def _distances(moves: Mapping[str, Collection[str]], first: str) -> Mapping[str, int]:
    distances, reached = {first: 0}, [first]
    for status in reached:
        for to in moves.get(status, ()):
            if to not in distances:
                distances[to] = distances[status] + 1
                reached.append(to)
    return distances


def _top(number: int, count: int, tallest: int) -> int:
    """Return where a box begins whose column stands in the middle of the picture."""
    step = _HEIGHT + _GAP_Y
    return _MARGIN + (tallest - count) * step // 2 + number * step


def _path(start: Place, end: Place) -> str:
    middle, edge = _HEIGHT // 2, start.x + _WIDTH
    if start.x < end.x:
        half = max(_GAP_X // 2, (end.x - edge) // 2)
        y1, y2 = start.y + middle, end.y + middle
        return f"M{edge} {y1}C{edge + half} {y1} {end.x - half} {y2} {end.x - 2} {y2}"
    if start.x == end.x:
        y1, y2, out = start.y + middle, end.y + middle, edge + _GAP_X // 2
        return f"M{edge} {y1}C{out} {y1} {out} {y2} {edge + 2} {y2}"
    y1, y2, half = start.y + _HEIGHT - 6, end.y + _HEIGHT - 6, _GAP_X // 2
    right = end.x + _WIDTH
    return f"M{start.x} {y1}C{start.x - half} {y1} {right + half} {y2} {right + 2} {y2}"


def _classes(tables: Tables, status: str, been: Collection[str | None], now: str) -> str:
    state = "now" if status == now else "been" if status in been else "else"
    return f"box {tables.role(status)} {state}"


def _label(status: str) -> str:
    if len(status) <= _LABEL_CHARACTERS:
        return status
    return f"{status[: _LABEL_CHARACTERS - 1]}…"
