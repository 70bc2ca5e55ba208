"""Statuses: make the rows fit the engine's lifecycle, when it opens the file.

Statuses may have new names, and others than before may be final. The caller's transaction makes all
of it, or none. Damaged rows stay as they are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from engine.storage.sqlite.reading import SELECT_JOBS, SELECT_TRANSITIONS
from engine.storage.sqlite.rows import EXECUTION_COLUMNS, JOB_COLUMNS, Row, checksum, job_row
from engine.storage.sqlite.stored import DamagedRowError, check_row, read_record
from engine.storage.sqlite.throughput import rename_counted

_STEP_ROWS: Final = 1_000
_CHANGED: Final = ("status", "started_at", "outcome", "ended_at", *EXECUTION_COLUMNS, "checksum")
_PLACES: Final = [JOB_COLUMNS.index(column) for column in (*_CHANGED, "position")]
_UPDATE_JOBS: Final = (
    f"UPDATE jobs SET {', '.join(f'{column} = ?' for column in _CHANGED)} WHERE position = ?"
)
_UPDATE_TRANSITIONS: Final = (
    "UPDATE transitions SET from_status = ?, to_status = ?, checksum = ? WHERE sequence = ?"
)
_IS_ONE: Final = "IN (SELECT value FROM json_each(:statuses))"
_RENAMED_JOBS: Final = f"""
    {SELECT_JOBS} WHERE position > :after AND (status {_IS_ONE} OR deadlines IS NOT NULL)
    ORDER BY position LIMIT {_STEP_ROWS}
"""
_RENAMED_TRANSITIONS: Final = f"""
    {SELECT_TRANSITIONS} WHERE sequence > :after AND (to_status {_IS_ONE} OR from_status {_IS_ONE})
    ORDER BY sequence LIMIT {_STEP_ROWS}
"""
_WRONG_ENDS: Final = f"""
    {SELECT_JOBS} WHERE position > :after AND (ended_at IS NULL) = (status {_IS_ONE})
    ORDER BY position LIMIT {_STEP_ROWS}
"""
_WRONG_STARTS: Final = f"""
    {SELECT_JOBS} WHERE position > :after AND status {_IS_ONE} AND started_at IS NULL
    ORDER BY position LIMIT {_STEP_ROWS}
"""


def rename_statuses(
    connection: sqlite3.Connection,
    renamed: Mapping[str, str],
    outcomes: Mapping[str, str | None],
    running: str,
) -> None:
    """Rename statuses in all jobs, their deadlines and histories, and in the throughput."""
    for rows in _parts(connection, _RENAMED_JOBS, renamed):
        connection.executemany(_UPDATE_JOBS, _reopened(rows, renamed, outcomes, running))
    for rows in _parts(connection, _RENAMED_TRANSITIONS, renamed):
        connection.executemany(_UPDATE_TRANSITIONS, _renamed_transitions(rows, renamed))
    rename_counted(connection, renamed)


def correct_ends(
    connection: sqlite3.Connection, outcomes: Mapping[str, str | None], running: str
) -> None:
    """Correct the jobs that have ended by these final statuses and not by earlier ones, or not."""
    finals = [status for status, outcome in outcomes.items() if outcome is not None]
    for rows in _parts(connection, _WRONG_ENDS, finals):
        connection.executemany(_UPDATE_JOBS, _reopened(rows, {}, outcomes, running))


def has_wrong_starts(connection: sqlite3.Connection, running: str) -> bool:
    """Return whether a job is in the running status and has not started."""
    statement = "SELECT 1 FROM jobs WHERE status = ? AND started_at IS NULL LIMIT 1"
    return connection.execute(statement, (running,)).fetchone() is not None


def correct_starts(
    connection: sqlite3.Connection, outcomes: Mapping[str, str | None], running: str
) -> None:
    """Let the jobs in the running status that have not started have started there."""
    for rows in _parts(connection, _WRONG_STARTS, [running]):
        connection.executemany(_UPDATE_JOBS, _reopened(rows, {}, outcomes, running))


def _parts(
    connection: sqlite3.Connection, query: str, statuses: Iterable[str]
) -> Iterator[list[Row]]:
    """Return the rows of a query in parts; the caller may change one before it takes the next."""
    names: dict[str, Any] = {"statuses": json.dumps(list(statuses)), "after": 0}
    while rows := connection.execute(query, names).fetchall():
        names["after"] = rows[-1][0]
        yield rows


def _reopened(
    rows: Iterable[Row],
    renamed: Mapping[str, str],
    outcomes: Mapping[str, str | None],
    running: str,
) -> Iterator[list[Any]]:
    for row in rows:
        with suppress(DamagedRowError):
            record = read_record(row).reopened(renamed, outcomes, running)
            right = job_row(record)
            yield [right[place] for place in _PLACES]


def _renamed_transitions(rows: Iterable[Row], renamed: Mapping[str, str]) -> Iterator[Row]:
    for row in rows:
        with suppress(DamagedRowError):
            check_row(row)
            sequence, position, before, after, *rest, _ = row
            names = (renamed.get(before, before), renamed.get(after, after))
            yield (*names, checksum((sequence, position, *names, *rest)), sequence)
