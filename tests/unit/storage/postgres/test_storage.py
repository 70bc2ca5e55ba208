"""The PostgreSQL storage: its arguments, its connection and its errors."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest
from anyio import to_thread

from engine import (
    CommitUnknownError,
    InvalidValueError,
    JobEngine,
    LeaseLostError,
    StorageDamagedError,
    StorageError,
    StorageInUseError,
    StorageReadOnlyError,
    SyncJobEngine,
)
from engine.storage.postgres import PostgresStorage, connection, database, location, reading
from engine.storage.postgres.database import Database
from engine.storage.postgres.limited_thread import CALL_SECONDS, LimitedThread
from engine.storage.postgres.location import Location
from engine.storage.record import Change, Record
from engine.testing.party import amended, created, joined, moved
from engine.testing.telling import progress
from engine.testing.values import RUNNING, STATUS_OUTCOMES, OddStatus
from tests.interventions import Intruder
from tests.postgres import SCHEMA, Databases
from tests.proxy import proxied

pytestmark = pytest.mark.anyio

_SECONDS_AGAINST_HANGS = 60


@pytest.fixture
def storage(postgres_url: str) -> PostgresStorage:
    return PostgresStorage(postgres_url, name="its name")


@contextmanager
def app_role(intruder: Intruder, options: str) -> Iterator[None]:
    """Make a role that owns nothing, with the rights that the docstring of the storage names."""
    intruder.run(
        "DROP ROLE IF EXISTS engine_app",
        f"CREATE ROLE engine_app LOGIN {options}",
        "GRANT USAGE ON SCHEMA engine TO engine_app",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA engine TO engine_app",
    )
    try:
        yield
    finally:
        intruder.run("DROP OWNED BY engine_app", "DROP ROLE engine_app")


def with_user(url: str, user: str, password: str = "") -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


# Arguments.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("schema", value) for value in ("", "x" * 64, "é" * 32, 7, "a\0b")),
        *(("name", value) for value in ("", "x" * 257, 7)),
        *(("lease_seconds", value) for value in (0, 0.99, -1, "1", float("nan"), float("inf"))),
        *(("prepare", value) for value in (5, None, "no")),
    ],
)
def test_a_wrong_argument_is_refused(field: str, value: Any) -> None:  # noqa: ANN401 - anything may be given
    with pytest.raises(InvalidValueError, match=field):
        PostgresStorage("postgresql://host/jobs", **{field: value})


def test_an_engine_has_a_name(storage: PostgresStorage) -> None:
    assert storage.name == "its name"
    assert PostgresStorage("postgresql://host/jobs").name


@pytest.mark.thorough
def test_a_missing_driver_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from engine import JobEngine\n"
        "JobEngine('postgresql://host/jobs')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"RuntimeError: a PostgreSQL database needs the package psycopg" in run.stderr
    assert b"pip install 'engine[postgres]'" in run.stderr


# Openings.


@pytest.mark.thorough
async def test_both_engines_take_a_url(postgres_url: str) -> None:
    async with JobEngine(postgres_url) as engine:
        job = await engine.create("hash")

        def get() -> object:
            with SyncJobEngine(postgres_url) as other:
                return other.get(job.job_id)

        assert await to_thread.run_sync(get) == job


async def test_any_number_may_open_an_empty_database_at_once(databases: Databases) -> None:
    url = databases.new(empty=True)
    numbers: list[int] = []

    async def create(name: str) -> None:
        async with joined(PostgresStorage(url, schema='odd "name"')) as party:
            committed = await party.apply(created(name))
            numbers.append(committed.sequence_shift)

    async with anyio.create_task_group() as tasks:
        for name in "abcde":
            tasks.start_soon(create, name)
    assert sorted(numbers) == [*range(min(numbers), min(numbers) + 5)]
    databases.drop(url)


async def test_a_cancelled_opening_is_not_waited_for(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    """Though it waits for another one's, which may take a minute."""
    intruder.run("BEGIN", "SELECT pg_advisory_xact_lock(hashtextextended('engine engine', 0))")
    with anyio.fail_after(CALL_SECONDS - 5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(storage.open, STATUS_OUTCOMES, {}, RUNNING)
            await to_thread.run_sync(intruder.until_blocking)
            tasks.cancel_scope.cancel()
        await storage.aclose()
    intruder.run("ROLLBACK")
    async with joined(storage):
        assert intruder.value("SELECT count(*) FROM engines") == 1


@pytest.mark.thorough
async def test_an_engine_without_a_heartbeat_leaves_no_row_behind(
    postgres_url: str, intruder: Intruder
) -> None:
    """Nobody would notice that it doesn't live, until another one opens the database."""
    with app_role(intruder, "CONNECTION LIMIT 1"):
        with pytest.raises(StorageError, match="does not take a heartbeat"):
            async with joined(PostgresStorage(with_user(postgres_url, "engine_app"))):
                pass
        assert intruder.value("SELECT count(*) FROM engines") == 0
        assert intruder.value("SELECT count(*) FROM batches") == 0


@pytest.mark.thorough
async def test_an_object_serves_one_engine_at_a_time(storage: PostgresStorage) -> None:
    for _ in range(2):
        async with joined(storage):
            with pytest.raises(StorageInUseError):
                await storage.open(STATUS_OUTCOMES, {}, RUNNING)
            await storage.aclose()


async def test_the_other_engines_see_the_lease_of_each(
    postgres_url: str, intruder: Intruder
) -> None:
    async with joined(PostgresStorage(postgres_url, lease_seconds=7.5)):
        assert intruder.value("SELECT lease_seconds FROM engines") == 7.5


async def test_a_database_that_cannot_be_reached_is_named_without_secrets(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = urlsplit(postgres_url).path
    for url in (
        with_user(postgres_url, "nobody", "secret"),
        with_user(postgres_url.replace(database, "/none"), "postgres", "secret"),
        f"postgresql://me:secret@127.0.0.1:1{database}",
    ):
        with pytest.raises(StorageError, match=r"postgresql://127\.0\.0\.1") as caught:
            async with JobEngine(url):
                pass
        assert "secret" not in f"{caught.value!r}{caught.value.__cause__!r}{caplog.text}"


async def test_schemas_have_their_own_jobs(postgres_url: str) -> None:
    async with (
        joined(PostgresStorage(postgres_url)) as one,
        joined(PostgresStorage(postgres_url, schema="another")) as other,
    ):
        await one.apply(created("a"))
        assert (await other.everything()) == ([], [])
        await other.apply(created("a"), created("b"))
        assert await one.take_ids() == ["a"]
        assert await other.take_ids() == ["a", "b"]


async def test_a_role_that_owns_nothing_may_work(postgres_url: str, intruder: Intruder) -> None:
    """With the rights that the docstring of `PostgresStorage` names."""
    with app_role(intruder, "PASSWORD 'secret'"):
        url = with_user(postgres_url, "engine_app", "secret")
        async with joined(PostgresStorage(url)) as party:
            await party.apply(created("a"), created("b"), created("done", OddStatus.DONE))
            [a, b] = await party.take()
            await party.apply(moved(a, OddStatus.DONE))
            assert len(await party.storage.remove_ended(None, 0, 10)) == 2
            await party.storage.keep_lifecycle("{}")
            await party.shared.due(b.created_at, 10)
        with pytest.raises(StorageError, match="permission denied"):
            async with joined(PostgresStorage(url, schema="of its own")):
                pass


@pytest.mark.thorough
async def test_names_on_the_search_path_mean_nothing(postgres_url: str, intruder: Intruder) -> None:
    """Whatever stands there, tables and functions are the engine's and the server's own."""
    database = urlsplit(postgres_url).path[1:]
    intruder.run(
        "CREATE SCHEMA evil",
        "CREATE TABLE evil.jobs (LIKE engine.jobs)",
        "CREATE TABLE evil.notes (LIKE engine.notes)",
        "CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "AS 'SELECT NULL::timestamptz'",
        *(
            f"CREATE FUNCTION evil.{function} RETURNS bigint LANGUAGE plpgsql "
            "AS 'BEGIN RAISE EXCEPTION ''evil''; END'"
            for function in (
                "cardinality(bigint[])",
                "octet_length(text)",
                "int8larger(int8, int8)",
            )
        ),
        "CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = text, RIGHTARG = text)",
        f'ALTER DATABASE "{database}" SET search_path = evil, pg_catalog',
    )
    async with joined(PostgresStorage(postgres_url)) as party:
        await party.apply(created("a"), created("b"))
        assert await party.take_ids() == ["a", "b"]
        await party.apply(moved(await party.look("b"), OddStatus.DONE))
        assert (await party.look("a")).status == OddStatus.RUNNING
        assert await party.storage.history("c") is None
    assert intruder.value("SELECT count(*) FROM evil.jobs") == 0


@pytest.mark.thorough
async def test_a_taken_job_has_its_newest_transition(
    storage: PostgresStorage, intruder: Intruder, postgres_url: str
) -> None:
    """Also one that was committed while the statement waited."""
    taken: list[Record] = []

    async def take() -> None:
        taken.extend(await one.take())

    async with joined(storage) as one, joined(PostgresStorage(postgres_url)) as other:
        await one.apply(created("a"))
        number = intruder.number_of(storage)
        intruder.run("BEGIN")
        intruder.value("SELECT number FROM batches WHERE engine_id = %s FOR UPDATE", number)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await to_thread.run_sync(intruder.until_blocking)
            await other.apply(created("b"))
            intruder.run("COMMIT")
    assert {each.job_id: each.sequence for each in taken} == {"a": 1, "b": 2}


@pytest.mark.thorough
async def test_what_a_commit_promises_is_no_matter_of_a_role(
    storage: PostgresStorage, intruder: Intruder, postgres_url: str
) -> None:
    database = urlsplit(postgres_url).path[1:]
    intruder.run(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    async with joined(storage):
        shown = await storage._call(  # noqa: SLF001 - nothing else shows it
            lambda cursor, _: reading.one(cursor, b"SHOW synchronous_commit")
        )
        assert shown == ("on",)


async def test_the_batches_of_engines_that_died_long_ago_are_forgotten(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    """Only those: an engine that wakes asks for its own."""
    intruder.run(
        "INSERT INTO batches VALUES (-1000, 1, true), (-999, 1, true), (0, 1, true)",
        "INSERT INTO engines (engine_id, name, lease_seconds) OVERRIDING SYSTEM VALUE "
        "VALUES (-2000, 'old', 60)",
        "INSERT INTO batches VALUES (-2000, 1, true)",
    )
    async with joined(storage):
        kept = intruder.value("SELECT array_agg(engine_id ORDER BY engine_id) FROM batches")
    assert kept == [-2000, -999, 0, 1]


@pytest.mark.thorough
async def test_only_changed_progress_is_read_again(
    storage: PostgresStorage, postgres_url: str
) -> None:
    async with joined(storage) as one, joined(PostgresStorage(postgres_url)) as other:
        await one.shared.exchange_progress([progress("a")], [])
        [before] = await other.shared.exchange_progress([], [])
        with anyio.fail_after(_SECONDS_AGAINST_HANGS):
            # It is read again as long as a transaction goes on that began before the change.
            while (again := (await other.shared.exchange_progress([], []))[0]) is not before:
                before = again
        await one.shared.exchange_progress([progress("a", done=0.75)], [])
        assert await other.shared.exchange_progress([], []) == [progress("a", done=0.75)]


# Errors.


async def test_a_server_that_can_only_be_read_is_noticed_and_left(
    storage: PostgresStorage, intruder: Intruder, postgres_url: str
) -> None:
    database = urlsplit(postgres_url).path[1:]
    is_read_only = f'ALTER DATABASE "{database}" SET default_transaction_read_only'
    async with joined(storage) as party:
        await party.apply(created("a"))
        intruder.run(f"{is_read_only} = on")
        intruder.terminate(storage)
        with pytest.raises(StorageError):
            await party.look("a")
        assert (await party.look("a")).position == 1
        with pytest.raises(StorageReadOnlyError, match="25006"):
            await party.commit(created("b"))
        with pytest.raises(StorageReadOnlyError):
            await joined(PostgresStorage(postgres_url)).__aenter__()
        intruder.run(f"{is_read_only} = off")
        await party.apply(created("b"))


@pytest.mark.thorough
@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_a_limit_of_the_server_is_a_storage_error(
    storage: PostgresStorage, intruder: Intruder, limit: str
) -> None:
    async def run(statement: str) -> None:
        await storage._call(  # noqa: SLF001 - the limits are 5 s and more
            lambda cursor, _: cursor.execute(statement.encode())
        )

    async with joined(storage) as party:
        await run(f"SET {limit} = 50")
        intruder.take_order()
        with pytest.raises(StorageError, match=limit.replace("_", " ")):
            await party.commit(created("a"))
        intruder.give_order()
        await run(f"RESET {limit}")
        await party.apply(created("b"))
        assert [entry.job_id for entry in (await party.everything())[1]] == ["b"]


async def test_a_call_without_an_answer_ends(
    storage: PostgresStorage, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with joined(storage) as party:
        await party.apply(created("first"))  # reads the types of the rows, once
        monkeypatch.setattr(LimitedThread, "run", partialmethod(LimitedThread.run, seconds=0.05))
        intruder.take_order()
        with pytest.raises(CommitUnknownError):
            await party.commit(created("a"))
        monkeypatch.undo()
        with pytest.raises(StorageError, match="not yet known"):
            await party.look("a")
        assert await party.storage.resolve([]) is False
        intruder.give_order()
        await party.apply(created("b"))
        assert [entry.job_id for entry in (await party.everything())[1]] == ["first", "b"]


def test_the_first_statement_of_a_connection_can_be_cut(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a pooler that has not passed the time zone on, and that hangs then."""
    monkeypatch.setitem(location._SETTINGS, "timezone", "Asia/Tokyo")  # noqa: SLF001
    with proxied(postgres_url) as (proxy, url):
        monkeypatch.setattr(connection, "register", lambda _: proxy.passes.clear())
        database = Database(Location(url), SCHEMA, None)
        errors: list[StorageError] = []

        def call() -> None:
            try:
                database.call(lambda cursor, _: cursor.execute(b"SELECT"))
            except StorageError as error:
                errors.append(error)

        calling = threading.Thread(target=call)
        calling.start()
        end = time.monotonic() + _SECONDS_AGAINST_HANGS
        while calling.is_alive() and time.monotonic() < end:
            database.cut()
            calling.join(0.01)
        proxy.passes.set()
        calling.join()
        database.close()
    assert len(errors) == 1


async def test_a_connection_that_ends_in_a_commit_leaves_its_outcome_unknown(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    async with joined(storage) as party:
        intruder.take_order()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, intruder.terminate_waiting)
            with pytest.raises(CommitUnknownError):
                await party.commit(created("a"))
        intruder.give_order()
        assert await party.storage.resolve([]) is False
        await party.apply(created("b"))
        assert (await party.look("b")).sequence == 1


async def test_a_commit_that_is_under_way_when_its_outcome_is_asked_for_is_never_applied(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    """Who only looked would find no job, and then it would be there."""
    async with joined(storage) as party:
        intruder.take_order()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, intruder.cut_waiting, storage)
            with pytest.raises(CommitUnknownError):
                await party.commit(created("a"))
        assert await party.storage.resolve([]) is False
        intruder.give_order()
        await party.apply(created("b"))
        assert [entry.job_id for entry in (await party.everything())[1]] == ["b"]


async def test_a_lost_answer_may_be_asked_for_again(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    """Whoever asks may lose that answer, too."""
    async with joined(storage) as party:
        with pytest.raises(CommitUnknownError), intruder.losing_answer(storage):
            await party.commit(created("a"))
        engine = intruder.number_of(storage)
        assert intruder.value("SELECT is_applied FROM resolve_1(%s, 1)", engine)
        assert (await party.resolve()).in_the_way is None
        assert intruder.value("SELECT NOT is_applied FROM resolve_1(%s, 2)", engine)
        with pytest.raises(LeaseLostError):  # its number was taken
            await party.commit(created("b"))


async def test_a_database_that_has_forgotten_a_commit_is_damaged(
    storage: PostgresStorage, intruder: Intruder
) -> None:
    """As after a failover to a standby that was behind."""
    async with joined(storage) as party:
        await party.apply(created("a"))
        with pytest.raises(CommitUnknownError), intruder.losing_answer(storage):
            await party.commit(created("b"))
        intruder.run("UPDATE batches SET number = 0")
        with pytest.raises(StorageDamagedError, match="a failover has lost commits"):
            await party.storage.resolve([])


@pytest.mark.parametrize("forget", ["UPDATE batches SET number = 0", "DELETE FROM batches"])
async def test_a_database_that_has_forgotten_an_older_commit_is_damaged(
    storage: PostgresStorage, intruder: Intruder, forget: str
) -> None:
    async with joined(storage) as party:
        await party.apply(created("a"))
        intruder.run(forget)
        for call in (lambda: party.commit(created("b")), party.take, party.shared.held):
            with pytest.raises(StorageDamagedError, match="a failover has lost commits"):
                await call()


@pytest.mark.parametrize(
    "again",
    [created("secret"), created("b", key="secret"), created("b", payment="secret")],
    ids=["id", "key", "payment"],
)
async def test_the_server_logs_no_name_that_is_taken(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, again: Change
) -> None:
    """It logs each error: a batch that has moved a job ends with one, and no other batch does."""
    monkeypatch.setattr(database, "TAKEN", "none")
    async with joined(storage) as party:
        await party.apply(created("secret", key="secret", payment="secret"), created("z"))
        assert (await party.commit(again)).in_the_way is not None
        with pytest.raises(StorageError, match="a name is taken") as caught:
            await party.commit(amended(await party.look("z")), again)
        cause = caught.value.__cause__
        assert isinstance(cause, psycopg.Error)
        assert "secret" not in f"{cause}{cause.diag.message_detail}{cause.diag.context}"


async def test_the_isolation_of_a_database_is_overruled(
    postgres_url: str, intruder: Intruder
) -> None:
    database = urlsplit(postgres_url).path[1:]
    intruder.run(
        f"ALTER DATABASE \"{database}\" SET default_transaction_isolation = 'serializable'"
    )
    async with joined(PostgresStorage(postgres_url)) as party:
        await party.apply(created("a"))
