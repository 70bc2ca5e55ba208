"""Row 34: jobs created in transactions of callers, which commit, roll back and die beside engines.

A job is there exactly when the caller's own row is. The numbers have no gaps and the order of
commits, for two engines that create and move jobs meanwhile, and for a watch that follows.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, NamedTuple

import anyio
import psycopg
import pytest

from engine import (
    IdempotencyConflictError,
    JobEngine,
    JobStatus,
    PaymentInUseError,
    StorageDamagedError,
    Transition,
)
from engine.storage.postgres.arrivals import ARRIVALS
from engine.storage.postgres.batches import TAKE_ORDER
from tests.interventions import Intruder
from tests.tries import report, seeded, tries
from tests.unit.storage.postgres.callers import place

pytestmark = pytest.mark.anyio

FULL_TRANSACTIONS: Final = 10_000
CALLERS: Final = 4


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio: no driver that is awaited runs on trio."""
    return "asyncio"


class Commit(NamedTuple):
    """A commit that was acknowledged."""

    began: float
    ended: float
    job_ids: list[str]


@dataclass
class Seen:
    """What the callers have seen."""

    commits: list[Commit] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    order: dict[str, int] = field(default_factory=dict)
    """The place of each job's creation in a watch."""


class Shop:
    """A caller with a connection of its own: an order is a row of its own table and some jobs."""

    def __init__(self, url: str, engine: JobEngine, random: Random, seen: Seen) -> None:
        self._url = url
        self._engine = engine
        self._random = random
        self._seen = seen
        self._connection: psycopg.AsyncConnection | None = None
        self.process = 0
        self.others: list[Shop] = []

    async def order(self) -> None:
        """Make a transaction; it may fail, and its connection may die."""
        try:
            connection = await self._connected()
            try:
                await self._end(connection, await self._fill(connection))
            except (IdempotencyConflictError, PaymentInUseError):
                self._seen.counts["refused before"] += 1
            except psycopg.errors.UniqueViolation as error:
                if error.diag.constraint_name not in {"jobs_by_key", "jobs_by_payment"}:
                    raise
                self._seen.counts["refused"] += 1
            await connection.rollback()
        except psycopg.OperationalError:
            self._seen.counts["died"] += 1

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._url)
            self.process = self._connection.info.backend_pid
        return self._connection

    async def _fill(self, connection: psycopg.AsyncConnection) -> list[str]:
        job_ids = []
        for _ in range(self._random.choice((1, 1, 2, 3, 8))):
            is_kept = self._random.random() < 0.8
            await connection.execute("SAVEPOINT one")
            job = await self._engine.create(
                "hash",
                start=self._random.random() < 0.5,
                idempotency_key=self._name(),
                payment_id=self._name(),
                labels={"made": "here"},
                connection=connection,
            )
            await connection.execute("INSERT INTO orders VALUES (%s)", (job.job_id,))
            if not is_kept:
                await connection.execute("ROLLBACK TO one")
            elif not job.sequence:  # it is none that was there before
                job_ids.append(job.job_id)
        return job_ids

    def _name(self) -> str | None:
        """Return a name that others want at the same time, or none."""
        is_named = self._random.random() < 0.2
        return f"name {len(self._seen.commits) // 10}" if is_named else None

    async def _end(self, connection: psycopg.AsyncConnection, job_ids: list[str]) -> None:
        if self._random.random() < 0.1:
            await connection.rollback()
            self._seen.counts["rolled back"] += 1
            return
        if self._random.random() < 0.1:
            await self._end_another()
        began = time.perf_counter()
        await connection.commit()
        self._seen.commits.append(Commit(began, time.perf_counter(), job_ids))
        self._seen.counts["committed"] += 1

    async def _end_another(self) -> None:
        """End another one's connection, wherever its transaction is."""
        process = self._random.choice(self.others).process
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as killer:
            await killer.execute("SELECT pg_terminate_backend(%s)", (process,))

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.close()


async def _work(engine: JobEngine, random: Random, seen: Seen, ended: anyio.Event) -> None:
    """Create and move jobs until the callers have ended."""
    while not ended.is_set():
        began = time.perf_counter()
        job = await engine.create("hash", start=random.random() < 0.5)
        seen.commits.append(Commit(began, time.perf_counter(), [job.job_id]))
        if job.status is JobStatus.RUNNING:
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        seen.counts["of engines"] += 1


async def _watch(engine: JobEngine, seen: Seen, last: list[int], ended: anyio.Event) -> None:
    """See every transition, each once and in order."""
    async for each in engine.watch(after=0):
        assert isinstance(each, Transition)
        assert each.sequence == len(last) + 1
        last.append(each.sequence)
        if each.from_status is None:
            seen.order[each.job_id] = each.sequence
        if ended.is_set() and each.job_id == "the last":
            return


async def _run(url: str, transactions: int) -> Seen:
    """Let callers and engines work on one database; return what they have seen."""
    random, seen = seeded("transactions"), Seen()
    ended, last = anyio.Event(), list[int]()
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(JobEngine(place(url))) for _ in range(2)]
        shops = [Shop(url, engines[each % 2], random, seen) for each in range(CALLERS)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, engines[0], seen, last, ended)
            async with anyio.create_task_group() as works:
                for engine in engines:
                    works.start_soon(_work, engine, random, seen, ended)
                async with anyio.create_task_group() as orders:
                    for shop in shops:
                        shop.others = [each for each in shops if each is not shop]
                        stack.push_async_callback(shop.aclose)
                        orders.start_soon(partial(_order, shop, transactions // CALLERS))
                ended.set()
            async with JobEngine(place(url), new_id=lambda: "the last") as engine:
                await engine.create()
    return seen


async def _order(shop: Shop, orders: int) -> None:
    for _ in range(orders):
        await shop.order()


_DIFFERENT: Final = """
    SELECT count(*) FROM (SELECT DISTINCT job_id FROM public.orders) AS an_order
    FULL JOIN (SELECT job_id FROM jobs JOIN labels USING (position)) AS job USING (job_id)
    WHERE an_order IS NULL OR job IS NULL
"""
"""Counts the orders without a job, and the jobs without an order."""


def _examine(intruder: Intruder, seen: Seen) -> None:
    """Compare the tables with each other, and with what was seen."""
    value = intruder.value
    number = value("SELECT count(*) FROM transitions")
    assert value("SELECT max(sequence) FROM transitions") == number
    assert value("SELECT max(position) - count(*) FROM jobs") == 0
    assert value("SELECT count(*) FROM arrivals") == 0
    assert value(_DIFFERENT) == 0
    assert value("SELECT count(*) FROM jobs") == len(seen.order)
    assert value("SELECT bool_and(job_id = ANY(%s)) FROM jobs", [*seen.order])
    _compare_order(seen)


def _compare_order(seen: Seen) -> None:
    """Check that a commit that ended before another began has the lower numbers."""
    by_end = sorted(seen.commits, key=lambda commit: commit.ended)
    before = highest = 0
    for commit in sorted(seen.commits, key=lambda commit: commit.began):
        while by_end[before].ended < commit.began:
            highest = max(highest, *(seen.order[each] for each in by_end[before].job_ids), 0)
            before += 1
        assert all(seen.order[each] > highest for each in commit.job_ids)


@pytest.fixture
def intruder(intruder: Intruder) -> Intruder:
    intruder.run("CREATE TABLE public.orders (job_id text NOT NULL)")
    return intruder


async def test_a_job_is_there_exactly_when_its_transaction_has_committed(
    postgres_url: str, intruder: Intruder
) -> None:
    transactions = tries(FULL_TRANSACTIONS)
    seen = await _run(postgres_url, transactions)
    _examine(intruder, seen)
    counts = dict(sorted(seen.counts.items()))
    report(f"{transactions} transactions beside 2 engines, {len(seen.order)} jobs: {counts}")
    assert {"committed", "rolled back", "died", "of engines", "refused before"} <= counts.keys()


@pytest.mark.thorough
async def test_a_commit_that_does_not_take_the_order_is_found(
    postgres_url: str, intruder: Intruder
) -> None:
    [admit] = (each for each in ARRIVALS if "admit_1() RETURNS" in each)
    assert TAKE_ORDER in admit
    planted = admit.replace(TAKE_ORDER, "").replace("CREATE", "CREATE OR REPLACE", 1)
    intruder.run(planted)
    with pytest.raises(ExceptionGroup) as found:
        await _run(postgres_url, 2_000)
    assert found.group_contains((psycopg.errors.UniqueViolation, StorageDamagedError), match="pkey")
