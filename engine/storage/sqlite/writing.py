"""Writing: the statements that change a file, inside the caller's transaction.

A statement writes many rows. At each statement the interpreter may switch to another thread, and a
busy event loop keeps it for 5 ms (`sys.getswitchinterval`): 1,000 rows, one a statement, took ten
times as long beside a busy loop as blocks of 256. Up to 16 rows, as in most rounds, are one
statement. SQLite's module keeps all prepared statements (`engine.storage.sqlite.file.connect`), of
10 MB once each was used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from engine.domain.exceptions import StorageDamagedError
from engine.storage.audit import KEPT_AUDIT_LINES, AuditLine, KeptAuditLine
from engine.storage.record import KEPT_ATTEMPTS
from engine.storage.sqlite.notes import read_number
from engine.storage.sqlite.rows import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    PLAIN_COLUMNS,
    PLAIN_EXECUTION,
    SHORT_COLUMNS,
    SHORT_TRANSITION_COLUMNS,
    TRANSITION_COLUMNS,
    BatchRows,
    Row,
    audit_row,
    checksum,
)

_ANY_SIZE: Final = 16  # up to here, there is a statement of each size
_LARGE_BLOCKS: Final = (256, 128, 64, 32, _ANY_SIZE)

_CHANGING: Final = (
    "status",
    "updated_at",
    "version",
    "started_at",
    "result",
    "error",
    "outcome",
    "ended_at",
    "checksum",
)


class _Statement(dict[int, str]):
    """The SQL of a statement for each number of rows, made when it is first asked for.

    Args:
        before, after: The text around the rows.
        columns: The number of a row's values.
    """

    def __init__(self, before: str, columns: int, after: str = "") -> None:
        super().__init__()
        self._before, self._after = before, after
        self._row = f"({', '.join('?' * columns)})"

    def __missing__(self, rows: int) -> str:
        sql = self[rows] = self._before + ", ".join([self._row] * rows) + self._after
        return sql


def _insert(table: str, columns: Sequence[str]) -> _Statement:
    return _Statement(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ", len(columns))


def _update(columns: Sequence[str], versions: str, cleared: Sequence[str] = ()) -> _Statement:
    """Return an UPDATE statement of jobs.

    Args:
        columns: The given columns of each job: its position, its id, and those that change.
        versions: How the version in the file compares with the given one.
        cleared: Columns that become NULL.
    """
    numbers = {column: number for number, column in enumerate(columns, 1)}
    changes = [
        f"{column} = given.column{number}"
        for column, number in numbers.items()
        if column not in {"position", "job_id"}
    ]
    changes += [f"{column} = NULL" for column in cleared]
    # Never write over another job's row: the file may not be as the owner takes it to be.
    same = " AND ".join(
        f"jobs.{column} {comparison} given.column{numbers[column]}"
        for column, comparison in (("position", "="), ("job_id", "="), ("version", versions))
    )
    before = f"UPDATE jobs SET {', '.join(changes)} FROM (VALUES "
    return _Statement(before, len(columns), f") AS given WHERE {same}")


def _values(columns: Sequence[str], of: Sequence[str] = JOB_COLUMNS) -> Callable[[Row], Row]:
    return itemgetter(*map(of.index, columns))


_PUT_TRANSITIONS: Final = _insert("transitions", TRANSITION_COLUMNS)
_PUT_SHORT_TRANSITIONS: Final = _insert("transitions", SHORT_TRANSITION_COLUMNS)
_PUT_ATTEMPTS: Final = _insert("attempts", ATTEMPT_COLUMNS)
_DROP_OLD_ATTEMPTS: Final = f"""
    DELETE FROM attempts WHERE position = ? AND number <= (
        SELECT number FROM attempts WHERE position = ?
        ORDER BY number DESC LIMIT 1 OFFSET {KEPT_ATTEMPTS}
    )
"""
_PUT_AUDIT: Final = _insert("audit", AUDIT_COLUMNS)
_PUT_NEW_JOBS: Final = _insert("jobs", JOB_COLUMNS)
_PUT_PLAIN_NEW_JOBS: Final = _insert("jobs", PLAIN_COLUMNS)
# A new job has no other columns; writing only these takes a third less time.
_LATER: Final = ("started_at", "result", "error", "outcome", "ended_at")
_NEW_COLUMNS: Final = [column for column in SHORT_COLUMNS if column not in _LATER]
_PUT_SHORT_NEW_JOBS: Final = _insert("jobs", _NEW_COLUMNS)
_new_values: Final = _values(_NEW_COLUMNS, SHORT_COLUMNS)
_FIRST_LATER: Final = SHORT_COLUMNS.index(_LATER[0])
_NONE_LATER: Final = (None,) * len(_LATER)

_LABELS: Final = JOB_COLUMNS.index("labels")
_PUT_LABELS: Final = _insert("labels", ("name", "value", "position"))

# Binding a value costs as much as writing it, so no unchanged column is given.
_SHORT_MOVE: Final = ("position", "job_id", *_CHANGING)
_MOVE_SHORT_JOBS: Final = _update(_SHORT_MOVE, "<", EXECUTION_COLUMNS)
_short_move_values: Final = _values(_SHORT_MOVE, SHORT_COLUMNS)

_OTHER_EXECUTION: Final = EXECUTION_COLUMNS[len(PLAIN_EXECUTION) :]
_PLAIN_MOVE: Final = ("position", "job_id", *_CHANGING, *PLAIN_EXECUTION)
_MOVE_PLAIN_JOBS: Final = _update(_PLAIN_MOVE, "<", _OTHER_EXECUTION)
_plain_move_values: Final = _values(_PLAIN_MOVE, PLAIN_COLUMNS)

_MOVE: Final = ("position", "job_id", *_CHANGING, *EXECUTION_COLUMNS)
_MOVE_JOBS: Final = _update(_MOVE, "<")
_move_values: Final = _values(_MOVE)

# No index has one of these columns: with others, SQLite would write the indexes, too.
_PLAIN_AMENDED: Final = ("position", "job_id", "version", *PLAIN_EXECUTION, "checksum")
_AMEND_PLAIN_JOBS: Final = _update(_PLAIN_AMENDED, "=", _OTHER_EXECUTION)
_plain_amended_values: Final = _values(_PLAIN_AMENDED, PLAIN_COLUMNS)

# An index has this column, so the other statements leave it alone.
_PAY_FOR_JOBS: Final = _update(("position", "job_id", "version", "blockchain_identifier"), "=")

_AMENDED: Final = ("position", "job_id", "version", *EXECUTION_COLUMNS, "checksum")
_AMEND_JOBS: Final = _update(_AMENDED, "=")
_amended_values: Final = _values(_AMENDED)


def write_batch(connection: sqlite3.Connection, rows: BatchRows) -> None:
    """Write a round's changes.

    Raises:
        sqlite3.IntegrityError: Another job has the id, the key, the payment or the position of a
            new one, or another transition the number; or a job's row is not the one that was to
            change.
    """
    if rows.created:
        _write_created(connection, rows.created)
    if rows.moved:
        short, plain, full = _by_length(rows.moved)
        _put(connection, _MOVE_SHORT_JOBS, list(map(_short_move_values, short)))
        _put(connection, _MOVE_PLAIN_JOBS, list(map(_plain_move_values, plain)))
        _put(connection, _MOVE_JOBS, list(map(_move_values, full)))
    if rows.amended:
        short, plain, full = _by_length(rows.amended)
        plain += map(_as_plain, short)
        _put(connection, _AMEND_PLAIN_JOBS, list(map(_plain_amended_values, plain)))
        _put(connection, _AMEND_JOBS, list(map(_amended_values, full)))
    if rows.paid:
        _put(connection, _PAY_FOR_JOBS, rows.paid)
    short, long = _split(rows.transitions, len(SHORT_TRANSITION_COLUMNS))
    _put(connection, _PUT_SHORT_TRANSITIONS, short)
    _put(connection, _PUT_TRANSITIONS, long)
    if rows.attempts:
        _put(connection, _PUT_ATTEMPTS, rows.attempts)
        for position in {row[0] for row in rows.attempts if row[1] > KEPT_ATTEMPTS}:
            connection.execute(_DROP_OLD_ATTEMPTS, (position, position))


def _write_created(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    short, plain, full = _by_length(rows)
    new = [row for row in short if row[_FIRST_LATER:-1] == _NONE_LATER]
    if len(new) < len(short):  # born running, or moved in the same round
        plain += [_as_plain(row) for row in short if row[_FIRST_LATER:-1] != _NONE_LATER]
    _put(connection, _PUT_SHORT_NEW_JOBS, list(map(_new_values, new)))
    if plain or full:
        _put(connection, _PUT_PLAIN_NEW_JOBS, plain)
        _put(connection, _PUT_NEW_JOBS, full)
        _put(connection, _PUT_LABELS, list(labels_of((*plain, *full))))


def _by_length(rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the rows with short, with plain and with all columns."""
    short, others = _split(rows, len(SHORT_COLUMNS))
    return short, *(_split(others, len(PLAIN_COLUMNS)) if others else ([], []))


def _split(rows: Sequence[Row], length: int) -> tuple[list[Row], list[Row]]:
    """Return the rows of this length, and the others."""
    these = [row for row in rows if len(row) == length]
    if len(these) == len(rows):  # nearly always
        return these, []
    return these, [row for row in rows if len(row) != length]


def _as_plain(row: Row) -> Row:
    return (*row[:-1], *(None,) * (len(PLAIN_COLUMNS) - len(row)), row[-1])


def labels_of(rows: Iterable[Row]) -> Iterator[Row]:
    """Return the rows of the labels of jobs."""
    for row in rows:
        if (labels := row[_LABELS]) is not None:
            for name, value in json.loads(labels).items():
                yield (name, value, row[0])


def _put(connection: sqlite3.Connection, statement: _Statement, rows: Sequence[Row]) -> None:
    """Write rows.

    Raises:
        sqlite3.IntegrityError: Another row is there, or the row to change is not.
    """
    start = 0
    while (left := len(rows) - start) > 0:
        size = left if left <= _ANY_SIZE else next(size for size in _LARGE_BLOCKS if size <= left)
        values = list(chain.from_iterable(rows[start : start + size]))
        if connection.execute(statement[size], values).rowcount != size:
            raise sqlite3.IntegrityError("a row of another job is there")
        start += size


def write_audit(connection: sqlite3.Connection, lines: Sequence[AuditLine]) -> None:
    """Write lines of the audit behind all others, and drop the oldest."""
    [newest] = connection.execute("SELECT coalesce(max(number), 0) FROM audit").fetchone()
    numbered = (KeptAuditLine(number, *line) for number, line in enumerate(lines, newest + 1))
    _put(connection, _PUT_AUDIT, list(map(audit_row, numbered)))
    dropped = newest + len(lines) - KEPT_AUDIT_LINES
    connection.execute("DELETE FROM audit WHERE number <= ?", (dropped,))


def write_note(connection: sqlite3.Connection, name: str, value: str | int) -> None:
    """Write a note."""
    values = (name, value)
    connection.execute("REPLACE INTO engine VALUES (?, ?, ?)", (*values, checksum(values)))


def write_told(
    connection: sqlite3.Connection, name: str, text: str, lines: Sequence[AuditLine]
) -> None:
    """Write the note of what somebody has told all engines, with lines of the audit."""
    write_note(connection, name, text)
    if lines:
        write_audit(connection, lines)


def count_up(connection: sqlite3.Connection, name: str) -> int:
    """Add 1 to the number in a note; return it. A missing or damaged one begins anew."""
    try:
        number = read_number(connection, name)
    except StorageDamagedError:
        number = 0
    write_note(connection, name, number + 1)
    return number + 1


def delete_jobs(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Delete jobs and what is kept of them; note the newest of their numbers."""
    chosen = f"WHERE position IN ({', '.join('?' * len(positions))})"
    for number, table in (("sequence", "transitions"), ("position", "jobs")):
        [newest] = connection.execute(
            f"SELECT coalesce(max({number}), 0) FROM {table} {chosen}", positions
        ).fetchone()
        name = f"last_{number}"
        write_note(connection, name, max(newest, read_number(connection, name)))
        connection.execute(f"DELETE FROM {table} {chosen}", positions)
    for table in ("labels", "attempts"):
        connection.execute(f"DELETE FROM {table} {chosen}", positions)
