"""The work of one engine of several on a PostgreSQL database, as a member of a crew.

``python -m tests.bench.postgres_work TASK URL NUMBER``; `tests.bench.crew` says what it prints.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import anyio

from engine import Job, JobEngine, JobStatus, NewJob, Worker
from engine.domain.ids import new_job_id
from engine.domain.models import PAID_JOB_LIFECYCLE
from engine.storage.postgres import PostgresStorage
from engine.storage.protocol import Opened
from engine.storage.record import Change, Record
from tests.bench.crew import Stage
from tests.bench.durable_floors import HASH
from tests.bench.working import BATCH, Caller, in_bulk
from tests.bench.working_floors import DONE

_CONCURRENCY: Final = 1_000  # a handler that does nothing takes no room
_WAITING: Final = JobStatus.AWAITING_PAYMENT.value


async def handle(_job: Job[Any]) -> str:
    """Do nothing."""
    return DONE


async def started_in_bulk(engine: JobEngine[Any], jobs: int) -> None:
    """Create 100 jobs that start at once in one call, repeatedly."""
    for _ in range(jobs // BATCH):
        await engine.create_many([NewJob(HASH, start=True)] * BATCH)


async def _work(url: str, jobs: int, begin: Caller) -> None:
    """Create jobs, and run them and those of the other engines until the end."""
    stage = Stage()
    async with JobEngine(url) as engine, Worker(engine, handle, concurrency=_CONCURRENCY):
        await stage.begin()
        await begin(engine, jobs)
        await stage.end()


async def _lives(url: str, jobs: int) -> None:
    await _work(url, jobs, in_bulk)


async def _started(url: str, jobs: int) -> None:
    await _work(url, jobs, started_in_bulk)


async def _idle(url: str, milliseconds: int) -> None:
    """Wait for jobs that nobody creates."""
    stage = Stage()
    async with JobEngine(url) as engine, Worker(engine, handle):
        await anyio.sleep(1.0)  # the opening is over
        await stage.begin()
        await anyio.sleep(milliseconds / 1e3)
        await stage.end()


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[PostgresStorage, Opened]]:
    storage, lifecycle = PostgresStorage(url), PAID_JOB_LIFECYCLE
    try:
        yield storage, await storage.open(lifecycle.status_outcomes, {}, lifecycle.running_value)
    finally:
        await storage.aclose()


async def _commits(url: str, jobs: int) -> None:
    """Commit batches of new jobs, without an engine."""
    stage, sequences = Stage(), count(1)
    batches = [_new_jobs(sequences) for _ in range(jobs // BATCH)]
    async with _opened(url) as (storage, _):
        await stage.begin()
        for batch in batches:
            if (await storage.commit(batch)).in_the_way is not None:
                raise RuntimeError("something is in the way of new jobs")
        await stage.end()


def _new_jobs(numbers: count[int]) -> list[Change]:
    now = datetime.now(UTC)
    return [
        Change(number, None, Record(new_job_id(), _WAITING, HASH, None, now, now, number))
        for number, _ in zip(numbers, range(BATCH), strict=False)
    ]


async def _claims(url: str, jobs: int) -> None:
    """Reserve ready jobs, without an engine."""
    stage, kinds = Stage(), {"default": BATCH}
    async with _opened(url) as (_, opened):
        shared = opened.shared
        assert shared is not None
        await stage.begin()
        for _ in range(jobs // BATCH):
            taken = await shared.take(kinds, BATCH, suspects=True)
            if len(taken) != BATCH:
                raise RuntimeError(f"only {len(taken)} jobs of {BATCH} were taken")
        await stage.end()


_TASKS: Final[dict[str, Callable[[str, int], Awaitable[None]]]] = {
    "lives": _lives,
    "started": _started,
    "idle": _idle,
    "commits": _commits,
    "claims": _claims,
}


def main(task: str, url: str, number: str) -> None:
    """Do the work of a member."""
    anyio.run(_TASKS[task], url, int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
