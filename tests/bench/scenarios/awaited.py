"""Awaited calls of one engine, in memory or in a file, with and without workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from engine import Job, JobEngine, JobStatus, Move, NewJob, SQLiteStorage, Worker
from tests.bench.scenarios.figure import Figure, Stopwatch

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
BULK = 1_000
_DONE = "done"
_SMALL_BULK = 100
_LOOK_AGAIN_SECONDS = 0.001  # when the last bulk has been moved on


@dataclass(frozen=True)
class Calls:
    """Items; a caller takes one for each call."""

    call: Callable[[Any], Awaitable[object]]
    items: Sequence[Any]

    async def by(self, callers: int) -> None:
        """Let concurrent callers take all items; each awaits one call at a time."""
        waiting = iter(self.items)

        async def caller() -> None:
            for item in waiting:
                await self.call(item)

        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(caller)


@dataclass(frozen=True)
class Awaited:
    """Measures prepared calls of an engine."""

    prepare: Callable[[JobEngine, int], Awaitable[Calls]]
    callers: int = 1
    in_file: bool = False
    inline: bool = False
    """Whether the file has inline commits."""
    workers: int = 0
    backend: str = "asyncio"

    def __call__(self, operations: int) -> Figure:
        with TemporaryDirectory(prefix="engine-bench-") as folder:
            path = Path(folder, "jobs.db") if self.in_file else None
            return anyio.run(self._measure, path, operations, backend=self.backend)

    async def _measure(self, path: Path | None, operations: int) -> Figure:
        options: dict[str, Any] = {"inline_commits": True}  # an earlier engine doesn't have it
        place = SQLiteStorage(path, **options) if self.inline and path is not None else path
        async with JobEngine(place) as engine, AsyncExitStack() as workers:
            for number in range(self.workers):
                handlers: Any = {f"kind-{number}": _handle} if number else _handle
                await workers.enter_async_context(Worker(engine, handlers, concurrency=BULK))
            calls = await self.prepare(engine, operations)
            watch = Stopwatch()
            await calls.by(self.callers)
            return watch.per(operations)


async def _handle(_job: Job[Any]) -> str:
    return _DONE


async def fill(engine: JobEngine, jobs: int) -> list[str]:
    """Create jobs, each with its own input hash; return their ids."""
    ids: list[str] = []
    for first in range(0, jobs, BULK):
        new = [NewJob(f"{number:064x}") for number in range(first, min(first + BULK, jobs))]
        ids += [job.job_id for job in await engine.create_many(new)]
    return ids


async def creates(engine: JobEngine, jobs: int) -> Calls:
    return Calls(engine.create, [HASH] * jobs)


async def bulk_creates(engine: JobEngine, jobs: int) -> Calls:
    return Calls(engine.create_many, _in_bulks([NewJob(HASH)] * jobs))


async def gets(engine: JobEngine, calls: int) -> Calls:
    ids = await fill(engine, BULK)
    return Calls(engine.get, [ids[call % BULK] for call in range(calls)])


async def gets_of_ended(engine: JobEngine, calls: int) -> Calls:
    ids = await fill(engine, BULK)
    await engine.transition_many([Move(job_id, JobStatus.RUNNING) for job_id in ids])
    ends = [Move(job_id, JobStatus.COMPLETED, result=_DONE) for job_id in ids]
    await engine.transition_many(ends)
    return Calls(engine.get, [ids[call % BULK] for call in range(calls)])


async def moves(engine: JobEngine, jobs: int) -> Calls:
    ids = await fill(engine, jobs)
    return Calls(lambda job_id: engine.transition(job_id, JobStatus.RUNNING), ids)


async def bulk_moves(engine: JobEngine, jobs: int) -> Calls:
    ids = await fill(engine, jobs)
    its_moves = [Move(job_id, JobStatus.RUNNING) for job_id in ids]
    return Calls(engine.transition_many, _in_bulks(its_moves))


def _in_bulks(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[first : first + BULK] for first in range(0, len(items), BULK)]


async def lists(engine: JobEngine, pages: int) -> Calls:
    await fill(engine, BULK)
    return Calls(lambda limit: engine.list_jobs(limit=limit), [BULK] * pages)


async def lives(engine: JobEngine, jobs: int) -> Calls:
    """Move jobs to their end without a worker."""

    async def live(input_hash: str) -> None:
        job_id = (await engine.create(input_hash)).job_id
        await engine.transition(job_id, JobStatus.RUNNING)
        await engine.transition(job_id, JobStatus.COMPLETED, result=_DONE)

    return Calls(live, [HASH] * jobs)


async def handled_lives(engine: JobEngine, jobs: int) -> Calls:
    """Wait for the result of each job that a worker runs."""

    async def live(input_hash: str) -> None:
        job_id = (await engine.create(input_hash)).job_id
        await engine.transition(job_id, JobStatus.RUNNING)
        await engine.result(job_id)

    return Calls(live, [HASH] * jobs)


async def handled_bulks(engine: JobEngine, jobs: int) -> Calls:
    """Let a worker run bulks of jobs; after the last one, wait until all have ended."""

    async def begin(remaining: int) -> None:
        created = await engine.create_many([NewJob(HASH)] * min(_SMALL_BULK, remaining))
        await engine.transition_many([Move(job.job_id, JobStatus.RUNNING) for job in created])
        if remaining <= _SMALL_BULK:
            while await engine.count(JobStatus.COMPLETED) < jobs:  # noqa: ASYNC110 - a watcher would take part
                await anyio.sleep(_LOOK_AGAIN_SECONDS)

    return Calls(begin, range(jobs, 0, -_SMALL_BULK))
