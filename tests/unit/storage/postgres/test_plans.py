"""Plans: no call reads many rows, though the server made its plans while the tables were empty."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from engine.storage import JobFilter, Label, Names
from engine.storage.postgres import PostgresStorage
from engine.testing.party import Party, amended, claimed, created, joined, moved
from engine.testing.values import NOON, RUNNING, OddStatus
from tests.interventions import Intruder

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

_KINDS: Final = [f"kind-{number}" for number in range(100)]
_CALLS: Final = 12  # a statement is prepared after 5, and its plan is kept after 5 more
_MOST_ROWS: Final = 2_000  # of tables and of indexes, for all calls together
_FILL: Final = """
    INSERT INTO jobs (
        position, job_id, revision, status, input_hash, created_at, updated_at, version, kind, ready
    ) SELECT number, 'filled ' || number, 1, %s, 'hash', now(), now(), 1,
        'kind-' || number %% 100, true
    FROM generate_series(1000001, 1100000) AS number
"""
_FILL_HISTORIES: Final = """
    INSERT INTO transitions (sequence, position, job_id, to_status, at)
    SELECT number, number, 'filled ' || number, %s, '2026-01-01Z'
    FROM generate_series(1000001, 1100000) AS number
"""
_ROWS_READ: Final = """
    SELECT (SELECT sum(seq_tup_read) FROM pg_stat_all_tables WHERE schemaname = 'engine')
        + (SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE schemaname = 'engine')
"""


async def make_all_calls(party: Party, name: str) -> None:
    """Make every call that may read many rows if its plan is a bad one."""
    storage, shared = party.storage, party.shared
    await party.apply(created(f"{name} a", key=f"key {name}"), created(f"{name} b", payment=name))
    job = await party.look(f"{name} a")
    await party.apply(claimed(job))
    await shared.held()
    await shared.changed([job])
    await party.apply(moved(await party.look(f"{name} a"), OddStatus.DONE))
    kinds = dict.fromkeys(_KINDS, 1)
    await party.apply(*map(amended, await shared.take(kinds, 3, suspects=True)))
    await shared.due(NOON, 200)
    await shared.newest_sequence()
    await storage.checkout(Names([job.job_id], ["no such key"], ["no such payment"]))
    await storage.history(job.job_id)
    await storage.attempts(job.job_id)
    await storage.transitions(0, 10)
    await storage.transitions(0, 10, job.job_id)
    await storage.removed_up_to()
    await storage.count_throughput()
    await storage.throughput(NOON)
    await storage.remove_ended(NOON - timedelta(days=1), 1_000, 200)
    assert await storage.remove_ended(NOON + timedelta(days=1), 1_000, 200)
    for jobs in (
        JobFilter(),
        JobFilter(OddStatus.DONE),
        JobFilter("unheard of"),
        JobFilter(kind="kind-7"),
        JobFilter(kind="unheard of"),
        JobFilter(labels=(Label("of", name),)),
        JobFilter(root_id=job.job_id),
    ):
        await storage.page(jobs, 0, 10)
        await storage.page(jobs, 0, 10, newest_first=True)
        await storage.count(jobs, 10)


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_no_call_reads_many_rows(
    postgres_url: str, intruder: Intruder, *, is_analyzed: bool
) -> None:
    storage = PostgresStorage(postgres_url, lease_seconds=3_600)
    async with joined(storage) as party:
        for number in range(_CALLS):
            await make_all_calls(party, f"before {number}")
        intruder.execute(_FILL, RUNNING)
        intruder.execute(_FILL_HISTORIES, RUNNING)
        if is_analyzed:
            intruder.run("ANALYZE")
        await storage.remove_ended(None, 1_000_000, 1)  # counts all ends since the last one
        for number in range(_CALLS):
            before = rows_read(storage, intruder)
            await make_all_calls(party, f"after {number}")
            assert rows_read(storage, intruder) - before < _MOST_ROWS


def rows_read(storage: PostgresStorage, intruder: Intruder) -> int:
    """Return how many rows of tables and of indexes the storage has read."""
    storage._database.call(  # noqa: SLF001 - nothing else is called now
        lambda cursor, _: cursor.execute("SELECT pg_stat_force_next_flush()")
    )
    rows: int = intruder.value(_ROWS_READ)
    return rows
