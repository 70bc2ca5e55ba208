"""Jobs in memory whose handler runs in processes; the CPU time is that of the engine's process."""

from __future__ import annotations

from typing import Any

import anyio

from engine import Job, JobEngine, Worker
from tests.bench.scenarios.awaited import handled_lives
from tests.bench.scenarios.figure import Figure, Stopwatch

_AT_ONCE = 2
_WARM_UP_JOBS = 100  # callers as well, so that each process gets one


def handled_in_processes(callers: int, jobs: int) -> Figure:
    """Measure warm processes; below 900 jobs none of them is replaced."""
    return anyio.run(_measure, callers, jobs)


async def _measure(callers: int, jobs: int) -> Figure:
    async with (
        JobEngine() as engine,
        Worker(engine, _handle, concurrency=_AT_ONCE, processes=True),
    ):
        await (await handled_lives(engine, _WARM_UP_JOBS)).by(_WARM_UP_JOBS)
        calls = await handled_lives(engine, jobs)
        watch = Stopwatch()
        await calls.by(callers)
        return watch.per(jobs)


def _handle(_job: Job[Any]) -> str:
    return "done"
