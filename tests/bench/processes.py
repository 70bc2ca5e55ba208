"""Handlers in processes, beside a `ProcessPoolExecutor` of as many and beside threads.

The engine is in memory. Its jobs are created before the time begins, which lasts from the move to
the running status until `wait` returns. The processes of both sides are fresh interpreters, never
forks, and warm: each has answered before the time begins. All call the same function.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Final

import anyio

from engine import JobEngine, JobStatus, NewJob, Processes, Worker
from tests.bench.durable_floors import HASH
from tests.bench.measure import by_callers, repeated, timed
from tests.bench.process_handler import process_id, send_process_id
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated

_CALLERS: Final = 100
_AT_ONCE: Final = 2
_STARTS: Final = 3  # a turn
_KEPT: Final = Processes(max_idle=_AT_ONCE, max_jobs=1_000_000_000)
_REPLACED: Final = Processes(max_idle=_AT_ONCE)
_FIELDS: Final = {"RSS": ("status", "VmRSS:"), "PSS": ("smaps_rollup", "Pss:")}


@dataclass(frozen=True)
class Side:
    """Something that lets a process or a thread handle items."""

    new: Callable[[int], Awaitable[list[str]]]
    """Makes so many items."""
    call: Callable[[str], Awaitable[str | None]]
    """Has an item handled; returns the id of the process that did it."""
    processes: int


@asynccontextmanager
async def in_engine(processes: Processes | None) -> AsyncGenerator[Side, None]:
    """Handle jobs in the processes of a worker, or in its threads."""

    async def new(jobs: int) -> list[str]:
        return [job.job_id for job in await engine.create_many([NewJob(HASH)] * jobs)]

    async def call(job_id: str) -> str | None:
        await engine.transition(job_id, JobStatus.RUNNING)
        return (await engine.wait(job_id)).result

    async with (
        JobEngine() as engine,
        Worker(engine, process_id, concurrency=_AT_ONCE, processes=processes or False),
    ):
        yield Side(new, call, _AT_ONCE if processes else 1)


@asynccontextmanager
async def in_pool() -> AsyncGenerator[Side, None]:
    """Handle texts in the processes of an executor."""
    loop = asyncio.get_running_loop()

    async def new(calls: int) -> list[str]:
        return [HASH] * calls

    with ProcessPoolExecutor(_AT_ONCE, get_context("spawn")) as pool:
        yield Side(new, lambda item: loop.run_in_executor(pool, process_id, item), _AT_ONCE)


_SIDES: Final = {
    "kept": lambda: in_engine(_KEPT),
    "replaced": lambda: in_engine(_REPLACED),
    "threads": lambda: in_engine(None),
    "pool": in_pool,
}
_ALONE: Final = ("kept", "threads", "pool")


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure ``turns`` times: so many jobs of many callers, a tenth of them alone, and starts."""
    for _ in repeated("handlers in processes", turns, lambda: _table(rounds)):
        for name in _SIDES:
            anyio.run(_measure_many, rounds, name, jobs)
        anyio.run(_measure_alone, rounds, jobs // 10)
        _measure_starts(rounds)
    return _table(rounds)


def _table(rounds: Rounds) -> list[Row]:
    return [*_rates(rounds), *_latencies(rounds), *_costs(rounds)]


def _rates(rounds: Rounds) -> list[Row]:
    work = f"jobs in {_AT_ONCE} processes, {_CALLERS} callers"
    often = f"the same, each process for {_REPLACED.max_jobs:,} jobs"
    kept = rounds["kept rate"]
    return [
        Stated(work, kept, "ProcessPoolExecutor", rounds["pool rate"]),
        Stated(work, kept, f"in {_AT_ONCE} threads", rounds["threads rate"]),
        Stated(often, rounds["replaced rate"], "kept for all", kept),
    ]


def _latencies(rounds: Rounds) -> list[Row]:
    work, figure = "a lone job in a process: p50", rounds["kept alone"]
    return [
        Stated(work, figure, "ProcessPoolExecutor", rounds["pool alone"], unit="µs"),
        Stated(work, figure, "in a thread", rounds["threads alone"], unit="µs"),
    ]


def _costs(rounds: Rounds) -> list[Row]:
    work, figure = "start of a worker and its process", rounds["start"]
    kinds = [kind for kind, (file, _) in _FIELDS.items() if Path("/proc/self", file).exists()]
    memories = {kind: (rounds[f"kept {kind}"], rounds[f"pool {kind}"]) for kind in kinds}
    return [
        Stated(work, figure, "python -c pass", rounds["start of python"], unit="ms"),
        Stated(work, figure, "multiprocessing", rounds["start by multiprocessing"], unit="ms"),
        *(
            Stated(f"{kind} of an idle process", ours, "ProcessPoolExecutor", floor, unit="MB")
            for kind, (ours, floor) in memories.items()
        ),
    ]


async def _measure_many(rounds: Rounds, name: str, jobs: int) -> None:
    """Add the jobs a second of many callers, and the memory of each process before them."""
    async with _SIDES[name]() as side:
        memories = [_memory(each) for each in await _warm_up(side)]
        for kind in memories[0]:
            rounds.add(f"{name} {kind}", median(memory[kind] for memory in memories))
        items = await side.new(jobs)
        rounds.add(f"{name} rate", jobs / await by_callers(_CALLERS, items, side.call))


def _measure_starts(rounds: Rounds) -> None:
    """Add the median of a few starts of each side, by turns, in ms."""
    seconds = [
        (anyio.run(_worker_seconds), _python_seconds(), _multiprocessing_seconds())
        for _ in range(_STARTS)
    ]
    names = ("start", "start of python", "start by multiprocessing")
    for name, its_seconds in zip(names, zip(*seconds, strict=True), strict=True):
        rounds.add(name, 1e3 * median(its_seconds))


async def _measure_alone(rounds: Rounds, jobs: int) -> None:
    """Let all sides handle an item in turns; add the median of each, in µs."""
    seconds: dict[str, list[float]] = {name: [] for name in _ALONE}
    async with AsyncExitStack() as stack:
        sides = {name: await stack.enter_async_context(_SIDES[name]()) for name in _ALONE}
        for side in sides.values():
            await _warm_up(side)
        for _ in range(jobs):
            for name, side in sides.items():
                [item] = await side.new(1)
                start = time.perf_counter()
                await side.call(item)
                seconds[name].append(time.perf_counter() - start)
    for name in _ALONE:
        rounds.add(f"{name} alone", 1e6 * median(seconds[name]))


async def _warm_up(side: Side) -> set[str]:
    """Return the ids of all processes, once each has handled an item."""
    seen: set[str] = set()

    async def call(item: str) -> None:
        answer = await side.call(item)
        if answer is None:
            raise RuntimeError("the job has no result")
        seen.add(answer)

    while len(seen) < side.processes:
        await by_callers(_CALLERS, await side.new(_CALLERS), call)
    return seen


def _memory(process: str) -> dict[str, float]:
    """Return the memory of a process in MB, as far as the kernel tells it (proc(5))."""
    found: dict[str, float] = {}
    for kind, (file, field) in _FIELDS.items():
        path = Path("/proc", process, file)
        if path.exists():
            lines = path.read_text(encoding="ascii").splitlines()
            kilobytes = next(line.split()[1] for line in lines if line.startswith(field))
            found[kind] = int(kilobytes) * 1024 / 1e6
    return found


async def _worker_seconds() -> float:
    """Return the seconds until a worker has its first process, with the handler."""
    async with JobEngine() as engine:
        start = time.perf_counter()
        async with Worker(engine, process_id, processes=True):
            return time.perf_counter() - start


def _python_seconds() -> float:
    return timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))


def _multiprocessing_seconds() -> float:
    """Return the seconds until a new process has answered."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=send_process_id, args=(theirs,))

    def start() -> None:
        process.start()
        ours.recv()

    with ours, theirs:
        seconds = timed(start)
        process.join()
    return seconds
