"""Writing: the statements that change a file, all inside somebody else's transaction.

Rows are written many at a time. At each step of a statement the interpreter may go to another
thread, and a busy event loop keeps it for 5 ms (`sys.getswitchinterval`): with a row a statement, a
batch of 1,000 beside a busy loop took ten times as long as with blocks of 256.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from engine.domain.exceptions import StorageDamagedError
from engine.sqlite.reading import note
from engine.sqlite.rows import JOB_COLUMNS, TRANSITION_COLUMNS, Row, checksum

_BLOCKS: Final = (256, 32, 4, 1)

_CHANGING: Final = ("status", "updated_at", "result", "error", "version", "ended_at", "checksum")


def _inserts(table: str, columns: Sequence[str], tail: str = "") -> dict[int, str]:
    """Return a statement for each size of block."""
    start = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    row = f"({', '.join('?' * len(columns))})"
    return {size: start + ", ".join([row] * size) + tail for size in _BLOCKS}


_PUT_TRANSITIONS: Final = _inserts("transitions", TRANSITION_COLUMNS)
# Jobs at their first version have no more; to write only these takes a third less.
_NEW_COLUMNS: Final = [
    column for column in JOB_COLUMNS if column not in {"result", "error", "ended_at"}
]
_new_values: Final = itemgetter(*map(JOB_COLUMNS.index, _NEW_COLUMNS))
_VERSION: Final = JOB_COLUMNS.index("version")
_PUT_NEW_JOBS: Final = _inserts("jobs", _NEW_COLUMNS)
_PUT_JOBS: Final = _inserts(
    "jobs",
    JOB_COLUMNS,
    " ON CONFLICT (position) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _CHANGING)
    # Or else the file is not what the owner takes it for: no row of another job is written over.
    + " WHERE jobs.job_id = excluded.job_id AND jobs.version < excluded.version",
)


def put_jobs(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write jobs, new ones and changed ones.

    Raises:
        sqlite3.IntegrityError: Another job has the id, the key or the position of one of them.
    """
    new = [_new_values(row) for row in rows if row[_VERSION] == 1]
    _put(connection, _PUT_NEW_JOBS, new)
    if len(new) < len(rows):
        _put(connection, _PUT_JOBS, [row for row in rows if row[_VERSION] != 1])


def put_transitions(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write new transitions.

    Raises:
        sqlite3.IntegrityError: There is one with such a number.
    """
    _put(connection, _PUT_TRANSITIONS, rows)


def _put(connection: sqlite3.Connection, statements: dict[int, str], rows: Sequence[Row]) -> None:
    """Write rows.

    Raises:
        sqlite3.IntegrityError: Another row is in the way of one of them.
    """
    start = 0
    for size in _BLOCKS:
        while len(rows) - start >= size:
            values = list(chain.from_iterable(rows[start : start + size]))
            if connection.execute(statements[size], values).rowcount != size:
                raise sqlite3.IntegrityError("a row of another job is there")
            start += size


def set_ends(connection: sqlite3.Connection, rows: Iterable[tuple[str | None, int, int]]) -> None:
    """Set when jobs ended, and their checksums, by position."""
    connection.executemany("UPDATE jobs SET ended_at = ?, checksum = ? WHERE position = ?", rows)


def set_note(connection: sqlite3.Connection, name: str, value: str | int) -> None:
    """Note something by a name that the schema has."""
    connection.execute(
        "UPDATE engine SET value = ?, checksum = ? WHERE name = ?",
        (value, checksum((name, value)), name),
    )


def note_failure(connection: sqlite3.Connection) -> None:
    """Note that a commit has failed. The note always changes, or else nothing would be written."""
    try:
        failures = int(note(connection, "failed_commits"))
    except StorageDamagedError:
        failures = 0
    set_note(connection, "failed_commits", failures + 1)


def remove(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Delete jobs and their transitions; note the newest numbers that they had."""
    chosen = f"WHERE position IN ({', '.join('?' * len(positions))})"
    for number, table in (("sequence", "transitions"), ("position", "jobs")):
        [newest] = connection.execute(
            f"SELECT coalesce(max({number}), 0) FROM {table} {chosen}", positions
        ).fetchone()
        name = f"last_{number}"
        set_note(connection, name, max(newest, note(connection, name)))
        connection.execute(f"DELETE FROM {table} {chosen}", positions)
