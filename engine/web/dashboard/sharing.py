"""Sharing: one task asks, and all who want to know the same get the answer.

Any number of open dashboards so cost the engine no more than one. No task of its own runs: of those
who wait one asks, and when it is cancelled, the next one does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar

import anyio

Value = TypeVar("Value")


class Turn:
    """Is had by one task at a time; the others wait for its end, and then look again."""

    def __init__(self) -> None:
        self._end: anyio.Event | None = None

    @property
    def is_taken(self) -> bool:
        """Whether a task has it."""
        return self._end is not None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[bool]:
        """Take the turn, and yield true; or wait until another task's ends, and yield false."""
        if self._end is not None:
            await self._end.wait()
            yield False
            return
        self._end = anyio.Event()
        try:
            yield True
        finally:
            end, self._end = self._end, None
            end.set()


class _Kept(NamedTuple, Generic[Value]):
    """An answer."""

    news: int
    began: float
    value: Value


class Shared(Generic[Value]):
    """A read whose answer serves for a while, unless something has happened since it began.

    Args:
        read: Asks.
        seconds: Returns how old an answer may get.
        news: Returns a number that changes when something has happened; None if nobody would know
            of it: then no answer is kept.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Value]],
        seconds: Callable[[], float],
        news: Callable[[], int | None] = lambda: 0,
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._news = news
        self._turn = Turn()
        self._kept: _Kept[Value] | None = None

    async def get(self) -> Value:
        """Return the answer.

        Raises:
            EngineError: The read's.
        """
        while True:
            if (kept := self._kept) is not None and self._is_fresh(kept):
                return kept.value
            async with self._turn.taken() as is_mine:
                if is_mine:
                    began, news = anyio.current_time(), self._news()
                    value = await self._read()
                    self._kept = None if news is None else _Kept(news, began, value)
                    return value

    def _is_fresh(self, kept: _Kept[Value]) -> bool:
        return kept.news == self._news() and anyio.current_time() - kept.began < self._seconds()
