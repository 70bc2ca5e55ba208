"""Writes without changes of jobs whose commits fail: the storage finds out what became of them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from engine import (
    CommitUnknownError,
    FollowUp,
    JobEngine,
    JobStatus,
    OutcomeUnknownError,
    SQLiteStorage,
    StorageError,
    StorageFullError,
    Worker,
)
from engine.domain.follow_up_rules import StoredRules
from engine.domain.pauses import NO_PAUSES
from engine.storage.audit import AuditLine
from engine.storage.filter import ALL_JOBS
from engine.testing.book import Book
from engine.testing.facades import FACADES, opened_engine
from engine.testing.pausing import paused
from engine.testing.store import Session, opened
from engine.testing.values import NOON, OddStatus

pytestmark = pytest.mark.anyio

Write: TypeAlias = Callable[[SQLiteStorage], Awaitable[Any]]

_LINE: Final = AuditLine(NOON, "us", "act")
_RULES: Final = '[{"kind":"a","to":["done"]}]'
_LOOK: Final = "SELECT name, value, checksum"


async def keep_rules(storage: SQLiteStorage) -> StoredRules:
    return await storage.keep_rules(_RULES, [_LINE])


async def keep_pauses(storage: SQLiteStorage) -> bool:
    return await storage.keep_pauses(paused("a"), NO_PAUSES, [_LINE])


async def note_acts(storage: SQLiteStorage) -> None:
    await storage.note_acts([_LINE])


async def remove_ended(storage: SQLiteStorage) -> list[str]:
    return sorted(await storage.remove_ended(None, 0, 9, _LINE))


ANSWERS: Final[dict[Write, Any]] = {
    keep_rules: StoredRules(text=_RULES),
    keep_pauses: True,
    note_acts: None,
    remove_ended: ["a", "b"],
}
"""By the writes, their answers when they are applied."""

each_write = pytest.mark.parametrize("write", ANSWERS, ids=lambda write: write.__name__)


class FailingConnection(sqlite3.Connection):
    """Reports the planned statements as failed: by how they begin, and whether they are done."""

    planned: list[tuple[str, bool]]
    code = sqlite3.SQLITE_IOERR_FSYNC

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:  # noqa: ANN401 - handed on
        if not self.planned or not statement.startswith(self.planned[0][0]):
            return super().execute(statement, values)
        _, is_done = self.planned.pop(0)
        if is_done:
            super().execute(statement, values)
        raise _failure(self.code)


def _failure(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_PLANNED"
    return error


class FailingStorage(SQLiteStorage):
    """Fails as planned; see `FailingConnection`.

    Attributes:
        refusals: The number of the next connections that fail.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refusals = 0
        self._planned: list[tuple[str, bool]] = []

    @property
    def planned(self) -> list[tuple[str, bool]]:
        return self._planned

    @planned.setter
    def planned(self, planned: list[tuple[str, bool]]) -> None:
        self._planned[:] = planned

    def connect(self, path: Path) -> sqlite3.Connection:
        if self.refusals:
            self.refusals -= 1
            raise _failure(FailingConnection.code)
        connection = sqlite3.connect(
            path, isolation_level=None, factory=FailingConnection, check_same_thread=False
        )
        connection.planned = self.planned
        return connection


@asynccontextmanager
async def two_ended(storage: FailingStorage) -> AsyncIterator[Session]:
    """Open a file with two ended jobs."""
    async with opened(storage, Book()) as session:
        batch = session.batch()
        for name in "ab":
            batch.create(name).move(name, OddStatus.DONE)
        await session.commit(batch)
        yield session


async def is_applied(storage: SQLiteStorage, write: Write) -> bool:
    """Return whether a write has taken effect; check that it has left a line exactly then."""
    jobs = await storage.page(ALL_JOBS, 0, 9)
    assert (await storage.count(ALL_JOBS, 9)).jobs == len(jobs.jobs)
    lines = await storage.audit(None, 9)
    applied: dict[Write, bool] = {
        keep_rules: (await storage.rules()).text == _RULES,
        keep_pauses: await storage.pauses() == paused("a"),
        note_acts: bool(lines),
        remove_ended: not jobs.jobs,
    }
    assert len(lines) == int(applied[write])
    return applied[write]


@each_write
async def test_what_was_applied_nevertheless_is_answered_as_usual(
    write: Write, tmp_path: Path
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with two_ended(storage):
        storage.planned = [("COMMIT", True)]
        assert await write(storage) == ANSWERS[write]
        assert await is_applied(storage, write)


@each_write
async def test_what_was_not_applied_never_will_be(write: Write, tmp_path: Path) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with two_ended(storage):
        storage.planned = [("COMMIT", False)]
        with pytest.raises(StorageError, match="it failed"):
            await write(storage)
        assert not await is_applied(storage, write)
        assert await write(storage) == ANSWERS[write]
        assert await is_applied(storage, write)


async def test_a_full_disk_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FailingConnection, "code", sqlite3.SQLITE_FULL)
    storage = FailingStorage(tmp_path / "jobs.db")
    async with two_ended(storage):
        storage.planned = [("COMMIT", False)]
        with pytest.raises(StorageFullError):
            await keep_pauses(storage)
        assert not await is_applied(storage, keep_pauses)
    assert caplog.records == []


@pytest.mark.parametrize("applied", [True, False])
@each_write
async def test_what_can_not_be_found_out_is_told_so_and_found_out_by_the_next_call(
    write: Write, tmp_path: Path, *, applied: bool
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    twice = [(_LOOK if applied else "COMMIT", False)] * 2
    async with two_ended(storage):
        storage.planned = [("COMMIT", applied), *twice]
        with pytest.raises(CommitUnknownError):
            await write(storage)
        storage.planned = [*twice]
        with pytest.raises(StorageError, match="it failed"):
            await storage.pauses()
        assert storage.planned == []
        assert await is_applied(storage, write) is applied
        if not applied:
            assert await write(storage) == ANSWERS[write]
            assert await is_applied(storage, write)


async def test_a_removal_that_is_repeated_in_doubt_keeps_what_the_rule_keeps(
    tmp_path: Path,
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with two_ended(storage):
        storage.planned, storage.refusals = [("COMMIT", True), (_LOOK, False)], 1
        with pytest.raises(CommitUnknownError):
            await storage.remove_ended(None, 1, 9, _LINE)
        assert storage.refusals == 0
        assert await storage.remove_ended(None, 1, 9, _LINE) == []
        assert [each.job_id for each in (await storage.page(ALL_JOBS, 0, 9)).jobs] == ["b"]


@pytest.mark.parametrize("call", ["count", "statistics"])
@pytest.mark.parametrize("facade", FACADES)
async def test_counts_after_a_removal_in_doubt_wait_for_its_outcome_or_refuse(
    facade: type[Any], call: str, tmp_path: Path
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with opened_engine(facade, storage) as engine:
        job = await engine.create("hash", start=True)
        await engine.transition(job.job_id, JobStatus.COMPLETED)
        twice = [(_LOOK, False)] * 2
        storage.planned = [("COMMIT", True), *twice]
        with pytest.raises(OutcomeUnknownError):
            await engine.prune(keep=0)
        storage.planned = [*twice]
        with pytest.raises(StorageError, match="it failed"):
            await getattr(engine, call)()
        assert storage.planned == []
        told = await getattr(engine, call)()
        assert (told if call == "count" else sum(told.jobs.values())) == 0


@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_follows_a_pause_in_doubt_that_was_applied(
    facade: type[Any], tmp_path: Path
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with opened_engine(facade, storage) as engine:
        await engine.create("hash", kind="a", start=True)
        storage.planned = [("COMMIT", True), *[(_LOOK, False)] * 2]
        with pytest.raises(OutcomeUnknownError, match="read what you meant to change"):
            await engine.pause("a", by="us")
        assert (await engine.statistics()).paused == 1
        assert not await engine.pause("a", by="us")
        assert [each.kind for each in await engine.paused()] == ["a"]
        assert len(await engine.audit()) == 1


async def test_a_claim_that_waits_is_served_after_a_resume_in_doubt(tmp_path: Path) -> None:
    async def work(_: object) -> str:
        return "done"

    storage = FailingStorage(tmp_path / "jobs.db")
    async with JobEngine(storage) as engine, Worker(engine, {"a": work}):
        await engine.pause("a")
        job = await engine.create("hash", kind="a", start=True)
        storage.planned = [("COMMIT", True), *[(_LOOK, False)] * 2]
        with pytest.raises(OutcomeUnknownError):
            await engine.resume("a")
        assert (await engine.wait(job.job_id, timeout=10)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("undo", [True, False])
@pytest.mark.parametrize("facade", FACADES)
async def test_a_drain_in_doubt_is_done_once_and_exactly_if_the_audit_has_it(
    facade: type[Any], tmp_path: Path, *, undo: bool, applied: bool
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    async with opened_engine(facade, storage) as engine:
        await engine.drain(undo=not undo)
        storage.planned = [("COMMIT", applied), *[(_LOOK if applied else "COMMIT", False)] * 2]
        with pytest.raises(OutcomeUnknownError):
            await engine.drain(undo=undo, by="us")
        assert (await engine.statistics()).draining is (undo is not applied)
        assert len(await engine.audit()) == int(applied)
        await engine.drain(undo=undo, by="us")
        assert (await engine.statistics()).draining is not undo
        assert len(await engine.audit()) == 1


@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_follows_rules_in_doubt_that_were_applied(
    facade: type[Any], tmp_path: Path
) -> None:
    storage = FailingStorage(tmp_path / "jobs.db")
    rule = FollowUp("a", to={JobStatus.COMPLETED})
    async with opened_engine(facade, storage, follow_ups=[rule]) as engine:
        job = await engine.create("hash", start=True)
        storage.planned = [("COMMIT", True), *[(_LOOK, False)] * 2]
        with pytest.raises(OutcomeUnknownError, match="read what you meant to change"):
            await engine.remove_rule("a", by="us")
        await engine.transition(job.job_id, JobStatus.COMPLETED)
        assert await engine.follow_ups(job.job_id) == []
        assert await engine.rules() == []


async def test_an_opening_whose_rules_are_in_doubt_is_refused(tmp_path: Path) -> None:
    """It opens or not; the next one keeps the rules."""
    rule = FollowUp("a", to={JobStatus.COMPLETED})
    storage = FailingStorage(tmp_path / "jobs.db")
    async with JobEngine(storage):
        pass
    storage.planned = [("COMMIT", False)] * 3
    with pytest.raises(StorageError, match="it failed"):
        async with JobEngine(storage, follow_ups=[rule]):
            pass
    async with JobEngine(storage, follow_ups=[rule]) as engine:
        assert [each.kind for each in await engine.rules()] == ["a"]
