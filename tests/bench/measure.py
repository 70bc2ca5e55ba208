"""Measure figures, and print them as rows of a table."""

from __future__ import annotations

import gc
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeVar

import anyio

Item = TypeVar("Item")


@dataclass(frozen=True)
class Row:
    """A figure beside its floor."""

    work: str
    figure: float
    floor_name: str
    floor: float
    target: float
    unit: str = "1/s"
    at_most: bool = False
    """Whether the target is the highest ratio allowed, instead of the lowest."""

    @property
    def ratio(self) -> float:
        return self.figure / self.floor

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def cells(self) -> tuple[str, ...]:
        bound = "at most" if self.at_most else "at least"
        return (
            self.work,
            f"{number(self.figure)} {self.unit}",
            f"{self.floor_name}: {number(self.floor)} {self.unit}",
            f"{self.ratio:.2f}",
            f"{bound} {self.target:g}",
            "met" if self.met else "NOT MET",
        )


HEAD = ("work", "engine", "floor", "ratio", "target", "")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a Markdown table."""
    print_cells(title, [HEAD, *(row.cells() for row in rows)])


def print_cells(title: str, lines: Sequence[tuple[str, ...]]) -> None:
    """Print lines of cells as a Markdown table; the first line has the heads."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n### {title}\n")
    for place, line in enumerate(lines):
        padded = " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {padded} |")
        if place == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def versions() -> str:
    """Return the date, the versions and the machine of the figures."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, CPython {platform.python_version()},"
        f" anyio {version('anyio')}, trio {version('trio')}, pydantic {version('pydantic')},"
        f" SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, files in"
        f" {tempfile.gettempdir()}"
    )


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
    """The best rate of several turns, by name."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}

    def add(self, name: str, operations: int, seconds: float) -> None:
        self._rates[name] = max(self._rates.get(name, 0.0), operations / seconds)

    def __getitem__(self, name: str) -> float:
        return self._rates[name]


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
