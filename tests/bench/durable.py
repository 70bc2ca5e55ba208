"""Durable calls: an engine on one SQLite file beside plain `sqlite3` that writes the same rows.

Each measurement begins with a new file, in a folder of its own. The floor's batches are as large as
the engine's can be: as many as there are callers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import anyio

from engine import JobEngine, JobStatus, NewJob
from engine.portal import WorkThread
from tests.bench import ended
from tests.bench.durable_floors import HASH, RESULT, PlainSqlite
from tests.bench.inline import INLINE, rate_row, storage_in
from tests.bench.measure import Best, by_callers, repeated, timed
from tests.bench.rows import Measured, Row

CALLERS = (1, 10, 100, 1_000)
PERCENTILES = (50, 90, 99)
_BULK = 1_000
_WRITERS = 100
# This many jobs a caller make a measurement last for about a second.
_ROUNDS = {1: 3_000, 10: 1_000, 100: 200, 1_000: 40}


def rows(best: Best, scale: float, turns: int) -> list[Row]:
    """Measure both sides ``turns`` times or more; a scale of 1 gives reliable figures."""
    with ended.old_jobs(scale) as old:
        for _ in repeated("durable calls", turns, lambda: _table(best, scale)):
            for callers in CALLERS:
                _floor_creates(best, callers, jobs_of(callers, scale))
                time_variants(best, callers, scale)
            jobs = _WRITERS * max(1, int(100 * scale))
            _floor_lives(best, jobs)
            anyio.run(_lives, best, jobs)
            anyio.run(_create_many, best, max(1, int(40 * scale)))
            anyio.run(_gets_among_writers, best, jobs_of(_WRITERS, scale))
            anyio.run(_hops, best, max(10, int(2_000 * scale)))
            ended.measure(best, old, scale)
    return _table(best, scale)


def _table(best: Best, scale: float) -> list[Row]:
    floor_of_100 = "batches of 100"
    lives, floor_lives = best["engine lives"], best["floor lives"]
    return [
        _creates("create, 1,000 callers", best, 1_000, "batches of 1,000", 0.5),
        _creates("create, 100 callers", best, 100, floor_of_100, 0.5),
        *one_caller_rows("create, 1 caller", best, "one a commit", best["floor 1"], 0.7),
        Row("create → running → completed, 100 callers", lives, floor_of_100, floor_lives, 0.5),
        Row(
            "create_many of 1,000",
            best["create_many"],
            "batches of 1,000",
            best["floor 1000"],
            0.75,
        ),
        Row(
            "p99 of get while 100 callers create",
            best["get p99"].derived(lambda rate: 1e3 / rate),
            "3 commits of 100",
            best["floor commit 100"].derived(lambda rate: 3e3 / rate),
            1.3,
            "ms",
            at_most=True,
        ),
        *ended.rows(best, scale),
    ]


def lines(best: Best) -> list[str]:
    """Describe a figure of the table."""
    commit, late = (1e3 / best[f"floor commit {name}"].counts for name in ("100", "p99 100"))
    hop = 1e6 / best["hop"].counts
    return [
        f"- the floor's own commits of 100: {commit:.2f} ms at the median, {late:.2f} ms at p99",
        f"- to the storage's thread and back, with nothing to do there: {hop:.0f} µs",
    ]


async def _hops(best: Best, hops: int) -> None:
    """Add the rate at which the event loop gets answers from a thread that does nothing."""
    thread = WorkThread("nothing")
    await thread.run(int)
    start = time.perf_counter()
    for _ in range(hops):
        await thread.run(int)
    best.add("hop", hops, time.perf_counter() - start)
    thread.close()


def _creates(work: str, best: Best, callers: int, floor: str, target: float) -> Row:
    return Row(work, best[f"engine {callers}"], floor, best[f"floor {callers}"], target)


def one_caller_rows(
    work: str, best: Best, floor_name: str, floor: Measured, target: float
) -> list[Row]:
    """Return the rows of creates by one caller."""
    return [
        rate_row(
            work, best[creates_name(1, inline=inline)], floor_name, floor, target, inline=inline
        )
        for inline in INLINE
    ]


def jobs_of(callers: int, scale: float) -> int:
    """Return the number of jobs that so many callers create."""
    return callers * max(10, int(_ROUNDS[callers] * scale))


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder for one measurement, among the temporary files (``TMPDIR``)."""
    with tempfile.TemporaryDirectory(prefix="engine-bench-") as folder:
        yield Path(folder)


def _floor_creates(best: Best, batch: int, jobs: int) -> None:
    commits: list[float] = []
    with new_folder() as folder, closing(PlainSqlite(folder / "jobs.db")) as plain:

        def create() -> None:
            for _ in range(jobs // batch):
                start = time.perf_counter()
                plain.create(batch)
                commits.append(time.perf_counter() - start)

        best.add(f"floor {batch}", jobs, timed(create))
    best.add(f"floor commit {batch}", 1, median(commits))
    best.add(f"floor commit p99 {batch}", 1, _percentiles(commits)[99])


def time_variants(best: Best, callers: int, scale: float) -> None:
    """Add the engine's rates of creates: a lone caller's with inline commits, too."""
    for inline in INLINE if callers == 1 else (False,):
        anyio.run(partial(_time_creates, best, callers, jobs_of(callers, scale), inline=inline))


def creates_name(callers: int, *, inline: bool = False) -> str:
    """Return the name of the engine's rate of creates."""
    return f"engine {callers}{' inline' * inline}"


async def _time_creates(best: Best, callers: int, jobs: int, *, inline: bool) -> None:
    """Add the engine's rate of creates, and their latencies."""
    latencies: list[float] = []
    with new_folder() as folder:
        async with JobEngine(storage_in(folder / "jobs.db", inline=inline)) as engine:

            async def create(input_hash: str) -> None:
                start = time.perf_counter()
                await engine.create(input_hash)
                latencies.append(time.perf_counter() - start)

            seconds = await by_callers(callers, [HASH] * jobs, create)
    name = creates_name(callers, inline=inline)
    best.add(name, jobs, seconds)
    for percent, latency in _percentiles(latencies).items():
        best.add(f"{name} p{percent}", 1, latency)


def _floor_lives(best: Best, jobs: int) -> None:
    waiting, running, completed = (
        status.value
        for status in (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED)
    )
    with new_folder() as folder, closing(PlainSqlite(folder / "jobs.db")) as plain:

        def live() -> None:
            for _ in range(jobs // _WRITERS):
                positions = plain.create(_WRITERS)
                plain.move(positions, waiting, running, None)
                plain.move(positions, running, completed, RESULT)

        best.add("floor lives", jobs, timed(live))


async def _lives(best: Best, jobs: int) -> None:
    with new_folder() as folder:
        async with JobEngine(folder / "jobs.db") as engine:

            async def live(input_hash: str) -> None:
                job_id = (await engine.create(input_hash)).job_id
                await engine.transition(job_id, JobStatus.RUNNING)
                await engine.transition(job_id, JobStatus.COMPLETED, result=RESULT)

            best.add("engine lives", jobs, await by_callers(_WRITERS, [HASH] * jobs, live))


async def _create_many(best: Best, rounds: int) -> None:
    with new_folder() as folder:
        async with JobEngine(folder / "jobs.db") as engine:
            new = [[NewJob(HASH)] * _BULK for _ in range(rounds)]
            seconds = await by_callers(1, new, engine.create_many)
            best.add("create_many", rounds * _BULK, seconds)


async def _gets_among_writers(best: Best, jobs: int) -> None:
    """Let one reader get a live job repeatedly while others create jobs."""
    latencies: list[float] = []
    with new_folder() as folder:
        async with JobEngine(folder / "jobs.db") as engine, anyio.create_task_group() as tasks:
            job_id = (await engine.create(HASH)).job_id

            async def read() -> None:
                while True:
                    start = time.perf_counter()
                    await engine.get(job_id)
                    latencies.append(time.perf_counter() - start)

            tasks.start_soon(read)
            await by_callers(_WRITERS, [HASH] * jobs, engine.create)
            tasks.cancel_scope.cancel()
    best.add("get p99", 1, _percentiles(latencies)[99])


def _percentiles(values: list[float]) -> dict[int, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {percent: cuts[percent - 1] for percent in PERCENTILES}
