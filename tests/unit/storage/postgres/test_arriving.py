"""Jobs that are created in transactions of callers, on connections of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
import trio

from engine import (
    DuplicateJobIdError,
    EngineClosedError,
    IdempotencyConflictError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    PaymentInUseError,
    Worker,
)
from engine.storage.postgres.beating import statements_in
from tests.postgres import SCHEMA, Databases
from tests.tries import thorough
from tests.unit.storage.postgres.callers import KINDS, Caller, calling

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio: no driver that is awaited runs on trio."""
    return "asyncio"


@pytest.fixture(params=thorough(*KINDS))
async def caller(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Caller]:
    """Open a connection of each kind."""
    async with calling(request.param, postgres_url) as caller:
        yield caller


@pytest.fixture
async def one_caller(postgres_url: str) -> AsyncIterator[Caller]:
    async with calling("psycopg", postgres_url) as caller:
        yield caller


EVERYTHING: dict[str, Any] = {
    "kind": "report.v2",
    "input": {"pages": [1, 2.5, None, "\u20ac \U0001f600 \\u0041 %s :name $1"], "big": 2**53 - 1},
    "payment_id": "pay'1",
    "idempotency_key": 'key "1"',
    "labels": {"customer": "c'1", "\u00c4rea": "x=y"},
    "priority": -7,
    "deadlines": {JobStatus.RUNNING: timedelta(hours=1)},
    "trace": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    "by": "the shop",
    "reason": "an order",
}


async def test_a_job_is_there_when_the_transaction_has_committed(caller: Caller) -> None:
    later = datetime(2100, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    made = await caller.create(**EVERYTHING, start=True, not_before=later)
    with pytest.raises(JobNotFoundError):
        await caller.engine.get(made.job_id)
    await caller.commit()
    job = await caller.engine.get(made.job_id)
    assert made.sequence == 0
    assert job == made.model_copy(update={"sequence": 1})
    assert (job.status, job.not_before, job.input) == (
        JobStatus.RUNNING,
        later,
        EVERYTHING["input"],
    )
    assert job == await caller.engine.find(idempotency_key='key "1"')
    assert job == await caller.engine.find(payment_id="pay'1")
    [found] = (await caller.engine.list_jobs(labels={"customer": "c'1"})).jobs
    assert found == job
    [born] = await caller.engine.history(job.job_id)
    assert (born.sequence, born.from_status, born.at) == (1, None, made.created_at)
    assert (born.to_status, born.by, born.reason) == (job.status, "the shop", "an order")


@pytest.mark.parametrize("kind", ["AsyncSession over asyncpg", *thorough("blocking psycopg")])
async def test_a_program_may_have_another_driver(postgres_url: str, kind: str) -> None:
    async with calling(kind, postgres_url) as caller:
        made = await caller.create()
        await caller.rollback()
        job = await caller.create("hash", start=True)
        await caller.commit()
        assert await caller.engine.get(job.job_id) == job.model_copy(update={"sequence": 1})
        with pytest.raises(JobNotFoundError):
            await caller.engine.get(made.job_id)


@pytest.mark.thorough
async def test_a_job_is_like_one_that_the_engine_creates(one_caller: Caller) -> None:
    await one_caller.create(**EVERYTHING)
    await one_caller.commit()
    how = {**EVERYTHING, "idempotency_key": None, "payment_id": None}
    theirs = await one_caller.engine.find(idempotency_key='key "1"')
    own = await one_caller.engine.create(**how)
    names = {"job_id", "sequence", "created_at", "updated_at", "idempotency_key"}
    names |= {"payment_id", "blockchain_identifier"}
    assert theirs.model_dump(exclude=names) == own.model_dump(exclude=names)
    assert own.sequence == theirs.sequence + 1


async def test_a_transaction_that_is_rolled_back_leaves_nothing(caller: Caller) -> None:
    await caller.create(idempotency_key="key")
    await caller.rollback()
    job = await caller.create(idempotency_key="key")
    await caller.commit()
    assert (await caller.engine.get(job.job_id)).sequence == 1
    assert await caller.engine.count() == 1


async def test_a_savepoint_takes_its_jobs_back(caller: Caller) -> None:
    hashes = ["a", "b", "c", "d", "e"]
    for number, (input_hash, ends) in enumerate(zip(hashes, [0, 1, 1, 0, 1], strict=True)):
        await caller.execute(f"SAVEPOINT s{number}")
        await caller.create(input_hash, idempotency_key=input_hash)
        await caller.execute(f"{'RELEASE' if ends else 'ROLLBACK TO'} s{number}")
    await caller.commit()
    jobs = (await caller.engine.list_jobs()).jobs
    assert [(job.input_hash, job.sequence) for job in jobs] == [("b", 1), ("c", 2), ("e", 3)]


@pytest.mark.thorough
async def test_a_key_returns_the_job_that_has_it(one_caller: Caller) -> None:
    created = await one_caller.engine.create("hash", input="\u20ac", idempotency_key="a")
    theirs = await one_caller.engine.transition(created.job_id, JobStatus.RUNNING)
    assert await one_caller.create("hash", input="\u20ac", idempotency_key="a") == theirs
    first = await one_caller.create("hash", idempotency_key="b")
    assert await one_caller.create("hash", idempotency_key="b") == first
    for key, job in (("a", theirs), ("b", first)):
        with pytest.raises(IdempotencyConflictError) as error:
            await one_caller.create("other", idempotency_key=key)
        assert (error.value.job_id, error.value.item) == (job.job_id, None)
    await one_caller.commit()
    assert await one_caller.engine.count() == 2


@pytest.mark.thorough
async def test_a_payment_pays_for_one_job(one_caller: Caller) -> None:
    await one_caller.engine.create("hash", payment_id="a")
    await one_caller.create("hash", payment_id="b")
    for payment in ("a", "b"):
        with pytest.raises(PaymentInUseError):
            await one_caller.create("hash", payment_id=payment)
    await one_caller.commit()
    assert await one_caller.engine.count() == 2


async def test_an_open_transaction_shows_a_key_and_a_payment(one_caller: Caller) -> None:
    first = await one_caller.create("hash", idempotency_key="a", payment_id="b")
    assert await one_caller.create("hash", idempotency_key="a", payment_id="b") == first
    with pytest.raises(IdempotencyConflictError):
        await one_caller.create("other", idempotency_key="a")
    with pytest.raises(PaymentInUseError):
        await one_caller.create("hash", payment_id="b")
    await one_caller.execute("SELECT 1")  # the transaction goes on


TAKEN = {
    "key": ({"idempotency_key": "it's"}, "jobs_by_key", "the idempotency key 'it''s' meanwhile"),
    "payment": ({"payment_id": "p"}, "jobs_by_payment", "the payment 'p' meanwhile"),
}


@pytest.mark.parametrize("name", ["key", *thorough("payment")])
async def test_a_name_that_another_job_gets_meanwhile_fails_the_commit(
    one_caller: Caller, name: str
) -> None:
    how, index, what = TAKEN[name]
    await one_caller.create("other")
    await one_caller.create("hash", **how)
    theirs = await one_caller.engine.create("hash", **how)  # which does not wait
    with pytest.raises(psycopg.errors.UniqueViolation, match=what) as error:
        await one_caller.commit()
    diagnosis = error.value.diag
    assert (diagnosis.table_name, diagnosis.constraint_name) == ("jobs", index)
    assert theirs.job_id in str(diagnosis.message_detail)
    assert "Repeat the transaction" in str(error.value)
    assert await one_caller.engine.count() == 1
    if name == "key":
        assert await one_caller.create("hash", **how) == theirs
    else:
        with pytest.raises(PaymentInUseError):
            await one_caller.create("hash", **how)


@pytest.mark.thorough
async def test_an_id_that_another_job_gets_meanwhile_fails_the_commit(postgres_url: str) -> None:
    async with calling("psycopg", postgres_url, new_id=lambda: "the same") as caller:
        await caller.create()
        await caller.engine.create()
        with pytest.raises(psycopg.errors.UniqueViolation, match="the id 'the same' meanwhile"):
            await caller.commit()
        with pytest.raises(DuplicateJobIdError):
            await caller.create()


@pytest.mark.thorough
async def test_a_job_that_is_born_running_is_claimed_after_the_commit(postgres_url: str) -> None:
    async with calling("psycopg", postgres_url) as caller:
        watch = caller.engine.watch(after=0)
        async with Worker(caller.engine, _double):
            job = await caller.create(input=21, start=True)
            await caller.commit()
            assert await caller.engine.result(job.job_id, timeout=60) == "42"
        seen = [await anext(watch) for _ in range(2)]
    assert [(each.job_id, each.sequence) for each in seen] == [(job.job_id, 1), (job.job_id, 2)]
    assert [each.to_status for each in seen] == [JobStatus.RUNNING, JobStatus.COMPLETED]


async def _double(value: int) -> str:
    return str(2 * value)


@pytest.mark.thorough
async def test_the_engines_are_told_of_a_commit(one_caller: Caller, postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
        channel_of = psycopg.AsyncRawCursor(other)
        await channel_of.execute(statements_in(SCHEMA)["channel"].encode(), (SCHEMA,))
        [channel] = await channel_of.fetchone() or ("",)
        await other.execute(f"LISTEN {channel}".encode())
        await one_caller.create()
        await one_caller.commit()
        [told] = [each async for each in other.notifies(timeout=60, stop_after=1)]
    assert told.channel == channel


# What can't be done.


async def _refused(caller: Caller, problem: str, connection: object = None, **how: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError, match=problem) as error:
        await caller.engine.create(connection=connection or caller.connection, **how)
    assert error.value.field in {"connection", "timeout"}


async def test_a_connection_in_autocommit_is_refused(one_caller: Caller) -> None:
    await one_caller.connection.set_autocommit(True)
    await _refused(one_caller, "is in autocommit: begin one")
    async with one_caller.connection.transaction():
        await one_caller.create()
    assert await one_caller.engine.count() == 1


@pytest.mark.parametrize("isolation", thorough("repeatable read", "serializable"))
async def test_an_isolation_that_does_not_see_others_commits_is_refused(
    one_caller: Caller, isolation: str
) -> None:
    await one_caller.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
    await _refused(one_caller, f"must be .* read committed, not {isolation}")
    await one_caller.execute("SELECT engine.arrive_1('[]')")
    await one_caller.execute(
        "SELECT engine.arrive_1(json_build_array(json_build_object('job_id', 'a', 'revision', 0, "
        "'status', 'running', 'input_hash', '', 'created_at', now(), 'updated_at', now(), "
        "'version', 1, 'kind', 'default', 'ready', true))::text)"
    )
    with pytest.raises(psycopg.Error, match=f"is {isolation}, not read committed"):
        await one_caller.commit()
    assert await one_caller.engine.count() == 0


@pytest.mark.thorough
async def test_a_connection_of_another_kind_is_refused(
    one_caller: Caller, postgres_url: str
) -> None:
    expected = r"must be a psycopg\.AsyncConnection, .*, not a "
    with psycopg.connect(postgres_url) as blocking:
        await _refused(one_caller, f"{expected}psycopg.Connection", blocking)
    await _refused(one_caller, f"{expected}builtins.str", postgres_url)


@pytest.mark.thorough
async def test_a_blocking_engine_takes_blocking_connections(postgres_url: str) -> None:
    expected = r"must be a psycopg\.Connection, .*, not a "
    async with calling("psycopg", postgres_url) as other:
        awaited = other.connection
    async with calling("blocking psycopg", postgres_url) as caller:
        await _refused(caller, f"{expected}psycopg.AsyncConnection", awaited)
        database = sqlalchemy.create_engine("sqlite://")
        await _refused(caller, f"{expected}sqlalchemy", database)
        with database.connect() as connection:
            await _refused(caller, f"{expected}sqlite3.Connection", connection)
        await _refused(caller, "set its statement_timeout instead", timeout=5)


@pytest.mark.thorough
async def test_a_connection_to_another_place_is_refused(
    one_caller: Caller, databases: Databases
) -> None:
    copy, empty = databases.new(), databases.new(empty=True)
    for url in (copy, empty):
        async with await psycopg.AsyncConnection.connect(url) as other:
            await _refused(one_caller, "must be to the engine's own database", other)
        databases.drop(url)


@pytest.mark.thorough
async def test_an_engine_without_postgresql_refuses_a_connection(one_caller: Caller) -> None:
    async with JobEngine() as engine:
        with pytest.raises(InvalidValueError, match="needs an engine whose jobs are in PostgreSQL"):
            await engine.create(connection=one_caller.connection)
    with pytest.raises(EngineClosedError):
        await engine.create(connection=one_caller.connection)


@pytest.mark.thorough
def test_no_driver_that_is_awaited_runs_on_trio(postgres_url: str) -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        trio.run(lambda: psycopg.AsyncConnection.connect(postgres_url))


@pytest.mark.thorough
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_blocking_connection_is_used_in_threads_of_trio(postgres_url: str) -> None:
    async with calling("blocking psycopg", postgres_url) as caller:
        job = await caller.create()
        await caller.commit()
        assert (await caller.engine.get(job.job_id)).sequence == 1
