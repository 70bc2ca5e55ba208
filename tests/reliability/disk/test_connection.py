"""The connections of apsw behave like those of the standard library wherever storages use them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.reliability.disk.faults import Errors
from tests.reliability.disk.vfs import Disk, recorded

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("PRAGMA journal_mode = WAL", ()),
    ("CREATE TABLE things (number INTEGER PRIMARY KEY, text TEXT UNIQUE, blob) STRICT", ()),
    ("CREATE TABLE things (number INTEGER PRIMARY KEY, text TEXT UNIQUE, blob ANY) STRICT", ()),
    ("BEGIN IMMEDIATE", ()),
    ("INSERT INTO things VALUES (?, ?, ?)", (1, "one", b"\x00\xff")),
    ("INSERT INTO things VALUES (?, ?, ?), (3, 'three', NULL)", (2, "zwei \N{SNOWMAN}", 2.5)),
    ("INSERT INTO things VALUES (?, ?, ?)", (4, "one", None)),
    ("INSERT INTO things VALUES (?, ?, ?)", (1, "four", None)),
    ("INSERT INTO things VALUES (?, ?, ?)", ("four", "four", None)),
    ("INSERT INTO things VALUES (?, ?, ?)", (4,)),
    ("COMMIT", ()),
    ("COMMIT", ()),
    ("BEGIN IMMEDIATE", ()),
    ("UPDATE things SET blob = text WHERE number > ?", (1,)),
    ("UPDATE things SET blob = text WHERE number > ?", (1_000,)),
    ("DELETE FROM things WHERE number = 3", ()),
    ("BEGIN", ()),
    ("ROLLBACK", ()),
    ("SELECT *, CAST(text AS BLOB) FROM things ORDER BY number", ()),
    ("SELECT nothing FROM things", ()),
    ("SELEC", ()),
    ("PRAGMA quick_check", ()),
]


def _outcome(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> object:
    """Return everything that a caller can see of a call."""
    try:
        cursor = connection.execute(sql, values)
        changed = cursor.rowcount if sql.startswith(("INSERT", "UPDATE", "DELETE")) else None
        return cursor.fetchall(), changed, connection.in_transaction
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        name = getattr(error, "sqlite_errorname", None)
        return type(error), code, name, connection.in_transaction


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with recorded(tmp_path) as disk:
        yield disk


def test_each_call_comes_to_the_same(disk: Disk, tmp_path: Path) -> None:
    plain_path = tmp_path / "plain.db"
    with (
        closing(sqlite3.connect(plain_path, isolation_level=None)) as plain,
        closing(disk.connect(tmp_path / "recorded.db")) as connection,
    ):
        for sql, values in CALLS:
            assert _outcome(connection, sql, values) == _outcome(plain, sql, values), sql


def test_many_rows_are_written_by_one_call(disk: Disk, tmp_path: Path) -> None:
    with closing(disk.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE things (number)")
        cursor = connection.executemany("INSERT INTO things VALUES (?)", [(1,), (2,), (3,)])
        assert cursor.rowcount == 3
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (3,)
        assert list(connection.execute("SELECT number FROM things")) == [(1,), (2,), (3,)]


def test_a_closed_connection_says_so(disk: Disk, tmp_path: Path) -> None:
    connection = disk.connect(tmp_path / "a.db")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    connection.close()


def _prepared(disk: Disk, folder: Path) -> sqlite3.Connection:
    connection = disk.connect(folder / "a.db")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE things (number)")
    return connection


def test_a_commit_whose_sync_fails_is_rolled_back(disk: Disk, tmp_path: Path) -> None:
    with closing(_prepared(disk, tmp_path)) as connection:
        disk.fault = Errors("sync", 1, 1, frozenset({"sync"}))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO things VALUES (1)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("COMMIT")
        assert caught.value.sqlite_errorcode == apsw.SQLITE_IOERR_FSYNC
        assert caught.value.sqlite_errorname == "SQLITE_IOERR_FSYNC"
        assert not connection.in_transaction
        assert connection.execute("SELECT * FROM things").fetchall() == []


def test_a_checkpoint_that_fails_behind_a_commit_is_not_told(disk: Disk, tmp_path: Path) -> None:
    with closing(_prepared(disk, tmp_path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 1").fetchall()
        # The first sync belongs to the commit, the second to the log before a checkpoint.
        disk.fault = errors = Errors("sync", 2, 1, frozenset({"sync"}))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO things VALUES (1)")
        connection.execute("COMMIT")
        assert errors.is_over
        assert connection.execute("SELECT * FROM things").fetchall() == [(1,)]


def test_a_checkpoint_that_fails_at_the_end_is_not_told(disk: Disk, tmp_path: Path) -> None:
    connection = _prepared(disk, tmp_path)
    disk.fault = errors = Errors("write", 1, 1, frozenset({"write"}))
    connection.close()
    assert errors.is_over
    with closing(disk.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
