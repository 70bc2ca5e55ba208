"""Jobs that are found among many, beside the way without an index: going through all pages.

There are a thousand customers. Half of the jobs are of one kind, and half of the
customers in one region; one payment pays for the job in the middle.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio

from engine import Job, JobEngine, NewJob
from tests.bench.durable_floors import HASH
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row

_BULK: Final = 10_000
_PAGE: Final = 1_000
_CUSTOMERS: Final = 1_000
_TRIES: Final = 50  # the median counts
_LIMIT_MS: Final = 5.0
_TIMES_AS_FAST: Final = 50
_PLACES: Final = ("memory", "file")
_MINE: Final = {"customer": "c500"}
_EU: Final = {"region": "eu"}
_PAYMENT: Final = "payment 500"

_WAYS: Final[dict[str, Callable[[JobEngine], Awaitable[object]]]] = {
    "page by a label": lambda engine: engine.list_jobs(labels=_MINE),
    "newest page by a label": lambda engine: engine.list_jobs(labels=_MINE, newest_first=True),
    "page by a kind": lambda engine: engine.list_jobs(kind="report"),
    "page by kind and label": lambda engine: engine.list_jobs(kind="report", labels=_MINE),
    "page by two labels": lambda engine: engine.list_jobs(labels={**_MINE, **_EU}),
    "count by a label": lambda engine: engine.count(labels=_MINE),
    "find a payment": lambda engine: engine.find(payment_id=_PAYMENT),
}


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Fill an engine in memory and one over a file, and find jobs in both."""
    anyio.run(_measure, rounds, jobs, turns)
    return _table(rounds, jobs)


def _table(rounds: Rounds, jobs: int) -> list[Row]:
    return [row for place in _PLACES for row in _rows_of(rounds, place, jobs)]


def _rows_of(rounds: Rounds, place: str, jobs: int) -> list[Row]:
    floor = rounds[f"{place}: all pages"]
    by_label = rounds[f"{place}: page by a label"].derived(_milliseconds)
    among = f"among {jobs:,} jobs in {'memory' if place == 'memory' else 'a file'}"
    return [
        Row(f"page by a label {among}", by_label, "limit", _LIMIT_MS, 1.0, "ms", at_most=True),
        *(
            Row(
                f"{way} {among}",
                rounds[f"{place}: {way}"],
                "all pages",
                floor,
                _TIMES_AS_FAST,
            )
            for way in _WAYS
        ),
    ]


def _milliseconds(rate: float) -> float:
    return 1e3 / rate


async def _measure(rounds: Rounds, jobs: int, turns: int) -> None:
    with TemporaryDirectory(prefix="engine-bench-") as folder:
        async with JobEngine() as memory, JobEngine(Path(folder, "jobs.db")) as file:
            engines = dict(zip(_PLACES, (memory, file), strict=True))
            for place, engine in engines.items():
                progress(f"{jobs:,} jobs come into the {place}")
                await _fill(engine, jobs)
            for _ in repeated("finding jobs", turns, lambda: _table(rounds, jobs)):
                for place, engine in engines.items():
                    await _find(rounds, place, engine, jobs)


async def _fill(engine: JobEngine, jobs: int) -> None:
    for first in range(0, jobs, _BULK):
        numbers = range(first, min(first + _BULK, jobs))
        await engine.create_many(_new(number, jobs) for number in numbers)


def _new(number: int, jobs: int) -> NewJob:
    customer = number % _CUSTOMERS
    labels = {"customer": f"c{customer}", **(_EU if customer % 2 == 0 else {})}
    is_paid = number == jobs // 2
    return NewJob(
        HASH,
        kind="report" if number // _CUSTOMERS % 2 else "default",
        labels=labels,
        payment_id=_PAYMENT if is_paid else None,
    )


async def _find(rounds: Rounds, place: str, engine: JobEngine, jobs: int) -> None:
    start = time.perf_counter()
    assert await _through_all(engine, lambda job: job.payment_id == _PAYMENT) == 1
    rounds.add(f"{place}: all pages", 1 / (time.perf_counter() - start))
    assert await engine.count(labels=_MINE) == max(1, jobs // _CUSTOMERS)
    for way, call in _WAYS.items():
        seconds = [await _seconds(call, engine) for _ in range(_TRIES)]
        rounds.add(f"{place}: {way}", 1 / median(seconds))


async def _seconds(call: Callable[[JobEngine], Awaitable[object]], engine: JobEngine) -> float:
    start = time.perf_counter()
    await call(engine)
    return time.perf_counter() - start


async def _through_all(engine: JobEngine, fits: Callable[[Job[Any]], bool]) -> int:
    """Count the jobs that fit, page by page."""
    page = await engine.list_jobs(limit=_PAGE)
    found = sum(map(fits, page.jobs))
    while page.next_cursor is not None:
        page = await engine.list_jobs(limit=_PAGE, after=page.next_cursor)
        found += sum(map(fits, page.jobs))
    return found
