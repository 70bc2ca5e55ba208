"""One job at a time: the time from its creation to its result.

The engine and the floor take turns, one job each. The storage counts the commits between the first
call and the result: their number depends on the engine's design, not on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio

from engine import Job, JobEngine, JobStatus, Worker
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from engine.storage.sqlite.storage import SQLiteStorage
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.inline import INLINE, options_of
from tests.bench.measure import repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated
from tests.bench.working import AT_ONCE
from tests.bench.working_floors import DONE, PlainWork

_MOST_COMMITS = 3
_MOST_MS = 1.0
_TIMES_ITS_COMMITS = 1.5
_WAYS = [(at_once, inline) for at_once in (False, True) for inline in INLINE]


class CountingStorage(SQLiteStorage):
    """Counts its commits."""

    def __init__(self, path: Path, *, inline: bool) -> None:
        super().__init__(path, **options_of(inline=inline))
        self.commits = 0

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.commits += 1
        await super().commit(changes, lines)


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure jobs that are moved to running, and jobs that are created running."""
    for _ in repeated("one job at a time", turns, lambda: _table(rounds)):
        for at_once, inline in _WAYS:
            with new_folder() as folder:
                anyio.run(partial(_measure, rounds, folder, jobs, at_once=at_once, inline=inline))
    return _table(rounds)


def _table(rounds: Rounds) -> list[Row]:
    return [
        row for at_once, inline in _WAYS for row in _rows(rounds, at_once=at_once, inline=inline)
    ]


def _name(*, at_once: bool, inline: bool) -> str:
    return ("create → result" if at_once else "create, transition → result") + (
        ", inline commits" if inline else ""
    )


def _rows(rounds: Rounds, *, at_once: bool, inline: bool) -> list[Row]:
    way = _name(at_once=at_once, inline=inline)
    middle, floor = rounds[f"p50 {way}"], rounds[f"floor p50 {way}"]
    late, late_floor = rounds[f"p99 {way}"], rounds[f"floor p99 {way}"]
    same = f"its {2 if at_once else 3} commits"
    return [
        Row(
            f"{way}: commits",
            rounds[f"commits {way}"],
            "limit",
            _MOST_COMMITS,
            1.0,
            "",
            at_most=True,
        ),
        Row(f"{way}: p50", middle, "limit", _MOST_MS, 1.0, "ms", at_most=True),
        Row(f"{way}: p50", middle, same, floor, _TIMES_ITS_COMMITS, "ms", at_most=True)
        if inline
        else Stated(f"{way}: p50", middle, same, floor, unit="ms"),
        Stated(f"{way}: p99", late, f"{same} at p99", late_floor, unit="ms"),
    ]


async def _measure(rounds: Rounds, folder: Path, jobs: int, *, at_once: bool, inline: bool) -> None:
    """Add the medians, the 99th percentiles and the commits of so many jobs, in ms."""
    way = _name(at_once=at_once, inline=inline)
    storage = CountingStorage(folder / "jobs.db", inline=inline)
    engine: JobEngine[Any] = (
        JobEngine(storage, lifecycle=AT_ONCE) if at_once else JobEngine(storage)
    )
    ours: list[float] = []
    theirs: list[float] = []
    with closing(PlainWork(folder / "floor.db")) as plain:
        async with engine, Worker(engine, _handle):
            await _live(engine, at_once=at_once)  # its claim waits from here on
            begun = storage.commits
            for _ in range(jobs):
                start = time.perf_counter()
                (plain.live_running if at_once else plain.live)(1)
                between = time.perf_counter()
                await _live(engine, at_once=at_once)
                ours.append(time.perf_counter() - between)
                theirs.append(between - start)
            rounds.add(f"commits {way}", (storage.commits - begun) / jobs)
    for name, seconds in (("", ours), ("floor ", theirs)):
        rounds.add(f"{name}p50 {way}", 1e3 * median(seconds))
        rounds.add(f"{name}p99 {way}", 1e3 * quantiles(seconds, n=100, method="inclusive")[98])


async def _live(engine: JobEngine[Any], *, at_once: bool) -> None:
    job_id = (await engine.create(HASH)).job_id
    if not at_once:
        await engine.transition(job_id, JobStatus.RUNNING)
    if await engine.result(job_id) != DONE:
        raise RuntimeError("the job has another result")


async def _handle(_job: Job[Any]) -> str:
    return DONE
