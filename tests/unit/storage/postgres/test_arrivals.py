"""What becomes of arrived jobs at the end of their transaction, and of everybody else meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest
from anyio import to_thread
from psycopg.rows import dict_row

from engine import Job, JobEngine, JobStatus, Outcome, Worker
from engine.testing.facades import opened_engine
from tests.interventions import Intruder
from tests.postgres import Databases, started_cluster
from tests.tries import thorough
from tests.unit.storage.postgres.callers import Caller, calling, connecting, place

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio: no driver that is awaited runs on trio."""
    return "asyncio"


@pytest.fixture
async def caller(postgres_url: str) -> AsyncIterator[Caller]:
    async with calling("psycopg", postgres_url) as caller:
        yield caller


async def test_a_transaction_that_waits_keeps_nobody_from_work(
    caller: Caller, postgres_url: str
) -> None:
    how = {"idempotency_key": "key", "payment_id": "payment", "labels": {"a": "b"}}
    made = [await caller.create("hash", **how, start=True), await caller.create("other")]
    async with opened_engine(JobEngine, place(postgres_url)) as other, Worker(other, _nothing):
        theirs = await other.create("hash", **how, start=True)
        assert (await other.wait(theirs.job_id, timeout=60)).status == JobStatus.COMPLETED
        assert await caller.engine.count() == 1
        await caller.rollback()
        job = await caller.create("hash", start=True)
        await caller.commit()
        assert (await other.wait(job.job_id, timeout=60)).status == JobStatus.COMPLETED
        assert [(await other.history(job.job_id))[0].sequence, job.sequence] == [3, 0]
        assert not {each.job_id for each in made} & {theirs.job_id, job.job_id}


async def _nothing(_: object) -> None:
    return None


@pytest.mark.thorough
async def test_a_transaction_whose_connection_dies_leaves_nothing(
    caller: Caller, postgres_url: str, intruder: Intruder
) -> None:
    async with connecting("psycopg", postgres_url, caller.engine) as dying:
        await dying.create("lost", idempotency_key="key")
        assert intruder.value(
            "SELECT pg_terminate_backend(%s, 60000)", dying.connection.info.backend_pid
        )
        with pytest.raises(psycopg.OperationalError):
            await dying.commit()
    job = await caller.create("kept", idempotency_key="key")
    await caller.commit()
    assert (await caller.engine.get(job.job_id)).sequence == 1
    assert intruder.value("SELECT count(*) FROM arrivals") == 0


@pytest.mark.parametrize("name", ["idempotency_key", *thorough("payment_id")])
async def test_of_two_commits_at_once_with_one_name_one_fails(
    caller: Caller, postgres_url: str, intruder: Intruder, name: str
) -> None:
    ends: list[object] = []

    async def commit(caller: Caller) -> None:
        try:
            await caller.commit()
        except psycopg.errors.UniqueViolation as error:
            ends.append(error.diag.constraint_name)
        else:
            ends.append(None)

    async with (
        connecting("psycopg", postgres_url, caller.engine) as another,
        anyio.create_task_group() as tasks,
    ):
        for each in (caller, another):
            await each.create("hash", **{name: "the same"})
        intruder.take_order()
        for each in (caller, another):
            tasks.start_soon(commit, each)
        waiting = "SELECT count(*) > 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await to_thread.run_sync(intruder.until, lambda: intruder.value(waiting))
        intruder.give_order()
    index = {"idempotency_key": "jobs_by_key", "payment_id": "jobs_by_payment"}[name]
    assert sorted(ends, key=str) == [None, index]
    assert await caller.engine.count() == 1


@pytest.mark.thorough
async def test_many_jobs_of_one_transaction_keep_their_order(caller: Caller) -> None:
    await caller.engine.create("first")
    ids = [
        (await caller.create(str(number), labels={"n": str(number)})).job_id for number in range(50)
    ]
    between = await caller.engine.create("between")
    await caller.commit()
    watch = caller.engine.watch(after=0)
    seen = [await anext(watch) for _ in range(52)]
    assert [each.sequence for each in seen] == list(range(1, 53))
    assert [each.job_id for each in seen][1:] == [between.job_id, *ids]
    jobs = (await caller.engine.list_jobs()).jobs
    assert [job.job_id for job in jobs][1:] == [between.job_id, *ids]
    [found] = (await caller.engine.list_jobs(labels={"n": "17"})).jobs
    assert found.job_id == ids[17]


@pytest.mark.thorough
async def test_many_jobs_of_one_transaction_are_not_looked_at_again_for_each(
    caller: Caller, intruder: Intruder
) -> None:
    for _ in range(100):
        await caller.create()
    await caller.commit()
    await caller.execute("SELECT pg_stat_force_next_flush()")
    await caller.commit()
    read = "SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE relname = 'arrivals'"
    assert 100 <= intruder.value(read) < 1_000


@pytest.mark.thorough
async def test_a_deadline_that_passes_before_the_commit_is_applied_after_it(
    caller: Caller,
) -> None:
    at_once = {JobStatus.RUNNING: timedelta(microseconds=1)}
    job = await caller.create(start=True, deadlines=at_once)
    await caller.commit()
    ended = await caller.engine.wait(job.job_id, timeout=60)
    assert (ended.status, ended.outcome) == (JobStatus.FAILED, Outcome.EXPIRED)


@pytest.mark.thorough
async def test_a_job_that_may_begin_later_waits_after_the_commit(caller: Caller) -> None:
    ran: list[Job] = []
    async with Worker(caller.engine, ran.append):
        job = await caller.create(start=True, input=1, not_before=timedelta(days=1))
        other = await caller.create(start=True, input=2, not_before=timedelta(microseconds=1))
        await caller.commit()
        await caller.engine.wait(other.job_id, timeout=60)
        assert (await caller.engine.get(job.job_id)).next_attempt_at == job.not_before
    assert [job.input for job in ran] == [2]


# Odd connections, odd names and few rights.


@pytest.mark.thorough
async def test_the_settings_of_a_session_change_nothing(caller: Caller) -> None:
    connection = caller.connection
    connection.row_factory = dict_row
    connection.cursor_factory = psycopg.AsyncRawCursor
    for setting in (
        "TimeZone = 'Asia/Kolkata'",
        "DateStyle = 'German, DMY'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "search_path = pg_catalog",
    ):
        await caller.execute(f"SET {setting}")
    created = await caller.create("hash", input="\u00e9\\ '", idempotency_key="a")
    assert await caller.create("hash", input="\u00e9\\ '", idempotency_key="a") == created
    await caller.create("hash", input="\U0001f600")
    await caller.commit()
    assert await caller.engine.get(created.job_id) == created.model_copy(update={"sequence": 1})
    theirs = await caller.create("hash", input="\u00e9\\ '", idempotency_key="a")
    job = await caller.engine.get(created.job_id)
    assert theirs.model_dump_json() == job.model_dump_json()  # its times are in UTC


@pytest.mark.thorough
async def test_a_driver_that_reads_json_by_itself_gets_texts(postgres_url: str) -> None:
    async with calling("asyncpg", postgres_url) as caller:
        await caller.connection.set_type_codec(
            "json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        job = await caller.create("hash", input="x", idempotency_key="a")
        await caller.commit()
        assert (await caller.create("hash", input="x", idempotency_key="a")).job_id == job.job_id


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["psycopg", "asyncpg", "AsyncSession over psycopg", "Session"])
async def test_a_schema_may_have_an_odd_name(databases: Databases, kind: str) -> None:
    url = databases.new(empty=True)
    async with calling(kind, url, 'odd "s" :name $1 {x}') as caller:
        job = await caller.create("hash", start=True)
        await caller.commit()
        assert (await caller.engine.get(job.job_id)).sequence == 1
    databases.drop(url)


@contextmanager
def role(intruder: Intruder, url: str) -> Iterator[str]:
    """Make a role that may do no more than programs have to; return a URL with it."""
    name = f"role_{urlsplit(url).path[1:]}"
    intruder.run(f"CREATE ROLE {name} LOGIN")
    for right in (
        f"GRANT USAGE ON SCHEMA engine TO {name}",
        f"GRANT SELECT ON engine.jobs, engine.transitions, engine.epochs TO {name}",
        f"GRANT SELECT, INSERT ON engine.arrivals TO {name}",
    ):
        intruder.run(right)
    parts = urlsplit(url)
    yield urlunsplit(parts._replace(netloc=f"{name}@{parts.hostname}:{parts.port}"))
    intruder.run(f"DROP OWNED BY {name}")
    intruder.run(f"DROP ROLE {name}")


@pytest.mark.thorough
async def test_a_role_with_few_rights_may_create_jobs_and_no_more(
    caller: Caller, postgres_url: str, intruder: Intruder
) -> None:
    intruder.run("CREATE SCHEMA evil")
    intruder.run("GRANT ALL ON SCHEMA evil TO PUBLIC")
    with role(intruder, postgres_url) as url:
        async with connecting("psycopg", url, caller.engine) as program:
            for name in ("jobs", "labels", "transitions", "arrivals", "numbers"):
                await program.execute(f"CREATE TABLE evil.{name} (nothing text)")
            await program.execute("SET search_path = evil, pg_temp")
            job = await program.create("hash", labels={"a": "b"}, start=True, idempotency_key="a")
            await program.commit()
            assert (await program.create("hash", idempotency_key="a")).sequence == 1
            for statement in ("DELETE FROM engine.jobs", "UPDATE engine.arrivals SET ready = true"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await program.execute(statement)
                await program.rollback()
    assert (await caller.engine.get(job.job_id)).labels == {"a": "b"}


@pytest.mark.thorough
async def test_a_session_that_has_put_off_its_triggers_leaves_no_job_behind(
    caller: Caller,
) -> None:
    await caller.execute("SET session_replication_role = replica")
    job = await caller.create()
    await caller.commit()
    assert (await caller.engine.get(job.job_id)).sequence == 1


@pytest.mark.thorough
async def test_a_job_may_be_admitted_before_the_end_of_the_transaction(caller: Caller) -> None:
    await caller.create("a", idempotency_key="a")
    await caller.execute("SET CONSTRAINTS ALL IMMEDIATE")
    first = await caller.create("a", idempotency_key="a")
    await caller.create("b")
    assert first.sequence == 1
    await caller.commit()
    jobs = (await caller.engine.list_jobs()).jobs
    assert [(job.input_hash, job.sequence) for job in jobs] == [("a", 1), ("b", 2)]


@pytest.mark.thorough
async def test_a_transaction_that_is_to_be_prepared_is_refused() -> None:
    with started_cluster(options=["max_prepared_transactions=2"]) as cluster:
        async with calling("psycopg", cluster.url) as caller:
            await caller.create()
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
                await caller.execute("PREPARE TRANSACTION 'a'")
            await caller.rollback()
            assert await caller.engine.count() == 0
            await caller.engine.create()  # nobody holds the order
