"""Claims whose answers are lost: what they have taken is found, and they take nothing later."""

from __future__ import annotations

from typing import Any, Final

import anyio
import psycopg
import pytest

from engine import LeaseLostError, StorageError
from engine.storage.postgres import PostgresStorage
from engine.testing.party import Party, amended, created, joined
from tests.interventions import Intruder

pytestmark = pytest.mark.anyio

_NUMBER: Final = "SELECT number FROM batches"
_TAKE: Final = "SELECT count(*) FROM take_1(%s, %s, '{default}', '{10}', 10, 'running', false)"
_WAITING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock'"
)


@pytest.fixture
def storage(postgres_url: str) -> PostgresStorage:
    return PostgresStorage(postgres_url)


def held_ids(held: Any) -> list[str]:  # noqa: ANN401 - records
    return sorted(each.job_id for each in held)


async def test_a_claim_that_was_under_way_when_its_answer_was_lost_is_found(
    storage: PostgresStorage, intruder: Intruder, postgres_url: str
) -> None:
    async def lose() -> None:
        with pytest.raises(StorageError):
            await party.take()

    async with joined(storage) as party:
        await party.apply(created("a"), created("b"))
        with psycopg.connect(postgres_url) as holder:
            holder.execute("SELECT FROM engine.batches FOR UPDATE")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose)
                await until_waiting(intruder, 1)
                storage._database.cut()  # noqa: SLF001 - as the storage itself does
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(check_found, party)
                await until_waiting(intruder, 2)
                holder.rollback()


async def check_found(party: Party) -> None:
    held = await party.shared.held()
    assert held_ids(held) == ["a", "b"]
    await party.apply(*map(amended, held))
    assert sorted(await party.take_ids()) == ["a", "b"]


async def until_waiting(intruder: Intruder, count: int) -> None:
    """Wait until so many connections wait for a lock."""
    while intruder.value(_WAITING) < count:  # noqa: ASYNC110 - there is no event
        await anyio.sleep(0.005)


async def test_a_claim_that_begins_after_it_was_given_up_takes_nothing(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    async with joined(storage) as party:
        await party.apply(created("a"))
        late = (intruder.number_of(storage), intruder.value(_NUMBER))
        assert await party.shared.held() == []
        with pytest.raises(psycopg.Error, match="is dead, or has given up this call"):
            intruder.value(_TAKE, *late)
        assert await party.take_ids() == ["a"]


async def test_what_an_engine_has_may_be_asked_for_again(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    async with joined(storage) as party:
        await party.apply(created("a"))
        await party.take()
        engine, number = intruder.number_of(storage), intruder.value(_NUMBER)
        intruder.value(
            "SELECT count(*) FROM held_1(%s, %s, '{}')", engine, number + 1
        )  # it is lost
        for _ in range(2):
            assert held_ids(await party.shared.held()) == ["a"]
        await party.apply(created("b"))
        assert await party.take_ids() == ["b"]


async def test_a_dead_engine_neither_claims_nor_has_jobs(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    async with joined(storage) as party:
        await party.apply(created("a"))
        intruder.declare_dead(storage)
        for call in (party.take, party.shared.held):
            with pytest.raises(LeaseLostError):
                await call()
