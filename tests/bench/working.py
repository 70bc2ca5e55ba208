"""Jobs with a handler that does nothing: created, moved to running, run, completed.

The engine works as for its users: a worker with an async handler, and callers beside it on the same
event loop. The floor, `tests.bench.working_floors`, writes the same rows in batches of 100. The
time ends when the last result is committed; reading all results comes afterwards, as a check.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio

from engine import Job, JobEngine, JobStatus, Lifecycle, Move, NewJob, Worker
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.measure import by_callers, repeated, timed
from tests.bench.rounds import Rounds
from tests.bench.rows import Row
from tests.bench.working_floors import DONE, PlainWork

BATCH: Final = 100
_CONCURRENCY: Final = 1_000  # a handler that does nothing takes no room
_LOOK_AGAIN_SECONDS: Final = 0.001  # when all handlers have run, and the last commit is under way


class Status(StrEnum):
    """The statuses of jobs that start at once."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


AT_ONCE: Final = Lifecycle(
    Status,
    {
        Status.RUNNING: {Status.COMPLETED, Status.FAILED},
        Status.COMPLETED: set(),
        Status.FAILED: set(),
    },
    initial=Status.RUNNING,
    running=Status.RUNNING,
    success={Status.COMPLETED},
    failure={Status.FAILED},
)

Caller: TypeAlias = Callable[[JobEngine[Any], int], Awaitable[None]]
"""Starts so many jobs."""


async def in_bulk(engine: JobEngine[Any], jobs: int) -> None:
    """Create 100 jobs in one call and move them in another, repeatedly."""
    for _ in range(jobs // BATCH):
        created = await engine.create_many([NewJob(HASH)] * BATCH)
        await engine.transition_many([Move(job.job_id, JobStatus.RUNNING) for job in created])


async def by_hundred(engine: JobEngine[Any], jobs: int) -> None:
    """Let 100 callers create a job, move it, and wait for its result."""

    async def live(input_hash: str) -> None:
        job_id = (await engine.create(input_hash)).job_id
        await engine.transition(job_id, JobStatus.RUNNING)
        await engine.result(job_id)

    await by_callers(BATCH, [HASH] * jobs, live)


async def at_once_in_bulk(engine: JobEngine[Any], jobs: int) -> None:
    """Create 100 jobs in one call, repeatedly; they start at once."""
    for _ in range(jobs // BATCH):
        await engine.create_many([NewJob(HASH)] * BATCH)


async def at_once_by_hundred(engine: JobEngine[Any], jobs: int) -> None:
    """Let 100 callers create a job, and wait for its result."""

    async def live(input_hash: str) -> None:
        await engine.result((await engine.create(input_hash)).job_id)

    await by_callers(BATCH, [HASH] * jobs, live)


@dataclass(frozen=True)
class Way:
    """A way to start jobs."""

    begin: Caller
    target: float
    """The least part of the floor's rate."""
    at_once: bool = False
    """Whether jobs are created running."""


WAYS: Final = {
    "in bulks of 100": Way(in_bulk, 0.42),
    "by 100 callers": Way(by_hundred, 0.35),
    "at once, in bulks of 100": Way(at_once_in_bulk, 0.4, at_once=True),
    "at once, by 100 callers": Way(at_once_by_hundred, 0.4, at_once=True),
}


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure every way in memory and in a file, each beside the floor, ``turns`` times."""
    for _ in repeated("jobs with a handler", turns, lambda: _table(rounds)):
        for at_once in (False, True):
            rounds.add(f"floor {at_once}", jobs / floor_seconds(jobs, at_once=at_once))
        for way in WAYS:
            for storage in ("file", "memory"):
                rounds.add(f"{storage} {way}", jobs / engine_seconds(way, storage, jobs))
    return _table(rounds)


def _table(rounds: Rounds) -> list[Row]:
    return [*(_row(rounds, way) for way in WAYS), *(_memory_row(rounds, way) for way in WAYS)]


def _row(rounds: Rounds, way: str) -> Row:
    floor = rounds[f"floor {WAYS[way].at_once}"]
    return Row(f"run {way}", rounds[f"file {way}"], "batches of 100", floor, WAYS[way].target)


def _memory_row(rounds: Rounds, way: str) -> Row:
    file, memory = rounds[f"file {way}"], rounds[f"memory {way}"]
    return Row(f"on memory, {way}", memory, "in a file", file, 3.0)


def floor_seconds(jobs: int, *, at_once: bool) -> float:
    """Return the seconds in which the floor writes so many jobs."""
    with new_folder() as folder, closing(PlainWork(folder / "jobs.db")) as plain:
        live = plain.live_running if at_once else plain.live

        def write() -> None:
            for _ in range(jobs // BATCH):
                live(BATCH)

        return timed(write)


def engine_seconds(way: str, storage: str, jobs: int) -> float:
    """Return the seconds in which an engine runs so many jobs."""
    with new_folder() as folder:
        path = folder / "jobs.db" if storage == "file" else None
        return anyio.run(run_jobs, way, path, jobs)


async def run_jobs(way: str, path: Path | None, jobs: int) -> float:
    """Run jobs; return the seconds from the first call to the last commit."""
    at_once = WAYS[way].at_once
    engine: JobEngine[Any] = JobEngine(path, lifecycle=AT_ONCE) if at_once else JobEngine(path)
    completed = Status.COMPLETED if at_once else JobStatus.COMPLETED
    all_begun = anyio.Event()
    job_ids: list[str] = []

    async def handle(job: Job[Any]) -> str:
        job_ids.append(job.job_id)
        if len(job_ids) == jobs:
            all_begun.set()
        return DONE

    async with engine, Worker(engine, handle, concurrency=_CONCURRENCY):
        gc.collect()
        start = time.perf_counter()
        await WAYS[way].begin(engine, jobs)
        await all_begun.wait()
        while await engine.count(completed) < jobs:  # noqa: ASYNC110 - a watcher would take part
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
        seconds = time.perf_counter() - start
        await _check_results(engine, job_ids)
    return seconds


async def _check_results(engine: JobEngine[Any], job_ids: list[str]) -> None:
    """Check that every job has its result.

    Raises:
        RuntimeError: A job has none: the measurement is void.
    """
    done = [job for job in await engine.get_many(job_ids) if job.result == DONE]
    if len(done) != len(set(job_ids)):
        raise RuntimeError(f"{len(done)} of {len(job_ids)} jobs have their result")
