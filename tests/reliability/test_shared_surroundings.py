"""Odd surroundings of engines that share a database: a pooler, a held snapshot, wrong clocks.

A pooler in transaction mode, and a transaction that somebody keeps open, only make engines slower.
The clocks of machines may be hours apart: deadlines and dates are those of the server.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import psycopg
import pytest

from engine.storage.postgres import held_snapshots
from tests.pooler import needs_pgbouncer, pooled
from tests.reliability.engine_process import engine, until
from tests.reliability.programs.sharing import LATE
from tests.reliability.shared_jobs import SharedJobs
from tests.reliability.shared_load import Doubts, Load, storages
from tests.tries import report, seeded, tries

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

ENGINES = 3
FULL_CALLS = 2_000
FULL_HELD_SECONDS = 90
SHORT_LEASE_SECONDS = 3.0
HOUR = 3_600.0
LATE_JOBS = 5
OTHER_JOBS = 20
TOLERANCE = timedelta(seconds=1)
MOST_LATE = timedelta(seconds=20)
"""A busy machine expires a job that late, which is much less than an hour."""


@needs_pgbouncer
async def test_a_pooler_in_transaction_mode(
    postgres_url: str, jobs: SharedJobs, doubts: Doubts, anyio_backend: str
) -> None:
    load = Load(jobs, seeded(f"pooler, {anyio_backend}"))
    with pooled(postgres_url) as url:

        async def wait() -> None:
            while load.seen["told"] < tries(FULL_CALLS):  # noqa: ASYNC110
                await anyio.sleep(0.01)

        await load.run(storages(url, ENGINES, prepare=False), wait)
    load.report("a pooler")
    assert load.problems == []
    assert (doubts.count, load.seen["refused"], load.seen["unknown"]) == (0, 0, 0)


async def test_a_snapshot_that_is_held(
    postgres_url: str,
    jobs: SharedJobs,
    doubts: Doubts,
    monkeypatch: pytest.MonkeyPatch,
    anyio_backend: str,
) -> None:
    seconds = tries(FULL_HELD_SECONDS, least=14)
    if seconds < FULL_HELD_SECONDS:
        monkeypatch.setattr(held_snapshots, "_HELD_SECONDS", 3.0)
    load = Load(jobs, seeded(f"held snapshot, {anyio_backend}"))
    told: list[int] = []

    async def wait() -> None:
        for _ in range(2):
            await anyio.sleep(seconds / 2)
            told.append(load.seen["told"])

    with psycopg.connect(postgres_url) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM engine.jobs")
        await load.run(storages(postgres_url, ENGINES, lease_seconds=SHORT_LEASE_SECONDS), wait)
    warnings = doubts.of("keeps a transaction open")
    load.report(f"a snapshot held for {seconds} s, calls by its halves {told}, {warnings} warnings")
    assert load.problems == []
    assert told[1] > told[0] > 0
    assert warnings == ENGINES


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_clocks_that_are_hours_apart(postgres_url: str, jobs: SharedJobs, backend: str) -> None:
    began, inputs = datetime.now(UTC), [*["late"] * LATE_JOBS, *map(str, range(OTHER_JOBS))]
    with (
        engine(postgres_url, "ahead", backend, HOUR) as ahead,
        engine(postgres_url, "behind", backend, -HOUR) as behind,
        engine(postgres_url, "right", backend) as right,
    ):
        engines = (ahead, behind, right)
        for each in engines:
            each.open()
        for each in engines:
            each.create(*inputs)
        for each in engines:
            each.until("told", len(inputs))
        until(lambda: not jobs.count_unended())
        for each in engines:
            each.end()
    ended = datetime.now(UTC)
    times: dict[str, list[datetime]] = {}
    for job_id, at in jobs.rows("SELECT job_id, at FROM engine.transitions ORDER BY sequence"):
        assert began - TOLERANCE < at < ended + TOLERANCE
        times.setdefault(job_id, []).append(at)
    assert all(each == sorted(each) for each in times.values())
    expired = jobs.rows("SELECT job_id FROM engine.jobs WHERE status = 'failed'")
    assert len(expired) == len(engines) * LATE_JOBS
    for (job_id,) in expired:
        waited = times[job_id][-1] - times[job_id][0]
        assert LATE <= waited < LATE + MOST_LATE
    report(f"{len(times)} jobs, {len(expired)} expired, with clocks two hours apart")
