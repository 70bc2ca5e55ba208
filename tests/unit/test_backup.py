"""Backup: a copy of all acknowledged changes, made while others write, whole or absent."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    CallTimeoutError,
    EngineClosedError,
    EngineNotStartedError,
    InvalidValueError,
    JobEngine,
    NewJob,
    SQLiteStorage,
    StorageError,
    SyncJobEngine,
)
from engine.storage import ProgressCallback
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.partial import partial_copy
from engine.storage.sqlite.rights import Rights
from engine.testing.facades import FACADES, opened_engine
from tests.systems import needs_fork, needs_proc, skip_without_permissions
from tests.tries import thorough
from tests.unit.finishing import finished
from tests.unit.storage.sqlite.privileges import without_privileges

pytestmark = pytest.mark.anyio

SECONDS_AGAINST_HANGS = 60
WRONG_PATHS: list[Any] = [
    *(None, "", 7, b"copy.db", "a\0b"),
    *(":memory:", "sqlite://", "sqlite:///:memory:"),
    *("file:copy.db", "sqlite:///copy.db?mode=ro", "postgresql://host/copy"),
]


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("form", [str, Path])
async def test_a_copy_is_an_engines_file(
    facade: type[Any], form: type[Any], tmp_path: Path
) -> None:
    async with opened_engine(facade, tmp_path / "jobs.db") as engine:
        job, live = await finished(engine), await engine.create("hash", idempotency_key="key")
        await engine.backup(form(tmp_path / "copy.db"))
        await engine.create("later")
        history = await engine.history(job.job_id)
    async with opened_engine(facade, tmp_path / "copy.db") as copy:
        assert (await copy.list_jobs()).jobs == (job, live)
        assert await copy.history(job.job_id) == history
        assert await copy.create("hash", idempotency_key="key") == live


async def test_a_copy_is_of_one_moment_though_others_write(tmp_path: Path) -> None:
    async with JobEngine(tmp_path / "jobs.db") as engine:
        await engine.create_many([NewJob("x" * 256) for _ in range(5_000)])
        acknowledged, copied = 0, anyio.Event()

        async def write() -> None:
            nonlocal acknowledged
            while not copied.is_set():
                await engine.create_many([NewJob("hash")] * 10)
                acknowledged += 10

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(write)
            while acknowledged < 100:
                await anyio.lowlevel.checkpoint()
            before = acknowledged
            await engine.backup(tmp_path / "copy.db")
            after = acknowledged
            copied.set()
    async with JobEngine(tmp_path / "copy.db") as copy:
        jobs = await copy.count() - 5_000
        assert jobs % 10 == 0
        assert before <= jobs <= after + 20
        assert (await copy.statistics()).last_sequence == 5_000 + jobs


@pytest.mark.parametrize("facade", FACADES)
async def test_what_is_there_is_never_written_over(facade: type[Any], tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    async with opened_engine(facade, tmp_path / "jobs.db") as engine:
        for target, problem in {
            tmp_path / "copy.db": "is there already",
            tmp_path / "jobs.db": "is there already",
            tmp_path / "missing" / "copy.db": "there is no folder",
        }.items():
            with pytest.raises(StorageError, match=problem):
                await engine.backup(target)
        await engine.create("hash")
    assert (tmp_path / "copy.db").read_text() == "precious"


@pytest.mark.parametrize("facade", FACADES)
async def test_a_copy_is_made_at_a_path_or_a_url(
    facade: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened_engine(facade, "jobs.db") as engine:
        await engine.create("hash")
        before = _files_beside(tmp_path / "jobs.db")
        for wrong in WRONG_PATHS:
            with pytest.raises(InvalidValueError, match=r"^path must be"):
                await engine.backup(wrong)
        assert _files_beside(tmp_path / "jobs.db") == before
        await engine.backup("sqlite:///copy.db")
    async with opened_engine(facade, tmp_path / "copy.db") as copy:
        assert await copy.count() == 1


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_copy_has_the_mode_of_its_file_from_the_start(mode: int, tmp_path: Path) -> None:
    skip_without_permissions()
    path, partial_modes = tmp_path / "jobs.db", set[int]()
    with SyncJobEngine(path) as engine:
        engine.create("hash")
    path.chmod(mode)

    def look(_done: int, _of: int) -> None:
        partial_modes.update(_mode(each) for each in tmp_path.glob("copy.db-partial-*"))

    SQLiteStorage(path).backup(tmp_path / "copy.db", look)
    assert partial_modes == {mode}
    assert _mode(tmp_path / "copy.db") == mode


def test_a_file_that_may_only_be_read_is_copied() -> None:
    with without_privileges() as folder:
        path = folder / "jobs.db"
        with SyncJobEngine(path) as engine:
            engine.create("hash")
        path.chmod(0o400)
        SQLiteStorage(path).backup(folder / "copy.db", lambda _done, _of: None)
        assert _mode(folder / "copy.db") in {0o400, 0o600}


def test_a_copy_is_no_link_to_another_place(tmp_path: Path) -> None:
    (tmp_path / "copy.db").symlink_to(tmp_path / "elsewhere.db")
    with (
        SyncJobEngine(tmp_path / "jobs.db") as engine,
        pytest.raises(StorageError, match="is there already"),
    ):
        engine.backup(tmp_path / "copy.db")
    assert not (tmp_path / "elsewhere.db").exists()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class LongBackupStorage(SQLiteStorage):
    """Its first backup repeats the progress of its first step until it is stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun = threading.Event()
        self.files_when_begun: set[str] = set()

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        def tell(done: int, of: int) -> None:
            if not self.begun.is_set():
                self.files_when_begun = _files_beside(self.path)
                self.begun.set()
                end = time.monotonic() + SECONDS_AGAINST_HANGS
                while time.monotonic() < end:
                    progress(done, of)

        super().backup(path, tell)


def _files_beside(path: Path) -> set[str]:
    """Return the other names in the folder of an open file."""
    own = {f"{path.name}{suffix}" for suffix in ("", "-wal", "-shm", "-lock", "-control")}
    return {each.name for each in path.parent.iterdir()} - own


async def test_a_cancelled_backup_leaves_no_file(tmp_path: Path) -> None:
    storage = LongBackupStorage(tmp_path / "jobs.db")
    async with JobEngine(storage) as engine:
        await engine.create_many([NewJob("x" * 256) for _ in range(10_000)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.backup, tmp_path / "copy.db")
            assert await anyio.to_thread.run_sync(storage.begun.wait, SECONDS_AGAINST_HANGS)
            tasks.cancel_scope.cancel()
        assert any("partial" in name for name in storage.files_when_begun)
        assert _files_beside(storage.path) == set()


@pytest.mark.thorough
def test_a_backup_that_takes_too_long_leaves_no_file(tmp_path: Path) -> None:
    storage = LongBackupStorage(tmp_path / "jobs.db")
    with SyncJobEngine(storage) as engine:
        engine.create_many([NewJob("x" * 256) for _ in range(10_000)])
        with pytest.raises(CallTimeoutError):
            engine.backup(tmp_path / "copy.db", timeout=1)
        assert any("partial" in name for name in storage.files_when_begun)
        assert _files_beside(storage.path) == set()
        engine.backup(tmp_path / "copy.db", timeout=100)
    with SyncJobEngine(tmp_path / "copy.db") as copy:
        assert copy.count() == 10_000


def _ignore(_done: int, _of: int) -> None:
    pass


@needs_fork
@pytest.mark.parametrize("jobs", [1, *thorough(10_000)])  # in one step, and in several
def test_what_a_killed_backup_left_is_removed_by_the_next(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(path) as engine:
        engine.create_many([NewJob("x" * 256)] * jobs)

    def stop(_done: int, _of: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        back_up(path, tmp_path / "monday.db", stop)
    os.waitpid(child, 0)
    [left] = tmp_path.glob(f"monday.db-partial-{'[0-9a-f]' * 16}")
    left.with_name(f"{left.name}-journal").touch()
    back_up(path, tmp_path / "tuesday.db", _ignore)
    assert _files_beside(path) == {"tuesday.db"}


def test_the_partial_copy_of_a_living_backup_stays(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(path) as engine:
        engine.create("hash")
    others: list[Path] = []

    def copy_again(_done: int, _of: int) -> None:
        back_up(path, tmp_path / "other.db", _ignore)
        others.extend(tmp_path.glob(f"copy.db-partial-{'[0-9a-f]' * 16}"))

    back_up(path, tmp_path / "copy.db", copy_again)
    assert len(others) == 1
    for name in ("copy.db", "other.db"):
        with SyncJobEngine(tmp_path / name) as copy:
            assert copy.count() == 1


def test_a_file_with_a_similar_name_stays(tmp_path: Path) -> None:
    path, victim = tmp_path / "jobs.db", tmp_path / "victim"
    with SyncJobEngine(path) as engine:
        engine.create("hash")
    victim.write_text("precious")
    names = ["copy.db-partial-1", "copy.db-partial-0123456789abcdef.txt", "-partial-" + "0" * 16]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f"report-partial-{'0' * 16}").write_text("mine")
    with closing(sqlite3.connect(tmp_path / f"database-partial-{'0' * 16}")) as database:
        database.execute("CREATE TABLE mine (x)")
    with SyncJobEngine(tmp_path / f"engine-partial-{'0' * 16}") as mine:
        mine.create("hash")
    (tmp_path / f"link-partial-{'0' * 16}").symlink_to(victim)
    (tmp_path / f"folder-partial-{'0' * 16}").mkdir()
    before = _files_beside(path)
    back_up(path, tmp_path / "copy.db", _ignore)
    assert _files_beside(path) == {*before, "copy.db"}
    assert victim.read_text() == "precious"


def test_a_copy_that_is_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, removed = tmp_path / "jobs.db", list[Path]()
    with SyncJobEngine(path) as engine:
        engine.create("hash")

    def rename_late(source: Path, target: Path) -> None:
        if len(removed) < most:
            Path(source).unlink()  # as another backup does, which finds it unlocked
            removed.append(source)
        rename(source, target)

    rename, most = os.replace, 2
    monkeypatch.setattr(os, "replace", rename_late)
    back_up(path, tmp_path / "copy.db", _ignore)
    assert len(removed) == most
    assert check_file(tmp_path / "copy.db", _ignore).problems == 0
    most = 99
    with pytest.raises(StorageError, match="its unfinished copy was removed each time"):
        back_up(path, tmp_path / "other.db", _ignore)
    assert not [*tmp_path.glob("*-partial-*")]


@needs_proc
def test_a_copy_gets_its_name_when_it_is_complete_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing it later would end the locks of an engine that has opened it by its name."""
    path, seen = tmp_path / "jobs.db", list[tuple[set[str], set[str]]]()
    with SyncJobEngine(path) as engine:
        engine.create("hash")

    def look(source: Path, target: Path) -> None:
        opened = {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}
        logs = {each.name for each in tmp_path.glob("*-wal") if each.stat().st_size}
        seen.append(({name for name in opened if "partial" in name}, logs))
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr(os, "replace", look)
    back_up(path, tmp_path / "copy.db", _ignore)
    assert seen == [(set(), set())]


def test_a_copy_with_a_part_in_its_log_is_none(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with partial_copy(target, Rights(0o600)) as partial:
        partial.path.with_name(f"{partial.path.name}-wal").write_bytes(b"the newest changes")
        with pytest.raises(StorageError, match="has still a log"):
            partial.publish(target)
    assert list(tmp_path.iterdir()) == []


async def test_only_a_started_engine_is_copied(tmp_path: Path) -> None:
    engine = JobEngine(tmp_path / "jobs.db")
    with pytest.raises(EngineNotStartedError):
        await engine.backup(tmp_path / "copy.db")
    async with engine:
        pass
    with pytest.raises(EngineClosedError):
        await engine.backup(tmp_path / "copy.db")
