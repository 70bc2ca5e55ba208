"""The overview: how the engine is now."""

from __future__ import annotations

from math import ceil
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.web.dashboard.board import Board, board_of
from engine.web.dashboard.charts import read_day, read_hour
from engine.web.dashboard.inbox import read_inbox
from engine.web.dashboard.kinds import read_paused

STUCK_SECONDS: Final = 600
"""Running jobs where nothing has begun for so long may be stuck."""
_STUCK_FRESH_SECONDS: Final = 15.0
_DAY_FRESH_SECONDS: Final = 15.0
"""Reading the counts of a day takes some milliseconds, and few jobs change its picture."""
_COUNTING_SECONDS: Final = 1
"""How often a page is read anew until all transitions are counted, if few pages are open."""
_NEWEST_JOBS: Final = 12
_MOST_COUNTED: Final = 1_000


class Overview(NamedTuple):
    """What the page reads beside the inbox."""

    statistics: dict[str, Any]
    newest: dict[str, Any]


async def read_overview(board: Board) -> Overview:
    """Read it, in two operations."""
    do = board.desk.do
    return Overview(
        await do("statistics", {}),
        await do("jobs", {"limit": _NEWEST_JOBS}),
    )


async def read_stuck(board: Board) -> dict[str, Any]:
    """Count the jobs that may be stuck: a search among all that run, so a rare one."""
    stuck: dict[str, Any] = await board.desk.do(
        "count", {"stuck": STUCK_SECONDS, "at_most": _MOST_COUNTED}
    )
    return stuck


async def overview(request: Request) -> Response:
    """Show how many jobs are in each state, come and end, what needs a person, and the newest."""
    board = board_of(request)
    cursor, inbox = await board.feed.cursor(), await board.shared(read_inbox)
    read = await board.shared(read_overview)
    charts = [await board.shared(read_hour), await board.shared(read_day, _DAY_FRESH_SECONDS)]
    return await board.page(
        request,
        "overview",
        cursor=cursor,
        waiting=inbox,
        inbox=inbox,
        statistics=read.statistics,
        newest=read.newest,
        stuck=await board.shared(read_stuck, _STUCK_FRESH_SECONDS),
        paused=await board.shared(read_paused),
        charts=charts,
        tables=await board.tables(),
        stuck_seconds=STUCK_SECONDS,
        every=_counting_seconds(board) if any(chart.is_counting for chart in charts) else None,
    )


def _counting_seconds(board: Board) -> int:
    """Return how often a page is read anew while each look counts some: no more than for news."""
    return max(_COUNTING_SECONDS, ceil(board.feed.gather_seconds))
