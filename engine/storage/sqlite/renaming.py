"""Renaming: give the rows of renamed statuses their new names, when an engine opens the file.

The caller's transaction makes all of it, or none. Damaged rows stay as they are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from engine.storage.sqlite.reading import SELECT_JOBS, SELECT_TRANSITIONS
from engine.storage.sqlite.rows import (
    JOB_COLUMNS,
    Row,
    checksum,
    job_row,
)
from engine.storage.sqlite.stored import DamagedRowError, check_row, read_record

_STEP_ROWS: Final = 1_000
_CHANGED: Final = ("status", "deadlines", "checksum", "position")
_PLACES: Final = [JOB_COLUMNS.index(column) for column in _CHANGED]
_ENDED_AT: Final = JOB_COLUMNS.index("ended_at")
_IS_OLD: Final = "IN (SELECT value FROM json_each(:old))"
_JOBS: Final = f"""
    {SELECT_JOBS} WHERE position > :after AND (status {_IS_OLD} OR deadlines IS NOT NULL)
    ORDER BY position LIMIT {_STEP_ROWS}
"""
_TRANSITIONS: Final = f"""
    {SELECT_TRANSITIONS} WHERE sequence > :after AND (to_status {_IS_OLD} OR from_status {_IS_OLD})
    ORDER BY sequence LIMIT {_STEP_ROWS}
"""


def rename_statuses(connection: sqlite3.Connection, renamed: Mapping[str, str]) -> None:
    """Rename statuses in all jobs, their deadlines and their histories."""
    for rows in _parts(connection, _JOBS, renamed):
        connection.executemany(
            "UPDATE jobs SET status = ?, deadlines = ?, checksum = ? WHERE position = ?",
            [[job[place] for place in _PLACES] for job in _renamed_jobs(rows, renamed)],
        )
    for rows in _parts(connection, _TRANSITIONS, renamed):
        connection.executemany(
            "UPDATE transitions SET from_status = ?, to_status = ?, checksum = ? "
            "WHERE sequence = ?",
            list(_renamed_transitions(rows, renamed)),
        )


def _parts(
    connection: sqlite3.Connection, query: str, renamed: Mapping[str, str]
) -> Iterator[list[Row]]:
    """Return the rows of a query in parts; the caller may change one before it takes the next."""
    names = {"old": json.dumps(list(renamed)), "after": 0}
    while rows := connection.execute(query, names).fetchall():
        names["after"] = rows[-1][0]
        yield rows


def _renamed_jobs(rows: list[Row], renamed: Mapping[str, str]) -> Iterator[Row]:
    for row in rows:
        with suppress(DamagedRowError):
            record = read_record(row)
            yield job_row(record.renamed(renamed), ended=row[_ENDED_AT] is not None)


def _renamed_transitions(rows: list[Row], renamed: Mapping[str, str]) -> Iterator[Row]:
    for row in rows:
        with suppress(DamagedRowError):
            check_row(row)
            sequence, position, before, after, at, _ = row
            names = (renamed.get(before, before), renamed.get(after, after))
            yield (*names, checksum((sequence, position, *names, at)), sequence)
