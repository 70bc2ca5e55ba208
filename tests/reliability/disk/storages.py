"""The SQLite storage on a recorded disk, and a workload on it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import anyio

from engine import JobEngine, SQLiteStorage, StorageError
from engine.storage import Change, Opened
from engine.storage.audit import AuditLine
from tests.inline import InlineStorage
from tests.reliability.disk.account import Account, Told
from tests.reliability.disk.callers import Caller
from tests.reliability.disk.stored import DATABASE
from tests.reliability.disk.vfs import Disk, recorded

CALLERS: Final = 3
SECONDS_AGAINST_HANGS: Final = 60
COMMITS_IN_THE_LOG: Final = 10
PAGES_IN_THE_LOG: Final = 25
"""Lower than the storage's own limit, which would never move the log into the database here."""
PAGES_IN_MEMORY: Final = 8
"""So few that SQLite has to read from the disk, and has to write before the commit."""


class RecordedStorage(SQLiteStorage):
    """The SQLite storage on a recorded disk."""

    def __init__(self, disk: Disk, account: Account) -> None:
        super().__init__(disk.recording.folder / DATABASE)
        self._disk = disk
        self._account = account

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = self._disk.connect(path)
        connection.execute(f"PRAGMA cache_size = {PAGES_IN_MEMORY}")
        return connection

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self._account.begin_commit(changes)
        try:
            await self.write(changes, lines)
        except StorageError:
            self._account.end_commit(Told.REFUSED, had_failed=True)
            raise
        self._account.end_commit(Told.APPLIED, had_failed=False)

    async def resolve(self, changes: Sequence[Change]) -> bool:
        applied = await self.look_up(changes)
        told = Told.APPLIED if applied else Told.REFUSED
        self._account.end_commit(told, had_failed=True)
        return applied

    async def write(self, changes: Sequence[Change], lines: Sequence[AuditLine]) -> None:
        """Commit. Bugs are planted here."""
        await super().commit(changes, lines)

    async def look_up(self, changes: Sequence[Change]) -> bool:
        """Find out the outcome of a commit. Bugs are planted here."""
        return await super().resolve(changes)


class InlineRecordedStorage(InlineStorage, RecordedStorage):
    """It commits on the event loop."""


class UnsyncedStorage(RecordedStorage):
    """Its bug: it commits with synchronous NORMAL, which syncs the log only at a checkpoint."""

    def connect(self, path: Path) -> sqlite3.Connection:
        self._connection = super().connect(path)
        return self._connection

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        opened = await super().open(outcomes, renamed, running)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        return opened


class HalvingStorage(RecordedStorage):
    """Its bug: it commits a batch in two transactions."""

    async def write(self, changes: Sequence[Change], lines: Sequence[AuditLine]) -> None:
        half = len(changes) // 2
        for part in (changes[:half], changes[half:]):
            if part:
                await super().write(part, lines)


class SaysNo(RecordedStorage):
    """Its bug: it reports a failed commit as not applied, without looking."""

    async def look_up(self, changes: Sequence[Change]) -> bool:
        del changes
        return False


class SaysYes(RecordedStorage):
    """Its bug: it reports a failed commit as applied, without looking."""

    async def look_up(self, changes: Sequence[Change]) -> bool:
        del changes
        return True


@dataclass
class Bench:
    """An engine on a recorded disk, and the account of its callers."""

    disk: Disk
    engine: JobEngine
    account: Account


@asynccontextmanager
async def running(
    folder: Path, kind: type[RecordedStorage] = RecordedStorage
) -> AsyncIterator[Bench]:
    """Run an engine on a file that is made before the recording begins."""
    folder.mkdir()
    async with JobEngine(SQLiteStorage(folder / DATABASE)):
        pass
    with recorded(folder) as disk:
        async with _running(disk, kind) as bench:
            yield bench


@asynccontextmanager
async def making_a_file(folder: Path) -> AsyncIterator[Bench]:
    """Run an engine that makes its file, and record that, too."""
    folder.mkdir()

    def connect(database: Path, **how: Any) -> sqlite3.Connection:  # noqa: ANN401 - as sqlite3
        if Path(database).parent == folder:
            return disk.connect(Path(database))
        plain: sqlite3.Connection = plainly(database, **how)
        return plain

    plainly = sqlite3.connect
    with recorded(folder) as disk, patch("sqlite3.connect", connect):
        async with _running(disk, RecordedStorage) as bench:
            yield bench


@asynccontextmanager
async def _running(disk: Disk, kind: type[RecordedStorage]) -> AsyncIterator[Bench]:
    account = Account(lambda: disk.recording.moment)
    with (
        patch("engine.storage.sqlite.database._LOG_COMMITS", COMMITS_IN_THE_LOG),
        patch("engine.storage.sqlite.connection._LOG_PAGES", PAGES_IN_THE_LOG),
    ):
        async with JobEngine(kind(disk, account)) as engine:
            yield Bench(disk, engine, account)


async def work(bench: Bench, random: Random, rounds: int, name: str = "work") -> None:
    """Let some callers work at the same time; use each name once."""
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS):
                own = Random(random.random())
                caller = Caller(f"{name}, caller {number}", bench.engine, bench.account, own)
                tasks.start_soon(caller.work, rounds)
