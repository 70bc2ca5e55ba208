"""An engine's reactions when a statement fails, or a read finds damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    PAID_JOB_LIFECYCLE,
    DuplicateJobIdError,
    FollowUp,
    JobEngine,
    JobStatus,
    Lifecycle,
    Move,
    NewJob,
    PastStatus,
    Retention,
    SQLiteStorage,
    StorageError,
    Transition,
)
from engine.storage.sqlite import notes, removing
from engine.storage.sqlite.file import connect_reader
from engine.testing.facades import FACADES, opened_engine
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount >= 1


def _io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = 1034
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    return error


class FailingConnection(sqlite3.Connection):
    """Fails in the statements with planned beginnings, once each."""

    planned: list[str]

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:  # noqa: ANN401 - handed on
        for start in self.planned:
            if statement.startswith(start):
                self.planned.remove(start)
                raise _io_error()
        return super().execute(statement, values)


class FailingStorage(SQLiteStorage):
    """Has a connection that fails as planned."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.planned: list[str] = []
        self.connections: list[sqlite3.Connection] = []

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, factory=FailingConnection, check_same_thread=False
        )
        connection.planned = self.planned
        self.connections.append(connection)
        return connection


@pytest.mark.parametrize("planned", [["INSERT", "ROLLBACK"], ["COMMIT"], ["COMMIT", "ROLLBACK"]])
@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_goes_on_after_statements_that_failed(
    facade: type[Any], planned: Sequence[str], path: Path
) -> None:
    storage = FailingStorage(path)
    async with opened_engine(facade, storage) as engine:
        job = await engine.create("a")
        for _ in range(3):
            storage.planned[:] = planned
            with pytest.raises(StorageError):
                await engine.create("lost")
            assert await engine.get(job.job_id) == job
        storage.planned.clear()
        other = await engine.create("b")
        assert (await engine.list_jobs()).jobs == (job, other)
        assert [line.sequence for line in await engine.history(other.job_id)] == [2]


@pytest.mark.parametrize("planned", ["PRAGMA synchronous", "PRAGMA journal_mode"])
async def test_a_connection_that_can_not_be_set_up_is_closed(planned: str, path: Path) -> None:
    storage = FailingStorage(path)
    async with JobEngine(storage) as engine:
        for failing in (["INSERT", "ROLLBACK"], [planned]):
            storage.planned[:] = failing
            with pytest.raises(StorageError):
                await engine.create("lost")
        assert len(storage.connections) == 2
        for connection in storage.connections:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.execute("SELECT 1")
        await engine.create("a")
        assert len(storage.connections) == 3


async def test_each_commit_that_failed_is_overwritten_by_what_is_different(path: Path) -> None:
    """SQLite would not write an equal page: the failed batch would stay in the log."""
    storage = FailingStorage(path)
    async with JobEngine(storage) as engine:
        for failures in (1, 2, 3):
            storage.planned[:] = ["COMMIT"]
            with pytest.raises(StorageError):
                await engine.create("lost")
            with closing(connect_reader(path)) as reader:
                assert notes.read_note(reader, "failed_commits") == failures


@pytest.mark.parametrize("before", [None, datetime.max.replace(tzinfo=UTC)])
async def test_what_to_remove_is_found_without_looking_at_all(
    before: datetime | None, path: Path
) -> None:
    async with JobEngine(path) as engine:
        await finished(engine)
    plans: list[str] = []
    with closing(connect_reader(path)) as reader:

        def explain(statement: str) -> None:
            if statement.lstrip().startswith("SELECT"):
                reader.set_trace_callback(None)
                plan = reader.execute(f"EXPLAIN QUERY PLAN {statement}")
                plans.extend(row[-1] for row in plan)

        reader.set_trace_callback(explain)
        too_many = 1 if before is None else 0
        assert removing.removable_jobs(reader, {"completed"}, before, too_many, 1)
    assert "INDEX jobs_by_end" in plans[0]
    assert not any(each.startswith("SCAN jobs") and "INDEX" not in each for each in plans)


async def test_the_id_of_a_damaged_job_is_taken(path: Path) -> None:
    ids = iter(["one", "one", "two", "one", "two", "three"])
    async with JobEngine(path, new_id=ids.__next__) as engine:
        await finished(engine)
        with pytest.raises(DuplicateJobIdError):
            await engine.create("again")
        await engine.create("live")
    for position in (1, 2):
        _change(path, f"UPDATE jobs SET input_hash = 'other' WHERE position = {position}")  # noqa: S608 - a number
    async with JobEngine(path, new_id=ids.__next__) as engine:
        for job_id in ("one", "two"):
            with pytest.raises(DuplicateJobIdError) as caught:
                await engine.create("again")
            assert caught.value.job_id == job_id
        assert (await engine.create("again")).job_id == "three"


async def test_many_ids_of_ended_jobs_are_refused_at_once(path: Path) -> None:
    taken = [f"job {number}" for number in range(200)]
    async with JobEngine(path, new_id=iter(taken).__next__) as engine:
        await engine.create_many([NewJob("a")] * 200)
        for status in (JobStatus.RUNNING, JobStatus.FAILED):
            await engine.transition_many([Move(job_id, status) for job_id in taken])
    refused: list[str] = []

    async def create(engine: JobEngine) -> None:
        try:
            await engine.create("again")
        except DuplicateJobIdError as error:
            refused.append(error.job_id)

    class Counting(SQLiteStorage):
        commits = 0

        async def commit(self, changes: Any, lines: Any = ()) -> None:  # noqa: ANN401 - handed on
            self.commits += 1
            await super().commit(changes, lines)

    storage = Counting(path)
    async with JobEngine(storage, new_id=iter([*taken, "new"]).__next__) as engine:
        async with anyio.create_task_group() as tasks:
            for _ in range(201):
                tasks.start_soon(create, engine)
        assert await engine.count() == 201
    assert sorted(refused) == sorted(taken)
    assert storage.commits <= 4


async def test_damaged_jobs_are_not_removed_and_are_in_nobodys_way(path: Path) -> None:
    async with JobEngine(path) as engine:
        jobs = [await finished(engine) for _ in range(4)]
    _change(path, "UPDATE jobs SET ended_at = '1' || substr(ended_at, 2) WHERE position < 3")
    for rule in (
        Retention(max_age=timedelta(days=9_000), interval_seconds=0.001),
        Retention(max_jobs=2, interval_seconds=0.001),
    ):
        async with JobEngine(path, retention=rule) as engine:
            before = (await engine.statistics()).answered
            with anyio.fail_after(60):
                for asked in range(1, 1_000_000):
                    if (await engine.statistics()).answered > before + asked + 3:
                        break
            page = await engine.list_jobs()
            kept = 2 if rule.max_jobs is None else 0
            assert page.jobs == tuple(jobs[4 - kept :])
            assert page.damaged == (jobs[0].job_id, jobs[1].job_id)


async def test_a_family_stays_with_a_damaged_follow_up(path: Path) -> None:
    rules = [FollowUp("settle", to={JobStatus.COMPLETED})]
    families: list[set[str]] = []
    async with JobEngine(path, follow_ups=rules) as engine:
        for _ in range(2):
            job = await finished(engine)
            [settle] = await engine.follow_ups(job.job_id)
            await engine.transition(settle.job_id, JobStatus.FAILED)
            families.append({job.job_id, settle.job_id})
    _change(path, "UPDATE jobs SET error = 'another' WHERE position = 2")
    storage = SQLiteStorage(path)
    await storage.open(PAID_JOB_LIFECYCLE.status_outcomes, {}, JobStatus.RUNNING)
    for before, keep in ((datetime.max.replace(tzinfo=UTC), None), (None, 0)):
        removed = {*await storage.remove_ended(before, keep, 10)}
        assert removed == (families[1] if keep is None else set())
    await storage.aclose()


class Before(StrEnum):
    NEW = "new"
    CHECKED = "checked"
    WORKING = "working"
    DONE = "done"
    LOST = "lost"


class After(StrEnum):
    NEW = "new"
    WORKING = "working"
    DONE = "done"
    LOST = "lost"


def _lifecycle(kind: Any, first: Any) -> Lifecycle[Any]:  # noqa: ANN401 - of either kind
    moves = {status: set[Any]() for status in kind}
    moves[kind.NEW] = {first}
    moves[first] |= {kind.WORKING} - {first}
    moves[kind.WORKING] = {kind.DONE, kind.LOST}
    how = {"initial": kind.NEW, "running": kind.WORKING}
    return Lifecycle(kind, moves, success={kind.DONE}, failure={kind.LOST}, **how)


async def test_a_status_in_a_history_that_is_now_unknown_is_shown_as_its_text(path: Path) -> None:
    async with JobEngine(path, lifecycle=_lifecycle(Before, Before.CHECKED)) as engine:
        job = await engine.create("a")
        for status in (Before.CHECKED, Before.WORKING, Before.DONE):
            job = await engine.transition(job.job_id, status, expected_version=job.version)
    async with JobEngine(path, lifecycle=_lifecycle(After, After.WORKING)) as again:
        assert (await again.get(job.job_id)).status is After.DONE
        lines = await again.history(job.job_id)
        assert [str(line.to_status) for line in lines] == ["new", "checked", "working", "done"]
        assert [type(line.to_status) for line in lines] == [After, PastStatus, After, After]
        assert lines[2].from_status == PastStatus("checked") == lines[1].to_status.value
        assert [line async for line in again.watch(job.job_id, after=1)] == lines[1:]
        kind = Transition[After]
        for line in lines:
            assert kind.model_validate_json(line.model_dump_json()) == line
            assert type(kind.model_validate_json(line.model_dump_json())) is type(line)
