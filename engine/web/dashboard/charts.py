"""The charts: how many jobs came and ended in the last hour and the last day, drawn as SVG.

The jobs that ended stand as columns, one for each period, and the jobs that came as a line across
them. There is no style in a picture: classes name the role of each part. What a picture says stands
beside it in words, and in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import anyio

from engine.domain.time_text import time_text
from engine.web.dashboard.board import Board
from engine.web.dashboard.texts import time_of

_HEIGHT: Final = 100
_COLUMN: Final = 0.8  # of the width of a period
_COUNTING_SHARE: Final = 0.1
"""Of the time between two looks: for so long, a look counts."""
_CREATED: Final = "created"
_ENDS: Final[Mapping[str, str]] = {
    "succeeded": "success",
    "failed": "failure",
    "given_up": "given-up",
}
"""The sorts of ends, from the foot of a column to its top, each with its role in the picture."""
_ROLES: Final = {_CREATED: "running", **_ENDS}


class Total(NamedTuple):
    """How many jobs came, or ended in one way, in all of a chart."""

    label: str
    role: str
    jobs: int


class Period(NamedTuple):
    """A period in which something happened."""

    at: str
    place: int
    counts: Mapping[str, int]

    def ended(self, sorts: Iterable[str] = _ENDS) -> int:
        """Return how many jobs ended, in some ways or in any."""
        return sum(self.counts[sort] for sort in sorts)


class Chart(NamedTuple):
    """A drawing, and what it says."""

    name: str
    every: str
    since: str
    until: str
    totals: Sequence[Total]
    most: int
    """The most that came, or that ended, in one period: the height of the picture."""
    periods: Sequence[Period]
    """Those in which something happened."""
    width: int
    """One for each period."""
    columns: Mapping[str, str]
    """The path of each sort of ends, by its role."""
    line: str
    """The path of the jobs that came."""
    are_all: bool
    """Whether all transitions are counted yet."""
    can_count: bool
    """Whether later looks count the others: on a full disk they can't."""
    height: int = _HEIGHT

    @property
    def is_counting(self) -> bool:
        """Whether the next look counts more."""
        return self.can_count and not self.are_all


async def read_hour(board: Board) -> Chart:
    """Read what happened in the last hour, and draw it.

    Each question counts some transitions. The more seldom pages ask, the more of them are asked at
    once, so that the counts catch up with a busy engine however many pages are open.
    """
    until = anyio.current_time() + _COUNTING_SHARE * board.feed.gather_seconds
    while True:
        told = await board.desk.do("throughput", {"minutes": 60, "every": 1})
        chart = chart_of("Last hour", "a minute", told)
        if not chart.is_counting or anyio.current_time() >= until:
            return chart


async def read_day(board: Board) -> Chart:
    """Read what happened in the last day, and draw it."""
    told = await board.desk.do("throughput", {"minutes": 1_440, "every": 15})
    return chart_of("Last day", "in 15 minutes", told)


def chart_of(name: str, every: str, told: Mapping[str, Any]) -> Chart:
    """Draw what the operation ``throughput`` has told."""
    since, length = time_of(told["since"]), timedelta(minutes=told["every"])
    width = (time_of(told["until"]) - since) // length + 1
    periods = [_period(each, (time_of(each["at"]) - since) // length) for each in told["periods"]]
    most = max((max(each.counts[_CREATED], each.ended()) for each in periods), default=0)
    return Chart(
        name=name,
        every=every,
        since=told["since"],
        until=time_text(since + (width - 1) * length),
        totals=[_total(sort, periods) for sort in _ROLES],
        most=most,
        periods=periods,
        width=width,
        columns={role: "".join(_columns(periods, sort, most)) for sort, role in _ENDS.items()},
        line=_line(periods, width, most),
        are_all=told["all_counted"],
        can_count=told["can_count"],
    )


def _period(told: Mapping[str, Any], place: int) -> Period:
    return Period(told["at"], place, {sort: told[sort] for sort in _ROLES})


def _total(sort: str, periods: Sequence[Period]) -> Total:
    return Total(sort.replace("_", " "), _ROLES[sort], sum(each.counts[sort] for each in periods))


def _columns(periods: Sequence[Period], sort: str, most: int) -> Iterator[str]:
    """Yield the columns of one sort of ends, on top of those of the sorts before."""
    below = [*_ENDS][: [*_ENDS].index(sort)]
    for each in periods:
        if count := each.counts[sort]:
            left, bottom = each.place + (1 - _COLUMN) / 2, each.ended(below)
            top = _y(bottom + count, most)
            yield f"M{left:g} {top:g}h{_COLUMN:g}V{_y(bottom, most):g}h-{_COLUMN:g}z"


def _line(periods: Sequence[Period], width: int, most: int) -> str:
    created = {each.place: each.counts[_CREATED] for each in periods}
    heights = [_y(created.get(place, 0), most) for place in range(width)]
    return f"M0 {heights[0]:g}h1" + "".join(f"V{height:g}h1" for height in heights[1:])


def _y(count: int, most: int) -> float:
    return round(_HEIGHT - _HEIGHT * count / max(most, 1), 2)
