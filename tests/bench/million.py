"""The cost of a million live jobs: time, memory, and pauses of the event loop."""

from __future__ import annotations

import gc
import hashlib
import random
import time
from pathlib import Path

import anyio

from engine import JobEngine, JobStatus, NewJob
from tests.bench.measure import Best, by_callers, progress, repeated
from tests.bench.rows import Measured, Row

_FEW = 1_000
_BULK = 1_000


def rows(jobs: int, operations: int, turns: int) -> list[Row]:
    """Fill an engine with jobs, and compare it with an engine of a thousand."""
    return anyio.run(_rows, jobs, operations, turns)


async def _rows(jobs: int, operations: int, turns: int) -> list[Row]:
    before = _resident_bytes()
    async with JobEngine() as large:
        pause = await _fill(large, jobs)
        bytes_a_job = (_resident_bytes() - before) / jobs
        best = Best()
        ids = await _ids(large)
        for _ in repeated("a million jobs", turns, lambda: _costs(best, jobs)):
            async with JobEngine() as small:
                await _fill(small, _FEW)
                await _calls(best, "few", small, await _ids(small), operations)
            await _calls(best, "many", large, ids, operations)
    memory, longest = Measured.once(bytes_a_job), Measured.once(pause * 1e3)
    work = f"longest pause while {jobs:,} jobs come in"
    return [
        *_costs(best, jobs),
        Row("memory of a live job", memory, "limit", 800, 1.0, "bytes", at_most=True),
        Row(work, longest, "limit", 50, 1.0, "ms", at_most=True),
    ]


def _costs(best: Best, jobs: int) -> list[Row]:
    return [
        Row(
            f"cost of {call} with {jobs:,} live jobs",
            best[f"many {call}"].derived(_microseconds),
            f"with {_FEW:,}",
            best[f"few {call}"].derived(_microseconds),
            1.25,
            "µs",
            at_most=True,
        )
        for call in ("get", "create", "transition", "count", "list of 100")
    ]


def _microseconds(rate: float) -> float:
    return 1e6 / rate


async def _fill(engine: JobEngine, jobs: int) -> float:
    """Create jobs, each with its own texts; return the event loop's longest pause in seconds."""
    pause = 0.0
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal pause
            last = time.perf_counter()
            while True:
                await anyio.lowlevel.checkpoint()
                now = time.perf_counter()
                pause, last = max(pause, now - last), now

        tasks.start_soon(watch)
        for first in range(0, jobs, _BULK):
            last = min(first + _BULK, jobs)
            texts = [
                hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, last)
            ]
            await engine.create_many([NewJob(text) for text in texts])
            progress(f"{last:,} of {jobs:,} jobs")
        tasks.cancel_scope.cancel()
    return pause


async def _ids(engine: JobEngine) -> list[str]:
    """Return the ids of all jobs."""
    page = await engine.list_jobs(limit=_BULK)
    ids = [job.job_id for job in page.jobs]
    while page.next_cursor is not None:
        page = await engine.list_jobs(limit=_BULK, after=page.next_cursor)
        ids += [job.job_id for job in page.jobs]
    return ids


async def _calls(best: Best, name: str, engine: JobEngine, ids: list[str], operations: int) -> None:
    """Time each call on jobs picked at random."""
    some = random.choices(ids, k=operations)
    best.add(f"{name} get", operations, await by_callers(100, some, engine.get))

    async def count(_: str) -> None:
        await engine.count(JobStatus.RUNNING)

    best.add(f"{name} count", operations, await by_callers(100, some, count))

    async def page(_: str) -> None:
        await engine.list_jobs(JobStatus.AWAITING_PAYMENT)

    pages = some[: operations // 10]
    best.add(f"{name} list of 100", len(pages), await by_callers(100, pages, page))

    async def create(text: str) -> None:
        await engine.create(text)

    # Few enough that the smaller engine stays small.
    new = [hashlib.sha256(job_id.encode()).hexdigest() for job_id in some[: _FEW // 2]]
    best.add(f"{name} create", len(new), await by_callers(100, new, create))

    async def move(job_id: str) -> None:
        await engine.transition(job_id, JobStatus.RUNNING)

    waiting = await _waiting(engine, ids)
    best.add(f"{name} transition", len(waiting), await by_callers(100, waiting, move))


async def _waiting(engine: JobEngine, ids: list[str]) -> list[str]:
    """Return some random unpaid jobs."""
    jobs = await engine.get_many(random.sample(ids, min(len(ids), 2 * _FEW)))
    waiting = [job.job_id for job in jobs if job.status is JobStatus.AWAITING_PAYMENT]
    return waiting[: _FEW // 2]


def _resident_bytes() -> int:
    """Return the memory of the process, as Linux reports it (proc(5), statm)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
