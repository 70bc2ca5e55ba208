"""Calls of one engine on a PostgreSQL database, or in a file, and those of the floor."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

import anyio
import psycopg

from engine import JobEngine, JobStatus, Move, NewJob, Worker
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.measure import by_callers, timed
from tests.bench.postgres_floors import PlainPostgres
from tests.bench.postgres_work import handle
from tests.bench.rounds import Rounds
from tests.bench.server import Server
from tests.bench.working import BATCH
from tests.bench.working_floors import DONE

_CONNECTIONS: Final = 10  # of the floor's readers
_JOBS_TO_GET: Final = 1_000
_GET: Final = b"SELECT * FROM engine.jobs WHERE job_id = %b"

Calls: TypeAlias = Callable[[JobEngine[Any], int], Awaitable[float]]
"""Makes so many jobs, and returns the seconds."""


async def _create_by_hundred(engine: JobEngine[Any], jobs: int) -> float:
    return await by_callers(BATCH, [HASH] * jobs, engine.create)


async def _create_alone(engine: JobEngine[Any], jobs: int) -> float:
    return await by_callers(1, [HASH] * jobs, engine.create)


async def _live_in_bulk(engine: JobEngine[Any], jobs: int) -> float:
    """Create 100 jobs in a call, move them to running, and complete them, repeatedly."""

    async def live(new: Sequence[NewJob]) -> None:
        job_ids = [job.job_id for job in await engine.create_many(new)]
        await engine.transition_many([Move(each, JobStatus.RUNNING) for each in job_ids])
        completed = JobStatus.COMPLETED
        await engine.transition_many([Move(each, completed, result=RESULT) for each in job_ids])

    return await by_callers(1, [[NewJob(HASH)] * BATCH] * (jobs // BATCH), live)


def _plain_creates(plain: PlainPostgres, jobs: int) -> None:
    for _ in range(jobs // BATCH):
        plain.create(BATCH)


def _plain_lone_creates(plain: PlainPostgres, jobs: int) -> None:
    for _ in range(jobs):
        plain.create_one()


def _plain_lives(plain: PlainPostgres, jobs: int) -> None:
    for _ in range(jobs // BATCH):
        plain.live(BATCH)


@dataclass(frozen=True)
class Work:
    """Work of one engine, and the same of the floor."""

    calls: Calls
    plain: Callable[[PlainPostgres, int], None]
    plain_name: str
    jobs: int
    """About as many as take a second."""
    target: float
    """The least part of the floor's rate."""


WORK: Final = {
    "create, 100 callers": Work(_create_by_hundred, _plain_creates, "batches of 100", 20_000, 0.5),
    "create, 1 caller": Work(_create_alone, _plain_lone_creates, "one a commit", 1_000, 0.6),
    "create → run → completed, in bulks of 100": Work(
        _live_in_bulk, _plain_lives, "batches of 100", 8_000, 0.4
    ),
}


def measure_work(rounds: Rounds, server: Server, divisor: int) -> None:
    """Add the rates of the engine, of the floor, and of the engine in a file."""
    for name, work in WORK.items():
        jobs = max(BATCH, work.jobs // divisor)
        with server.database() as url, PlainPostgres(url) as plain:
            rounds.add(f"floor {name}", jobs / timed(partial(work.plain, plain, jobs)))
        with server.database() as url:
            rounds.add(f"engine {name}", jobs / anyio.run(engine_seconds, url, work, jobs))
        with new_folder() as folder:
            seconds = anyio.run(engine_seconds, folder / "jobs.db", work, jobs)
            rounds.add(f"file {name}", jobs / seconds)


async def engine_seconds(location: str | Path, work: Work, jobs: int) -> float:
    """Return the seconds in which an engine does so much work."""
    async with JobEngine(location) as engine:
        return await work.calls(engine, jobs)


def measure_gets(rounds: Rounds, server: Server, gets: int) -> None:
    """Add the rates at which 100 callers get jobs that another program has written."""
    with server.database() as url:
        with PlainPostgres(url) as plain:
            _, job_ids = plain.create(_JOBS_TO_GET)
        wanted = random.choices(job_ids, k=gets)
        anyio.run(_get, rounds, url, wanted)


async def _get(rounds: Rounds, url: str, job_ids: Sequence[str]) -> None:
    async with JobEngine(url) as engine:
        await engine.get_many(job_ids[:BATCH])
        rounds.add("engine gets", len(job_ids) / await by_callers(BATCH, job_ids, engine.get))
    give, take = anyio.create_memory_object_stream[psycopg.AsyncCursor[Any]](_CONNECTIONS)
    async with AsyncExitStack() as stack:
        for _ in range(_CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
            await stack.enter_async_context(connection)
            await give.send(connection.cursor(binary=True))

        async def select(job_id: str) -> None:
            cursor = await take.receive()
            await cursor.execute(_GET, (job_id,))
            await cursor.fetchone()
            await give.send(cursor)

        rounds.add("floor gets", len(job_ids) / await by_callers(BATCH, job_ids, select))
    give.close()
    take.close()


def measure_alone(rounds: Rounds, server: Server, jobs: int) -> None:
    """Add the median times of a job from its creation to its result, and of a commit, in ms."""
    with (
        server.database() as url,
        server.database() as plain_url,
        PlainPostgres(plain_url) as plain,
    ):
        anyio.run(_live_alone, rounds, url, plain, jobs)


async def _live_alone(rounds: Rounds, url: str, plain: PlainPostgres, jobs: int) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    async with JobEngine(url) as engine, Worker(engine, handle):
        for _ in range(jobs):
            start = time.perf_counter()
            plain.create_one()
            between = time.perf_counter()
            job_id = (await engine.create(HASH)).job_id
            await engine.transition(job_id, JobStatus.RUNNING)
            if await engine.result(job_id) != DONE:
                raise RuntimeError("the job has another result")
            ours.append(time.perf_counter() - between)
            theirs.append(between - start)
    rounds.add("alone", 1e3 * median(ours))
    rounds.add("commit", 1e3 * median(theirs))
