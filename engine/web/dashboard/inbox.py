"""The inbox: every job that waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from engine.web.dashboard.board import Board, Job, board_of

_SHOWN_JOBS: Final = 50
_MOST_PAGES: Final = 8
"""Failed follow-ups are looked for by status and kind, a page each; few services have more."""


class Part(NamedTuple):
    """The jobs that wait for one reason, those first that wait longest."""

    name: str
    jobs: Sequence[Job]
    has_more: bool
    statuses: Sequence[str]
    """Those in which all of them are."""


class Inbox(NamedTuple):
    """All that waits for people."""

    asks: Part
    attention: Part
    follow_ups: Part

    @property
    def parts(self) -> Sequence[Part]:
        """The parts, in the order in which they are shown."""
        return (self.asks, self.attention, self.follow_ups)

    @property
    def total(self) -> int:
        """How many jobs are shown."""
        return sum(len(part.jobs) for part in self.parts)

    @property
    def has_more(self) -> bool:
        """Whether there are more."""
        return any(part.has_more for part in self.parts)


async def read_inbox(board: Board) -> Inbox:
    """Read it, in as many operations as there are reasons."""
    tables = await board.tables()
    return Inbox(
        await _in_status(board, "asks", tables.awaiting_input),
        await _in_status(board, "attention", tables.exhausted_to),
        await _failed_follow_ups(board, tables.failures()),
    )


async def _in_status(board: Board, name: str, status: str | None) -> Part:
    if status is None:
        return Part(name, (), has_more=False, statuses=())
    page = await _page(board, {"status": status})
    return Part(name, page["jobs"], page["next"] is not None, (status,))


async def _failed_follow_ups(board: Board, statuses: Sequence[str]) -> Part:
    kinds = [rule["kind"] for rule in await board.rules.get()]
    jobs, has_more = list[Job](), len(statuses) * len(kinds) > _MOST_PAGES
    for kind, status in islice(product(kinds, statuses), _MOST_PAGES):
        page = await _page(board, {"status": status, "kind": kind})
        jobs += [job for job in page["jobs"] if job.get("parent_id")]
        has_more |= page["next"] is not None
    jobs.sort(key=lambda job: str(job.get("updated_at", "")))
    has_more |= len(jobs) > _SHOWN_JOBS
    return Part("follow_ups", jobs[:_SHOWN_JOBS], has_more, statuses)


async def _page(board: Board, chosen: dict[str, Any]) -> dict[str, Any]:
    page: dict[str, Any] = await board.desk.do(
        "jobs", {**chosen, "newest_first": False, "limit": _SHOWN_JOBS}
    )
    return page


async def inbox(request: Request) -> Response:
    """Show everything that waits for a person."""
    board = board_of(request)
    cursor, found = await board.feed.cursor(), await board.shared(read_inbox)
    return await board.page(
        request, "inbox", cursor=cursor, waiting=found, inbox=found, tables=await board.tables()
    )
