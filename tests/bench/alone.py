"""One job at a time: the time from its creation to its result.

The engine and the floor take turns, one job each. The storage counts the commits between the first
call and the result: their number depends on the engine's design, not on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio

from engine import Job, JobEngine, JobStatus, Worker
from engine.storage.record import Change
from engine.storage.sqlite.storage import SQLiteStorage
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.measure import Row, progress
from tests.bench.rounds import Rounds, Stated
from tests.bench.working import AT_ONCE
from tests.bench.working_floors import DONE, PlainWork

_MOST_COMMITS = 3
_MOST_MS = 1.0


class CountingStorage(SQLiteStorage):
    """Counts its commits."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits = 0

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits += 1
        await super().commit(changes)


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure jobs that are moved to running, and jobs that are created running."""
    for turn in range(turns):
        for at_once in (False, True):
            progress(f"one job at a time, turn {turn + 1} of {turns}")
            with new_folder() as folder:
                anyio.run(_measure, rounds, folder, jobs, at_once)
    return [row for at_once in (False, True) for row in _rows(rounds, at_once=at_once)]


def _rows(rounds: Rounds, *, at_once: bool) -> list[Row]:
    way = "create → result" if at_once else "create, transition → result"
    commits = rounds[f"commits {at_once}"]
    middle, late = rounds[f"p50 {at_once}"], rounds[f"p99 {at_once}"]
    floor, late_floor = rounds[f"floor p50 {at_once}"], rounds[f"floor p99 {at_once}"]
    same = f"its {2 if at_once else 3} commits"
    return [
        Row(f"{way}: commits", commits, "limit", _MOST_COMMITS, 1.0, "", at_most=True),
        Row(f"{way}: p50", middle, "limit", _MOST_MS, 1.0, "ms", at_most=True),
        Stated(f"{way}: p50", middle, same, floor, unit="ms"),
        Stated(f"{way}: p99", late, f"{same} at p99", late_floor, unit="ms"),
    ]


async def _measure(rounds: Rounds, folder: Path, jobs: int, at_once: bool) -> None:  # noqa: FBT001 - by `anyio.run`
    """Add the medians, the 99th percentiles and the commits of so many jobs, in ms."""
    storage = CountingStorage(folder / "jobs.db")
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
            rounds.add(f"commits {at_once}", (storage.commits - begun) / jobs)
    for name, seconds in (("", ours), ("floor ", theirs)):
        rounds.add(f"{name}p50 {at_once}", 1e3 * median(seconds))
        rounds.add(f"{name}p99 {at_once}", 1e3 * quantiles(seconds, n=100, method="inclusive")[98])


async def _live(engine: JobEngine[Any], *, at_once: bool) -> None:
    job_id = (await engine.create(HASH)).job_id
    if not at_once:
        await engine.transition(job_id, JobStatus.RUNNING)
    if await engine.result(job_id) != DONE:
        raise RuntimeError("the job has another result")


async def _handle(_job: Job[Any]) -> str:
    return DONE
