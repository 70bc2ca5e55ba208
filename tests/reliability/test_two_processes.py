"""Rows 12 and 13: two engines and one file, in two processes, in one, and across a fork.

The second engine is refused at once, by an error that names the holder. The end of the holder, of
any kind, frees the file; its forked child neither holds the file nor harms it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from engine import JobEngine, SQLiteStorage, StorageError, StorageInUseError, SyncJobEngine
from engine.storage.sqlite.check import check_file
from tests.files import as_killed
from tests.reliability.programs.zygote import program
from tests.systems import needs_fork
from tests.tries import report, thorough, tries

FULL_KILLS = 50
FULL_FORKS = 50
TRIES = 3
SECONDS_TO_REFUSE = 1
"""For the fastest of so many tries: a busy machine may hold up one, but not each."""
SECONDS = 60


@contextmanager
def _holder(path: Path, children: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds a file."""
    with program("holder", str(path), str(children)) as process:
        try:
            assert process.stdout is not None
            said = {process.stdout.readline() for _ in range(children + 1)}
            assert said == {f"{process.pid}\n", *["forked\n"] * children}
            yield process
        finally:
            process.kill()


@contextmanager
def _refused(path: Path, pid: int) -> Iterator[None]:
    """Check that opening is refused by an error with the process id of the holder."""
    with pytest.raises(StorageInUseError) as refused:
        yield
    this = " (this process)" if pid == os.getpid() else ""
    assert refused.value.holder.startswith(f"process {pid}{this} on ")
    assert refused.value.storage == str(path)


def _seconds_to_refuse(path: Path, pid: int) -> float:
    """Try to open a file that a process has; return how long that took."""
    began = time.monotonic()
    with _refused(path, pid):
        SyncJobEngine(path)
    return time.monotonic() - began


def _count(path: Path) -> int:
    """Open a file, read it, and close it."""
    with SyncJobEngine(path) as engine:
        return engine.count()


def _intact(path: Path) -> bool:
    return not check_file(path, lambda _done, _of: None).findings


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path, kills = tmp_path / "jobs.db", tries(FULL_KILLS)
    for number in range(1, kills + 1):
        with _holder(path) as first:
            fastest = min(_seconds_to_refuse(path, first.pid) for _ in range(TRIES))
            assert fastest < SECONDS_TO_REFUSE
            first.kill()
            first.wait(SECONDS)
            assert _count(path) == number
    assert _intact(path)
    report(f"{kills} holders killed, {TRIES * kills} engines refused")


@pytest.mark.thorough
def test_an_engine_that_does_not_lock_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda _descriptor, _operation: None)
    path = tmp_path / "jobs.db"
    with (
        _holder(path) as first,
        pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"),
        _refused(path, first.pid),
    ):
        SyncJobEngine(path).close()


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_second_engine_is_refused_when_it_is_awaited(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with _holder(path) as first:
        with _refused(path, first.pid):
            async with JobEngine(path):
                pass
        first.kill()
        first.wait(SECONDS)
        async with JobEngine(path) as engine:
            assert await engine.count() == 1


def test_a_second_engine_of_the_same_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(path) as first:
        fastest = min(_seconds_to_refuse(path, os.getpid()) for _ in range(TRIES))
        assert fastest < SECONDS_TO_REFUSE
        first.create("after it")
    assert _count(path) == 1


def test_a_second_engine_of_the_same_storage_is_refused(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "jobs.db")
    with SyncJobEngine(storage) as first:
        with pytest.raises(StorageInUseError):
            SyncJobEngine(storage)
        first.create("after it")
    with SyncJobEngine(storage) as again:
        assert again.count() == 1


def test_a_file_is_the_same_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with SyncJobEngine("jobs.db") as first:
        with _refused(tmp_path / "jobs.db", os.getpid()):
            SyncJobEngine(tmp_path / "jobs.db")
        monkeypatch.chdir("/")
        first.create("from another folder")
    assert _count(tmp_path / "jobs.db") == 1


@pytest.mark.parametrize("link_first", [False, True])
def test_a_file_is_the_same_through_a_symbolic_link(tmp_path: Path, *, link_first: bool) -> None:
    path, link, folder = tmp_path / "jobs.db", tmp_path / "link.db", tmp_path / "folder"
    assert _count(path) == 0
    link.symlink_to(path)
    folder.symlink_to(tmp_path)
    for other in (link, folder / "jobs.db", folder / "link.db"):
        one, two = (other, path) if link_first else (path, other)
        with SyncJobEngine(one) as first:
            with pytest.raises(StorageInUseError):
                SyncJobEngine(two)
            first.create("after it")
    assert _count(path) == 3


def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    assert _count(path) == 0
    (tmp_path / "other.db").hardlink_to(path)
    with pytest.raises(StorageError, match="hard links"):
        SyncJobEngine(tmp_path / "other.db")


READ_AND_CLOSE = (
    "import sqlite3, sys; "
    "connection = sqlite3.connect(sys.argv[1]); "
    "connection.execute('SELECT count(*) FROM jobs').fetchall(); "
    "connection.close()"
)


def test_other_programs_may_read_a_file_after_a_backup_and_a_check(tmp_path: Path) -> None:
    """A process that opens and closes a file loses its locks on it; then others tidy it up."""
    path = tmp_path / "jobs.db"
    with SyncJobEngine(path) as engine:
        engine.create("first")
        engine.backup(tmp_path / "copy.db")
        assert _intact(path)
        with pytest.raises(StorageInUseError):
            SyncJobEngine(path)
        for _ in range(2):
            subprocess.run([sys.executable, "-c", READ_AND_CLOSE, str(path)], check=True)
            engine.create("later")
        image = as_killed(path, tmp_path / "image")
    assert _count(image) == 3


@pytest.mark.thorough
@needs_fork
def test_a_forked_child_does_not_keep_the_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with _holder(path, 2) as holder:
        holder.kill()
        holder.wait(SECONDS)
        assert _count(path) == 1  # while the children live


@pytest.mark.thorough
@needs_fork
def test_a_forked_child_that_ends_last_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with ExitStack() as stack:
        first = stack.enter_context(_holder(path, 2))
        first.kill()
        first.wait(SECONDS)
        assert _count(path) == 1
        last = stack.enter_context(_holder(path))
        last.kill()
        last.wait(SECONDS)
        # Its job is only in the log, and the children exit normally.
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.close()
        assert first.stdout.read() == ""
    assert _count(path) == 2
    assert _intact(path)


@needs_fork
@pytest.mark.parametrize("end", ["exit", *thorough("_exit")])
def test_a_forked_child_leaves_its_parents_file_alone(end: str, tmp_path: Path) -> None:
    times = tries(FULL_FORKS)
    with program("fork_file", str(tmp_path), str(times), end) as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert (output, process.returncode) == (f"{times} forks\n", 0)
    assert _intact(tmp_path / "parent.db")
    assert _intact(tmp_path / "child.db")
