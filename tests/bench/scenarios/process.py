"""The cost of an engine to its process: import, memory, pauses of the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from statistics import median

import anyio

from engine import JobEngine
from tests.bench.scenarios.awaited import fill
from tests.bench.scenarios.figure import Figure

_IMPORT = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); import engine;"
    " print(time.perf_counter() - wall, time.process_time() - cpu)"
)
_COLLECTIONS = 3


def import_time(times: int) -> Figure:
    """Measure the import, its dependencies included, in fresh processes."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-P", "-c", _IMPORT], stdout=subprocess.PIPE, text=True, check=True
        )
        wall, cpu = map(float, done.stdout.split())
        walls.append(1e3 * wall)
        cpus.append(1e3 * cpu)
    return Figure(median(walls), median(cpus), "ms")


def job_bytes(jobs: int) -> Figure:
    """Measure the memory of a live job, by Python's allocator."""
    return anyio.run(_job_bytes, jobs)


async def _job_bytes(jobs: int) -> Figure:
    async with JobEngine() as engine:
        gc.collect()
        tracemalloc.start()
        await fill(engine, jobs)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        return Figure(used / jobs, unit="bytes")


def longest_stop(jobs: int) -> Figure:
    """Measure the longest full collection while an engine has live jobs."""
    return anyio.run(_longest_stop, jobs)


async def _longest_stop(jobs: int) -> Figure:
    async with JobEngine() as engine:
        await fill(engine, jobs)
        return max((_collection() for _ in range(_COLLECTIONS)), key=lambda stop: stop.wall)


def _collection() -> Figure:
    wall, cpu = time.perf_counter(), time.process_time()
    gc.collect()
    return Figure(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu), "ms")
