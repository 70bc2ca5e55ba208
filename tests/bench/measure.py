"""Measure figures, in as many turns as they need."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import anyio

from tests.bench.rows import Measured, Row

Item = TypeVar("Item")

_TIMES_THE_TURNS = 3
_LONG_SECONDS = 1_500.0


def repeated(what: str, turns: int, table: Callable[[], Sequence[Row]]) -> Iterator[int]:
    """Yield the numbers of turns, from 1 on: ``turns``, and more until each target's row is steady.

    Three times as many are the end, or 25 minutes. A single turn has no spread, so it stays alone.
    """
    start = time.monotonic()
    for turn in range(1, _TIMES_THE_TURNS * turns + 1):
        progress(f"{what}, turn {turn} of {max(turn, turns)}")
        yield turn
        is_long = time.monotonic() - start > _LONG_SECONDS
        if turn >= turns and (is_long or all(row.is_steady for row in table())):
            return


def progress(text: str) -> None:
    """Print the current measurement on a terminal; nothing in a pipe."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def timed(function: Callable[[], object]) -> float:
    """Return the seconds of a call, after collecting the garbage of earlier ones."""
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Best:
    """The rates of several turns, by name; the best one counts."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}

    def add(self, name: str, operations: int, seconds: float) -> None:
        self._rates.setdefault(name, []).append(operations / seconds)

    def __getitem__(self, name: str) -> Measured:
        rates = self._rates[name]
        return Measured(rates, max(rates))


async def by_callers(callers: int, items: Sequence[Item], call: Callable[[Item], object]) -> float:
    """Return the seconds of concurrent callers for all items; each awaits one at a time."""
    waiting = iter(items)

    async def caller() -> None:
        for item in waiting:
            await call(item)  # type: ignore[misc]

    gc.collect()
    start = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(caller)
    return time.perf_counter() - start
