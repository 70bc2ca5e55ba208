"""Epochs in a file: each restored copy has its own history, and damage costs only cursors."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine import JobStatus, SyncJobEngine, UnknownCursorError
from engine.cli.program import main
from engine.domain.epochs import Epoch
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.epochs import read_epochs
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.rows import checksum
from tests.tries import thorough

DAMAGE = {
    "its name": "UPDATE epochs SET name = 'abcdef01' WHERE number = ?",
    "its checksum": "UPDATE epochs SET checksum = checksum + 1 WHERE number = ?",
    "its number": "UPDATE epochs SET number = number + 1024 WHERE number = ?",
    "its first number": "UPDATE epochs SET first_sequence = 2 WHERE number = ?",
    "all of it": "DELETE FROM epochs WHERE number = ?",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def _copy(source: Path, target: Path) -> None:
    back_up(source, target, lambda _done, _of: None)


def _epochs(path: Path) -> list[Epoch]:
    with closing(connect_reader(path)) as reader:
        return read_epochs(reader)


def _is_copy(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        [[value]] = connection.execute("SELECT value FROM engine WHERE name = 'is_copy'")
        return bool(value)


def _used(path: Path, jobs: int) -> list[str]:
    """Create jobs with an engine; return the cursors of the creations."""
    with SyncJobEngine(path) as engine:
        created = [engine.create("hash").job_id for _ in range(jobs)]
        return [engine.history(job_id)[0].cursor for job_id in created]


def _knows(path: Path, cursor: str) -> bool:
    with SyncJobEngine(path) as engine:
        engine.create("later")
        try:
            next(engine.watch(after=cursor))
        except UnknownCursorError:
            return False
        return True


def test_a_copy_that_is_restored_twice_has_two_histories(path: Path, tmp_path: Path) -> None:
    shared = _used(path, 2)
    _copy(path, tmp_path / "copy.db")
    shutil.copy(tmp_path / "copy.db", tmp_path / "first.db")
    shutil.copy(tmp_path / "copy.db", tmp_path / "second.db")
    lost, new = _used(tmp_path / "first.db", 3), _used(tmp_path / "second.db", 5)
    assert not _knows(tmp_path / "second.db", lost[-1])
    assert all(_knows(tmp_path / "second.db", cursor) for cursor in (*shared, *new))


def test_a_copy_of_a_copy_begins_one_epoch(path: Path, tmp_path: Path) -> None:
    _used(path, 2)
    _copy(path, tmp_path / "copy.db")
    _copy(tmp_path / "copy.db", tmp_path / "again.db")
    _used(tmp_path / "again.db", 1)
    _used(tmp_path / "again.db", 1)
    assert [epoch.first_sequence for epoch in _epochs(tmp_path / "again.db")] == [1, 3]


def test_reading_a_copy_begins_no_epoch(path: Path, tmp_path: Path) -> None:
    with SyncJobEngine(path) as engine:
        job_id = engine.create("hash").job_id
    _copy(path, tmp_path / "copy.db")
    for command in (["list"], ["show"], ["check"]):
        more = [job_id] if command == ["show"] else []
        assert main([*command, str(tmp_path / "copy.db"), *more]) == 0
    assert _is_copy(tmp_path / "copy.db")
    assert _epochs(tmp_path / "copy.db") == _epochs(path)
    assert not _is_copy(path)


@pytest.mark.parametrize("number", [2, *thorough(1, 3)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_epoch_costs_no_more_than_its_cursors(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, number: int
) -> None:
    cursors = {1: _used(path, 3)[-1]}
    for later in (2, 3):
        _copy(path, tmp_path / f"{later}.db")
        path = tmp_path / f"{later}.db"
        cursors[later] = _used(path, 3)[-1]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(DAMAGE[damage], (number,))
    _copy(path, tmp_path / "copied.db")
    with closing(connect_reader(path)) as reader:
        [job_id] = reader.execute("SELECT job_id FROM jobs LIMIT 1").fetchone()
    assert main(["show", str(path), job_id]) == 0
    if not (damage == "all of it" and number == 3):  # then nothing tells that it was there
        assert not _knows(path, cursors[number])
        assert caplog.record_tuples[0][:2] == ("engine", logging.WARNING)
        assert "lost its name" in caplog.messages[0]
    caplog.clear()
    if damage != "its number":  # then it seems to be the newest, and nobody knows its beginning
        assert all(_knows(path, cursors[later]) for later in range(number + 1, 4))
    assert _knows(path, _used(path, 1)[0])
    assert caplog.messages == []
    assert check_file(path, lambda _done, _of: None).problems == 0


def test_a_line_without_an_epoch_has_its_number_for_a_cursor(path: Path) -> None:
    cursors = _used(path, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        values = (1, "0badcafe", 3)
        connection.execute("DELETE FROM epochs")
        connection.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (*values, checksum(values)))
    with SyncJobEngine(path) as engine:
        lines = [engine.history(job.job_id)[0] for job in engine.list_jobs().jobs]
        assert [line.cursor for line in lines] == ["1", "2", "0badcafe-3"]
        assert next(engine.watch(after=lines[0].cursor)) == lines[1]
        assert engine.transition(lines[0].job_id, JobStatus.RUNNING).version == 2
    assert not _knows(path, cursors[0])


@pytest.mark.parametrize("name", ["renamed", "final_statuses", "is_copy"])
def test_a_damaged_note_that_can_be_made_again_is(path: Path, name: str) -> None:
    _used(path, 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE engine SET value = 'x' WHERE name = ?", (name,))
    _used(path, 1)
    assert check_file(path, lambda _done, _of: None).problems == 0
