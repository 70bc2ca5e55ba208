"""The feed: what changes, told to every open page by one long poll.

A page doesn't want each transition: it wants to know that it is out of date. So the feed gathers
for a moment, and tells which jobs have changed, or only that many have. A page that comes back
with the id of its last event gets what it missed, or is told to read everything again: when the id
is not among the newest 240 news, or when more has happened than one read has room for.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio

from engine.domain.exceptions import CursorExpiredError, UnknownCursorError
from engine.operations import Desk
from engine.web.dashboard.sharing import Turn

_GATHER_SECONDS: Final = 0.25
"""The shortest time between two polls: a busy engine is asked four times a second, however many
pages are open."""
_PAGE_SECONDS: Final = 0.05
"""Many open pages are told less often: all together read 20 pages a second at most."""
_MOST_GATHER_SECONDS: Final = 10.0
_WAIT_SECONDS: Final = 15.0
_MOST_TRANSITIONS: Final = 1_000
_KEPT_NEWS: Final = 240
_NAMED_JOBS: Final = 50
"""News of more jobs concern every page."""


class News(NamedTuple):
    """What has happened in a moment."""

    cursor: str
    """The place behind it."""
    jobs: frozenset[str] | None
    """The ids of the jobs; None for many, or for nobody knows which."""

    def data(self) -> str:
        """Return it as the data of an event."""
        return json.dumps({"jobs": None if self.jobs is None else sorted(self.jobs)})


class Feed:
    """The news of a desk.

    Args:
        desk: One that nobody else asks, or the news wait for the answers of others.
    """

    def __init__(self, desk: Desk) -> None:
        self._number = 0
        self._desk = desk
        self._turn = Turn()
        self._newest: str | None = None
        self._kept: deque[News] = deque(maxlen=_KEPT_NEWS)
        self._polled_at = 0.0
        self._waiting = 0

    @property
    def number(self) -> int | None:
        """The number of the newest news, the acts of this dashboard among them.

        None while nobody waits for news: then there may be some that nobody knows of.
        """
        return self._number if self._turn.is_taken else None

    @property
    def gather_seconds(self) -> float:
        """The shortest time between two polls, by the number of pages that wait."""
        return max(_GATHER_SECONDS, min(_MOST_GATHER_SECONDS, _PAGE_SECONDS * self._waiting))

    def note_act(self) -> None:
        """Note that something has changed, before the feed tells so."""
        self._number += 1

    async def cursor(self) -> str:
        """Return a place that is not behind now: a page that is read next has what came before.

        Raises:
            EngineError: The desk's.
        """
        while self._newest is None:
            async with self._turn.taken() as is_mine:
                if is_mine:
                    await self._begin()
        return self._newest

    async def after(self, cursor: str) -> Sequence[News]:
        """Return the news behind a place: some at once, or after a wait some or none.

        Raises:
            EngineError: The desk's; the next call begins anew.
        """
        if (news := self._since(cursor)) is None:
            return [News(await self.cursor(), None)]
        if not news:
            self._waiting += 1
            try:
                async with self._turn.taken() as is_mine:
                    if is_mine:
                        await self._poll()
            finally:
                self._waiting -= 1
            news = self._since(cursor)
        return [News(await self.cursor(), None)] if news is None else news

    def _since(self, cursor: str) -> Sequence[News] | None:
        """Return the news behind a place that are kept; None if the place is not known."""
        if cursor == self._newest:
            return ()
        kept = list(self._kept)
        for number, each in enumerate(kept):
            if each.cursor == cursor:
                return kept[number + 1 :]
        return None

    async def _begin(self) -> None:
        answer = await self._desk.do("transitions", {})
        self._newest = answer["next"]
        self._kept.append(News(answer["next"], None))

    async def _poll(self) -> None:
        next_at = self._polled_at + self.gather_seconds
        await anyio.sleep(max(0.0, next_at - anyio.current_time()))
        try:
            answer = await self._desk.do(
                "transitions",
                {"after": self._newest, "limit": _MOST_TRANSITIONS, "wait": _WAIT_SECONDS},
            )
        except (UnknownCursorError, CursorExpiredError):
            self._newest = None
            self._number += 1
            return
        finally:
            self._polled_at = anyio.current_time()
        if transitions := answer["transitions"]:
            is_all = len(transitions) < _MOST_TRANSITIONS
            if not is_all:  # too many to follow one by one: nobody knows whose the next ones are
                answer = await self._desk.do("transitions", {})
            jobs = frozenset(each["job_id"] for each in transitions)
            is_named = is_all and len(jobs) <= _NAMED_JOBS
            self._newest = answer["next"]
            self._kept.append(News(answer["next"], jobs if is_named else None))
            self._number += 1
