"""The cost of ten thousand watchers, or waiting callers, in time of transitions and in memory.

Two engines, one with watched jobs and one without, move their jobs in turns: one call at a time, so
each call's time includes all its effects.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, TypeAlias

import anyio
from anyio.abc import TaskGroup

from engine import JobEngine, JobStatus, NewJob
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated

_BULK = 1_000
_BLOCK = 100  # transitions of one side before it is the other's turn

Look: TypeAlias = Callable[[JobEngine, str], Coroutine[Any, Any, None]]


async def _watch(engine: JobEngine, job_id: str) -> None:
    async for _ in engine.watch(job_id):
        pass


async def _wait(engine: JobEngine, job_id: str) -> None:
    await engine.wait(job_id)


LOOKS: Final[dict[str, Look]] = {"watchers": _watch, "who wait": _wait}
"""The way to look at every job."""


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure both ways to look at jobs, in memory and in a file."""
    for turn in repeated("watching", turns, lambda: _table(rounds, jobs)):
        for name in LOOKS:
            progress(f"{jobs:,} {name}, turn {turn}")
            with new_folder() as folder:
                anyio.run(_measure, rounds, name, jobs, (None, None), "memory")
                paths = (folder / "without.db", folder / "with.db")
                anyio.run(_measure, rounds, name, jobs, paths, "file")
    return _table(rounds, jobs)


def _table(rounds: Rounds, jobs: int) -> list[Row]:
    return [row for name in LOOKS for row in _rows(rounds, name, jobs)]


def _rows(rounds: Rounds, name: str, jobs: int) -> list[Row]:
    table: list[Row] = []
    for storage in ("memory", "file"):
        for point in ("p50", "p99"):
            figure, floor = (
                rounds[f"{storage} {name} {side} {point}"] for side in ("with", "without")
            )
            work = f"{jobs:,} {name}, {storage}: {point} of transition"
            table.append(Row(work, figure, "nobody", floor, 2.0, "µs", at_most=True))
    kib = rounds[f"memory {name} bytes"].derived(lambda size: size / 1024)
    table.append(Stated(f"{jobs:,} {name}: memory of each", kib, "1", 1.0, unit="KiB"))
    return table


async def _measure(
    rounds: Rounds, name: str, jobs: int, paths: tuple[Path | None, Path | None], storage: str
) -> None:
    """Add the times of transitions, in µs, and the memory of the watchers, in bytes."""
    without, watched = (JobEngine(path) for path in paths)
    async with without, watched, anyio.create_task_group() as tasks:
        ids = [await _fill(engine, jobs) for engine in (without, watched)]
        memory = await _look(tasks, LOOKS[name], watched, ids[1])
        rounds.add(f"{storage} {name} bytes", memory / jobs)
        seconds: tuple[list[float], list[float]] = ([], [])
        for first in range(0, jobs, _BLOCK):
            for side, engine in enumerate((without, watched)):
                seconds[side].extend(await _move(engine, ids[side][first : first + _BLOCK]))
        tasks.cancel_scope.cancel()
    for side_name, its_seconds in zip(("without", "with"), seconds, strict=True):
        cuts = quantiles(its_seconds, n=100, method="inclusive")
        rounds.add(f"{storage} {name} {side_name} p50", 1e6 * cuts[49])
        rounds.add(f"{storage} {name} {side_name} p99", 1e6 * cuts[98])


async def _fill(engine: JobEngine, jobs: int) -> list[str]:
    """Create jobs; return their ids."""
    ids: list[str] = []
    for first in range(0, jobs, _BULK):
        created = await engine.create_many([NewJob(HASH)] * min(_BULK, jobs - first))
        ids += [job.job_id for job in created]
    return ids


async def _look(tasks: TaskGroup, look: Look, engine: JobEngine, ids: list[str]) -> int:
    """Start a watcher of every job; return the bytes of all."""
    gc.collect()
    tracemalloc.start()
    for first in range(0, len(ids), _BULK):
        for job_id in ids[first : first + _BULK]:
            tasks.start_soon(look, engine, job_id)
        await anyio.wait_all_tasks_blocked()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if (await engine.statistics()).watchers != len(ids):
        raise RuntimeError("not every job is looked at")
    return used


async def _move(engine: JobEngine, ids: list[str]) -> list[float]:
    """Move jobs, one after the other; return the seconds of each call."""
    seconds: list[float] = []
    for job_id in ids:
        start = time.perf_counter()
        await engine.transition(job_id, JobStatus.RUNNING)
        seconds.append(time.perf_counter() - start)
    return seconds
