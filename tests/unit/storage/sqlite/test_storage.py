"""An engine's file: its holder, its fate, and the errors about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    IdempotencyConflictError,
    JobDamagedError,
    JobEngine,
    JobStatus,
    LifecycleError,
    NewJob,
    PaymentInUseError,
    SQLiteStorage,
    StorageDamagedError,
    StorageError,
    StorageInUseError,
    StorageReadOnlyError,
)
from engine.storage.sqlite.schema import APPLICATION_ID, STEPS
from engine.testing.facades import FACADES, opened_engine
from tests.unit.claiming import claimed_one, release
from tests.unit.finishing import finished
from tests.unit.storage.sqlite.checking import checked
from tests.unit.storage.sqlite.privileges import without_privileges

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def _change(path: Path, statement: str) -> None:
    """Change a file behind the engine's back."""
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_closed_file_is_one_file_and_its_lock(path: Path) -> None:
    async with JobEngine(path) as engine:
        await engine.create("hash")
        others = {"jobs.db-wal", "jobs.db-shm", "jobs.db-lock", "jobs.db-control"}
        assert _names(path.parent) == {"jobs.db", *others}
    assert _names(path.parent) == {"jobs.db", "jobs.db-lock"}


async def test_the_file_says_whose_it_is_and_is_written_durably(path: Path) -> None:
    statements: list[str] = []

    class Traced(SQLiteStorage):
        def connect(self, path: Path) -> sqlite3.Connection:
            connection = super().connect(path)
            connection.set_trace_callback(statements.append)
            return connection

    async with JobEngine(Traced(path)) as engine:
        await engine.create("hash")
        reader = sqlite3.connect(path)
        assert reader.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert reader.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        reader.close()
    assert statements[0] == "PRAGMA synchronous = FULL"


async def test_others_read_what_is_committed_while_an_engine_has_the_file(path: Path) -> None:
    async with JobEngine(path) as engine:
        job = await engine.create("hash", idempotency_key="key")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        reader.row_factory = sqlite3.Row
        [row] = reader.execute("SELECT * FROM jobs JOIN transitions USING (position) LIMIT 1")
        assert (row["job_id"], row["status"], row["version"]) == (job.job_id, "running", 2)
        assert (row["sequence"], row["to_status"]) == (1, "awaiting_payment")
        assert row["created_at"] == row["at"] == job.created_at.isoformat().replace("+00:00", "Z")
        reader.close()


async def test_an_empty_file_is_a_new_one_and_keeps_its_mode(path: Path) -> None:
    path.touch(mode=0o600)
    async with JobEngine(path) as engine:
        await engine.create("hash")
    assert path.stat().st_mode & 0o777 == 0o600
    async with JobEngine(path) as engine:
        assert await engine.count() == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE jobs SET status = 'completee' WHERE position = 1",
        "UPDATE jobs SET input_hash = CAST(X'FF' AS TEXT) WHERE position = 1",
        "UPDATE jobs SET job_id = 'another' WHERE position = 1",
        "UPDATE jobs SET result = '' WHERE position = 1",
        "UPDATE jobs SET version = 'three' WHERE position = 1",
        "UPDATE jobs SET ended_at = NULL WHERE position = 1",
        "UPDATE jobs SET checksum = checksum + 1 WHERE position = 1",
    ],
)
@pytest.mark.parametrize("facade", FACADES)
async def test_a_damaged_job_is_not_shown_and_does_not_take_others_down(
    facade: type[Any], damage: str, path: Path
) -> None:
    async with opened_engine(facade, path) as engine:
        job = await finished(engine)
        other = await finished(engine)
        live = await engine.create("live")
    _change(path, damage)
    damaged_id = "another" if "job_id" in damage else job.job_id
    async with opened_engine(facade, path) as engine:
        with pytest.raises(JobDamagedError, match="checksum") as caught:
            await engine.get(damaged_id)
        assert caught.value.job_id == damaged_id
        with pytest.raises(JobDamagedError):
            await engine.transition(damaged_id, JobStatus.RUNNING)
        with pytest.raises(JobDamagedError) as caught:
            await engine.get_many([other.job_id, damaged_id])
        assert caught.value.item == 1
        page = await engine.list_jobs()
        assert (page.jobs, page.damaged) == ((other, live), (damaged_id,))
        first = await engine.list_jobs(limit=1)
        assert (first.jobs, first.damaged) == ((), (damaged_id,))
        assert (await engine.list_jobs(limit=1, after=first.next_cursor)).jobs == (other,)
        assert await engine.get_many([other.job_id, live.job_id]) == [other, live]
        running = await engine.transition(live.job_id, JobStatus.RUNNING)
        assert running.version == 2


async def test_a_damaged_live_job_is_reported_too(path: Path) -> None:
    async with JobEngine(path) as engine:
        job, other = await engine.create_many([NewJob("one"), NewJob("two")])
    _change(path, "UPDATE jobs SET input_hash = 'won' WHERE position = 1")
    async with JobEngine(path) as engine:
        with pytest.raises(JobDamagedError):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(other.job_id, JobStatus.RUNNING)


async def test_the_key_of_a_damaged_job_is_not_given_away(path: Path) -> None:
    async with JobEngine(path) as engine:
        job = await engine.create("one", idempotency_key="key")
    _change(path, "UPDATE jobs SET input_hash = 'won' WHERE position = 1")
    async with JobEngine(path) as engine:
        with pytest.raises(JobDamagedError) as caught:
            await engine.create("one", idempotency_key="key")
        assert caught.value.job_id == job.job_id
        assert await engine.count() == 1


async def test_the_payment_of_a_damaged_job_is_in_use_and_names_it_to_nobody_else(
    path: Path,
) -> None:
    async with JobEngine(SQLiteStorage(path)) as engine:
        job = await engine.create("hash", payment_id="p")
        other = await engine.create("hash")
    _change(path, "UPDATE jobs SET input_hash = 'x' WHERE position = 1")
    async with JobEngine(SQLiteStorage(path)) as engine:
        for refused in (
            engine.create("hash", payment_id="p"),
            engine.create_many([NewJob("hash"), NewJob("hash", payment_id="p")]),
            engine.start(other.job_id, payment_id="p"),
        ):
            with pytest.raises(PaymentInUseError) as in_use:
                await refused
            assert job.job_id not in str(in_use.value)
        for damaged in (
            engine.start(payment_id="p"),
            engine.start(job.job_id, payment_id="p"),
            engine.find(payment_id="p"),
        ):
            with pytest.raises(JobDamagedError) as caught:
                await damaged
            assert caught.value.job_id == job.job_id
        assert await engine.count() == 2


async def test_a_damaged_history_is_not_shown(path: Path) -> None:
    async with JobEngine(path) as engine:
        job = await finished(engine)
    _change(path, "UPDATE transitions SET to_status = 'failed' WHERE sequence = 2")
    async with JobEngine(path) as engine:
        assert await engine.get(job.job_id) == job
        with pytest.raises(JobDamagedError, match="history"):
            await engine.history(job.job_id)


async def _failed(path: Path) -> str:
    """Add a job with a failed attempt that has ended, and return its id."""
    async with JobEngine(path) as engine:
        job = await engine.create("hash", start=True)
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, failed=True)
        await engine.transition(job.job_id, JobStatus.FAILED)
        return job.job_id


@pytest.mark.parametrize("fails", [False, True])
async def test_only_a_job_that_fails_writes_failed_attempts(path: Path, *, fails: bool) -> None:
    statements: list[str] = []

    class Traced(SQLiteStorage):
        def connect(self, path: Path) -> sqlite3.Connection:
            connection = super().connect(path)
            connection.set_trace_callback(statements.append)
            return connection

    async with JobEngine(Traced(path)) as engine:
        job = await engine.create("hash", start=True)
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, failed=fails)
        _, token = await claimed_one(engine)
        await engine.transition(job.job_id, JobStatus.COMPLETED, attempt_token=token)
    assert any("attempts" in each for each in statements) is fails


async def test_a_damaged_failed_attempt_is_not_shown(path: Path) -> None:
    job_id = await _failed(path)
    _change(path, "UPDATE attempts SET error = 'no ink'")
    async with JobEngine(path) as engine:
        with pytest.raises(JobDamagedError, match="in its attempts, its checksum is"):
            await engine.attempts(job_id)
        assert (await engine.get(job_id)).last_error == "no paper"


async def test_a_removed_job_leaves_no_failed_attempt(path: Path) -> None:
    await _failed(path)
    storage = SQLiteStorage(path)
    await storage.open(PAID_JOB_LIFECYCLE.status_outcomes, {}, "running")
    assert len(await storage.remove_ended(None, 0, 1)) == 1
    await storage.aclose()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
    connection.close()
    assert checked(path).findings == ()


async def test_a_file_that_is_gone_takes_no_more_jobs(path: Path) -> None:
    async with JobEngine(path) as engine:
        job = await engine.create("hash")
        path.rename(path.parent / "away.db")
        with pytest.raises(StorageError, match="moved, deleted or replaced"):
            await engine.create("lost")
        path.write_bytes(b"")
        with pytest.raises(StorageError, match="moved, deleted or replaced"):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        assert await engine.get(job.job_id) == job
        path.unlink()
        (path.parent / "away.db").rename(path)
        assert (await engine.transition(job.job_id, JobStatus.RUNNING)).version == 2
    async with JobEngine(path) as engine:
        assert await engine.count() == 1


async def test_a_file_whose_lock_is_gone_takes_no_more_jobs(path: Path) -> None:
    lock = path.with_name("jobs.db-lock")
    async with JobEngine(path) as engine:
        job = await engine.create("hash")
        lock.unlink()
        with pytest.raises(StorageError, match=r"jobs\.db-lock was deleted"):
            await engine.create("lost")
        lock.touch()
        with pytest.raises(StorageError, match=r"jobs\.db-lock was deleted"):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        assert await engine.get(job.job_id) == job
        assert (await engine.list_jobs()).jobs == (job,)
        assert len(await engine.history(job.job_id)) == 1
    async with JobEngine(path) as engine:
        assert (await engine.transition(job.job_id, JobStatus.RUNNING)).version == 2


async def test_a_program_that_holds_the_file_is_waited_for_and_then_told_of(path: Path) -> None:
    class Impatient(SQLiteStorage):
        def connect(self, path: Path) -> sqlite3.Connection:
            connection = super().connect(path)
            connection.execute("PRAGMA busy_timeout = 10")
            return connection

    async with JobEngine(Impatient(path)) as engine:
        job = await engine.create("hash", idempotency_key="key")
        with sqlite3.connect(path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="locked"):
                await engine.create("another")
            assert await engine.get(job.job_id) == job
        other.close()
        await engine.create("another")
        with pytest.raises(IdempotencyConflictError):
            await engine.create("other", idempotency_key="key")


async def test_a_file_without_permission_is_refused_and_said_so() -> None:
    with without_privileges() as folder:
        path = folder / "jobs.db"
        async with JobEngine(path) as engine:
            await engine.create("hash")
        path.chmod(0o400)
        with pytest.raises(StorageReadOnlyError, match="can't be written"):
            async with JobEngine(path):
                pass
        path.chmod(0)
        with pytest.raises(StorageError, match="Permission denied"):
            async with JobEngine(path):
                pass
        folder.chmod(0o500)
        with pytest.raises(StorageError, match="Permission denied"):
            async with JobEngine(folder / "new.db"):
                pass
        folder.chmod(0o700)
        path.chmod(0o600)
        async with JobEngine(path) as engine:
            assert await engine.count() == 1


async def test_a_damaged_note_is_told_of_and_not_gone_by(path: Path) -> None:
    async with JobEngine(path) as engine:
        await engine.create("hash")
    _change(path, "UPDATE engine SET value = 100 WHERE name = 'last_sequence'")
    with pytest.raises(StorageDamagedError, match="the note last_sequence is damaged"):
        async with JobEngine(path):
            pass


async def test_a_status_of_another_lifecycle_is_told_of(path: Path) -> None:
    async with JobEngine(path, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = await engine.create("hash")
        await engine.transition(job.job_id, AgentJobStatus.RUNNING)
        await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
    with pytest.raises(LifecycleError, match="awaiting_input"):
        async with JobEngine(path):
            pass
    async with JobEngine(path, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        assert await engine.count(AgentJobStatus.AWAITING_INPUT) == 1


async def test_an_engine_is_refused_until_another_with_the_same_object_has_closed_it(
    path: Path,
) -> None:
    """Not only until it begins to close: the file would be closed under the new one."""
    storage = SQLiteStorage(path)
    opened = anyio.Event()

    async def first() -> None:
        async with JobEngine(storage) as engine:
            await engine.create("first")
            opened.set()

    async def second() -> None:
        await opened.wait()
        with anyio.fail_after(60):
            while True:
                try:
                    async with JobEngine(storage) as engine:
                        await engine.create("second")
                        return
                except StorageInUseError:
                    await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        tasks.start_soon(second)
    async with JobEngine(path) as engine:
        assert await engine.count() == 2
