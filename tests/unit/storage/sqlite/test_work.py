"""Running jobs in a file: failed commits, damage, and the purpose of the indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from engine import SQLiteStorage, StorageDamagedError, StorageError
from engine.domain.exceptions import CommitUnknownError
from engine.storage import Names
from engine.storage.filter import ALL_JOBS
from engine.storage.record import Damaged, Execution
from engine.storage.sqlite import reading
from engine.storage.sqlite.file import connect_reader
from engine.testing.book import Batch, Book
from engine.testing.store import Session, opened
from engine.testing.values import NOON, OddStatus, prompt_of

pytestmark = pytest.mark.anyio

Add: TypeAlias = Callable[[Batch], Batch]

EXECUTION = Execution(
    priority=1,
    attempt=2,
    failures=3,
    deadline_at=NOON,
    retry_at=NOON,
    deadlines="{}",
    token="{}",  # noqa: S106 - of an attempt
    prompt=prompt_of("{}"),
    answers="{}",
    cancel_reason="{}",
    result_form="json",
    trace="{}",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


class FailingConnection(sqlite3.Connection):
    """Reports one commit as failed; it may have been done."""

    planned: list[bool]

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:  # noqa: ANN401 - handed on
        if statement == "COMMIT" and self.planned:
            if self.planned.pop():
                super().execute(statement)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return super().execute(statement, values)


class FailingStorage(SQLiteStorage):
    """Has a connection that fails as planned: True for a commit that is done."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.planned: list[bool] = []

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, factory=FailingConnection)
        connection.planned = self.planned
        return connection


BATCHES: dict[str, Add] = {
    "one claim": lambda batch: batch.amend("a", attempt=1),
    "claims": lambda batch: batch.amend("a", attempt=1).amend("b", attempt=1),
    "and back again": lambda batch: (
        batch.amend("a", attempt=1).amend("c", attempt=9).amend("c", attempt=2)
    ),
    "the last one stays": lambda batch: batch.amend("a", attempt=1).amend("c", attempt=2),
    "with a move": lambda batch: batch.move("b", OddStatus.RUNNING).amend("c", attempt=2),
    "with a creation": lambda batch: batch.amend("a", attempt=1).create("new", execution=EXECUTION),
    "an end": lambda batch: batch.amend("a", attempt=1).move("c", OddStatus.DONE),
}


@asynccontextmanager
async def _three_jobs(storage: SQLiteStorage, book: Book) -> AsyncIterator[Session]:
    async with opened(storage, book) as session:
        if not book.jobs:
            await session.commit(
                session.batch().create("a").create("b").create("c", execution=EXECUTION)
            )
        yield session


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("add", BATCHES.values(), ids=BATCHES)
async def test_it_is_found_out_what_became_of_a_commit(
    path: Path, add: Add, *, applied: bool
) -> None:
    storage, book = FailingStorage(path), Book()
    async with _three_jobs(storage, book) as session:
        batch = add(session.batch())
        storage.planned.append(applied)
        with pytest.raises(CommitUnknownError):
            await storage.commit(batch.changes)
        with pytest.raises(StorageError, match="not yet known"):
            await storage.transitions(0, 1)
        assert await storage.resolve(batch.changes) is applied
        if applied:
            book.enter(batch.changes)
    # The owner's state does not get the batch: everything is compared with the file.
    async with opened(SQLiteStorage(path), book):
        pass


async def test_an_older_record_is_not_written_over_a_newer_one(path: Path) -> None:
    async with _three_jobs(SQLiteStorage(path), Book()) as session:
        late = session.batch().amend("a", attempt=1)
        await session.commit(session.batch().move("a", OddStatus.RUNNING))
        with pytest.raises(StorageDamagedError, match="is there already"):
            await session.storage.commit(late.changes)
        await session.check()


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    "change",
    [
        *("input = '[]'", "priority = 2", "priority = NULL", "deadlines = '{ }'"),
        *("deadline_at = NULL", "attempt = 3", "failures = NULL", "token = NULL", "token = ''"),
        *("retry_at = deadlines", "prompt = '[]'", "answers = NULL", "cancel_reason = 'None'"),
        "result_form = NULL",
        "trace = NULL",
    ],
)
async def test_a_damaged_work_is_not_shown(path: Path, change: str) -> None:
    book = Book()
    async with _three_jobs(SQLiteStorage(path), book):
        pass
    _change(path, f"UPDATE jobs SET {change} WHERE job_id = 'c'")  # noqa: S608 - from above
    async with _closing(SQLiteStorage(path)) as storage:
        await storage.open({}, {}, OddStatus.RUNNING)
        *_, damaged = (await storage.page(ALL_JOBS, 0, 10)).jobs
    assert isinstance(damaged, Damaged)
    assert damaged.job_id == "c"


async def test_a_work_in_a_job_without_any_is_damage(path: Path) -> None:
    async with _three_jobs(SQLiteStorage(path), Book()):
        pass
    _change(path, "UPDATE jobs SET token = 't' WHERE job_id = 'a'")
    async with _closing(SQLiteStorage(path)) as storage:
        await storage.open({}, {}, OddStatus.RUNNING)
        assert set((await storage.checkout(Names(["a", "b"]))).ids.damaged) == {"a"}


@asynccontextmanager
async def _closing(storage: SQLiteStorage) -> AsyncIterator[SQLiteStorage]:
    try:
        yield storage
    finally:
        await storage.aclose()


@pytest.mark.parametrize(
    ("damage", "of_b_too"),
    [
        ("UPDATE transitions SET to_status = 'done' WHERE sequence = 1", False),
        ("UPDATE transitions SET position = 2 WHERE sequence = 1", True),
        ("DELETE FROM jobs WHERE job_id = 'a'", False),
    ],
)
async def test_damaged_transitions_are_told_of(path: Path, damage: str, *, of_b_too: bool) -> None:
    async with _three_jobs(SQLiteStorage(path), Book()):
        pass
    _change(path, damage)
    async with _closing(SQLiteStorage(path)) as storage:
        await storage.open({}, {}, OddStatus.RUNNING)
        for job_id in (None, *("b" if of_b_too else "")):
            with pytest.raises(StorageDamagedError, match="transition 1"):
                await storage.transitions(0, 10, job_id)
        assert [line.job_id for line in await storage.transitions(1, 10)] == ["b", "c"]


@pytest.mark.parametrize("place", [0, 1])
async def test_an_id_that_is_damaged_in_the_row_or_in_the_index_is_told_of(
    path: Path, place: int
) -> None:
    async with opened(SQLiteStorage(path), Book()) as session:
        await session.commit(session.batch().create("an id of its own"))
    parts = path.read_bytes().split(b"an id of its own")
    assert len(parts) == 3
    parts[place] += b"an if of its own" + parts.pop(place + 1)
    path.write_bytes(b"an id of its own".join(parts))
    async with _closing(SQLiteStorage(path)) as storage:
        await storage.open({}, {}, OddStatus.RUNNING)
        with pytest.raises(StorageDamagedError, match="the job of transition 1 can't be found"):
            await storage.transitions(0, 10)


@pytest.mark.parametrize("others", [[], ["a", "b"]])
async def test_a_job_that_a_damaged_index_leads_to_is_damaged(
    path: Path, others: list[str]
) -> None:
    async with opened(SQLiteStorage(path), Book()) as session:
        await session.commit(session.batch().create("an id of its own").create("a").create("b"))
    in_row, in_index, rest = path.read_bytes().split(b"an id of its own")
    path.write_bytes(in_row + b"an id of its own" + in_index + b"an if of its own" + rest)
    async with _closing(SQLiteStorage(path)) as storage:
        await storage.open({}, {}, OddStatus.RUNNING)
        right = await storage.checkout(Names(["an id of its own", *others]))
        wrong = await storage.checkout(Names(["an if of its own", *others]))
        assert ([*right.ids.jobs], right.ids.damaged) == (others, {})
        assert ([*wrong.ids.jobs], [*wrong.ids.damaged]) == (others, ["an if of its own"])


@pytest.mark.parametrize("number", [1, 2, 1_000])
async def test_jobs_are_found_without_looking_at_all(path: Path, number: int) -> None:
    async with _three_jobs(SQLiteStorage(path), Book()):
        pass
    plan: list[str] = []
    with closing(connect_reader(path)) as reader:

        def explain(statement: str) -> None:
            reader.set_trace_callback(None)
            plan.extend(row[-1] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}"))

        texts = ["a"] * number
        for names in (Names(texts), Names(keys=texts), Names(payments=texts)):
            reader.set_trace_callback(explain)
            reading.checkout(reader, names)
    jobs = [step for step in plan if step.startswith("SEARCH jobs USING INDEX ")]
    columns = ("job_id", "idempotency_key", "blockchain_identifier")
    assert all(f"{column}=?" in step for column, step in zip(columns, jobs, strict=True)), plan
    assert not any("SCAN" in step and "wanted" not in step for step in plan)
    newest = [step for step in plan if "transitions" in step]
    assert all("USING COVERING INDEX transitions_by_job" in step for step in newest)


@pytest.mark.parametrize("job_id", [None, "a"])
async def test_transitions_are_found_without_looking_at_all(path: Path, job_id: str | None) -> None:
    async with _three_jobs(SQLiteStorage(path), Book()):
        pass
    plan: list[str] = []
    with closing(connect_reader(path)) as reader:

        def explain(statement: str) -> None:
            reader.set_trace_callback(None)
            plan.extend(row[-1] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}"))

        reader.set_trace_callback(explain)
        reading.transitions(reader, 0, 10, job_id)
    assert not [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step], plan
    of_one = "SEARCH transitions USING INDEX transitions_by_job (position=? AND rowid>?)"
    of_all = "SEARCH transitions USING INTEGER PRIMARY KEY (rowid>?)"
    assert plan[0] == (of_one if job_id else of_all)
