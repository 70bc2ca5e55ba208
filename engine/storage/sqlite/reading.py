"""Reading: the queries of an engine's file, for an engine or a program that only reads.

Every row is compared with its checksum; a `Damaged` takes the place of a damaged job.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from engine.domain.exceptions import JobDamagedError, StorageDamagedError, shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS
from engine.storage.answers import CheckedOut, Found, Names, ReadLimit
from engine.storage.record import MAX_NUMBER, AttemptRecord, Damaged, Entry, Record
from engine.storage.sqlite.rows import (
    ATTEMPT_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    Row,
)
from engine.storage.sqlite.stored import DamagedRowError, read_attempt, read_entry, read_record

# The index of the history has no checksum: the row must be the job's, and as old as the job is.
_NEWEST: Final = (
    "SELECT newest.sequence FROM transitions AS newest WHERE newest.sequence = "
    "(SELECT max(sequence) FROM transitions WHERE transitions.position = jobs.position) "
    "AND newest.position = jobs.position AND newest.at = jobs.updated_at"
)
SELECT_JOBS: Final = f"SELECT {', '.join(JOB_COLUMNS)}, ({_NEWEST}) FROM jobs"
"""With the number of the job's newest transition; NULL if that is not there."""
SELECT_TRANSITIONS: Final = f"SELECT {', '.join(TRANSITION_COLUMNS)} FROM transitions"
SELECT_ATTEMPTS: Final = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts"
# With the job twice: its id in the job's row, and the position at which the index finds that id.
# The row's checksum would need all of the row, and a result may be long.
_SELECT_ENTRIES: Final = f"""
    SELECT {", ".join(f"transitions.{column}" for column in TRANSITION_COLUMNS)}, jobs.job_id,
        (SELECT position FROM jobs AS found WHERE found.job_id = jobs.job_id)
    FROM transitions LEFT JOIN jobs ON jobs.position = transitions.position
"""
_OF_JOB: Final = TRANSITION_COLUMNS.index("position")
_OF_ALL: Final = f"{_SELECT_ENTRIES} WHERE sequence > ? ORDER BY sequence LIMIT ?"
_OF_ONE: Final = f"""
    {_SELECT_ENTRIES}
    WHERE transitions.position = (SELECT position FROM jobs WHERE job_id = ?) AND sequence > ?
    ORDER BY sequence LIMIT ?
"""

JOB_AND_SEQUENCE: Final = ", ".join((*(f"jobs.{column}" for column in JOB_COLUMNS), f"({_NEWEST})"))
_FOUND_BY: Final = ("job_id", "idempotency_key", "blockchain_identifier")
# Rows in the order of the texts that are given, each with the place of its text before it: a cross
# join goes through its left side first (https://www.sqlite.org/optoverview.html, 8.2).
_FIND: Final = {
    column: f"""
        SELECT wanted.key, {JOB_AND_SEQUENCE}
        FROM json_each(?) AS wanted CROSS JOIN jobs ON jobs.{column} = wanted.value
    """
    for column in _FOUND_BY
}
# For one text, the usual case, at two thirds of the cost.
_FIND_ONE: Final = {
    column: f"SELECT 0, {JOB_AND_SEQUENCE} FROM jobs WHERE {column} = ?" for column in _FOUND_BY
}


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the jobs of each status."""
    return dict(connection.execute("SELECT status, count(*) FROM jobs GROUP BY status"))


def jobs_in_statuses(connection: sqlite3.Connection, statuses: Collection[str]) -> Iterator[Record]:
    """Return the jobs in these statuses, without damaged ones."""
    for status in statuses:
        yield from sound(connection.execute(f"{SELECT_JOBS} WHERE status = ?", (status,)))


def readable_statuses(statuses: Iterable[object]) -> set[str]:
    """Return the statuses that a query can name: a damaged one need not be a text."""
    return {
        status
        for status in statuses
        if isinstance(status, str)
        and (status.isascii() or not any("\ud800" <= each <= "\udfff" for each in status))
    }


def checkout(connection: sqlite3.Connection, names: Names) -> CheckedOut:
    """Return the jobs that have these names, as many as one read may give."""
    limit, found, is_full = ReadLimit(), CheckedOut(), False
    for column, texts, into in zip(_FOUND_BY, names, found.parts, strict=True):
        read = 0 if is_full else _find(connection, column, texts, limit, into)
        into.left_out.update(texts[read:])
        is_full = read < len(texts)
    return found


def _find(
    connection: sqlite3.Connection,
    column: str,
    texts: Sequence[str],
    limit: ReadLimit,
    found: Found,
) -> int:
    """Put in the jobs that have one of these texts in a column, as far as the limit goes.

    Returns:
        How many texts were looked for.
    """
    if not texts:
        return 0
    if len(texts) == 1:
        rows = connection.execute(_FIND_ONE[column], texts)
    else:
        rows = connection.execute(_FIND[column], (json.dumps(texts),))
    for row in rows:
        place, job = int(row[0]), read_job(row[1:])
        if not limit.admits(job):
            rows.close()
            return place
        if isinstance(job, Damaged):
            found.damaged[texts[place]] = job  # it need not say itself which job it is
        else:
            found.jobs[str(getattr(job, column))] = job
    return len(texts)


def read_job(row: Row) -> Record | Damaged:
    """Return the job in a row of `SELECT_JOBS`."""
    try:
        return read_record(row)
    except DamagedRowError as error:
        job_id = row[1] if _is_name(row[1]) else shown(row[1])
        return Damaged(job_id, int(row[0] or 0), str(error))  # a damaged page may have NULL


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_IDENTIFIER_CHARACTERS


def sound(rows: Iterable[Row]) -> Iterator[Record]:
    """Return the records of rows, without damaged ones, which a call for such a job reports."""
    return (record for row in rows if not isinstance(record := read_job(row), Damaged))


def history(
    connection: sqlite3.Connection,
    job_id: str,
    newest: int | None = None,
    before: int | None = None,
) -> list[Entry] | None:
    """Return the transitions of a job, oldest first; None for an unknown job; see `Storage`.

    Raises:
        JobDamagedError: The job or its history is damaged.
    """
    job = find_job(connection, job_id)
    if job is None:
        return None
    rows = connection.execute(
        f"{SELECT_TRANSITIONS} WHERE position = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
        (job.position, *_bounds(before, newest)),
    ).fetchall()
    try:
        entries = [read_entry(row, job_id) for row in reversed(rows)]
    except DamagedRowError as error:
        raise JobDamagedError(job_id, f"in its history, {error}") from error
    # A damaged index leads to sound rows of another job, or to too few rows.
    expected = job.version - _count_from(connection, job.position, before)
    if newest is not None:
        expected = min(expected, newest)
    if len(entries) != expected or any(row[1] != job.position for row in rows):
        raise JobDamagedError(job_id, "its history is not complete")
    return entries


def _count_from(connection: sqlite3.Connection, position: int, sequence: int | None) -> int:
    if sequence is None:
        return 0
    counting = "SELECT count(*) FROM transitions WHERE position = ? AND sequence >= ?"
    [found] = connection.execute(counting, (position, sequence)).fetchone()
    return int(found)


def _bounds(before: int | None, newest: int | None) -> tuple[int, int]:
    """Return numbers that no transition has, and no history, where there is no bound."""
    return MAX_NUMBER if before is None else before, MAX_NUMBER if newest is None else newest


def attempts(connection: sqlite3.Connection, job_id: str) -> list[AttemptRecord] | None:
    """Return the failed attempts of a job that are kept, oldest first; None for an unknown job.

    Raises:
        JobDamagedError: The job or one of these attempts is damaged.
    """
    job = find_job(connection, job_id)
    if job is None:
        return None
    rows = connection.execute(
        f"{SELECT_ATTEMPTS} WHERE position = ? ORDER BY number", (job.position,)
    )
    try:
        return [read_attempt(row) for row in rows]
    except DamagedRowError as error:
        raise JobDamagedError(job_id, f"in its attempts, {error}") from error


def find_job(connection: sqlite3.Connection, job_id: str) -> Record | None:
    """Return a job; None if there is none.

    Raises:
        JobDamagedError: It is damaged.
    """
    found = checkout(connection, Names([job_id])).ids
    if found.damaged:
        raise JobDamagedError(job_id, found.damaged[job_id].problem)
    return found.jobs.get(job_id)


def ids_from(connection: sqlite3.Connection, beginning: str, most: int) -> list[str]:
    """Return the first ids that begin with a text, in their order."""
    ids = connection.execute(
        "SELECT job_id FROM jobs WHERE job_id >= ? ORDER BY job_id LIMIT ?", (beginning, most)
    )
    return [job_id for [job_id] in ids if isinstance(job_id, str) and job_id.startswith(beginning)]


def transitions(
    connection: sqlite3.Connection, after: int, limit: int, job_id: str | None
) -> list[Entry]:
    """Return the transitions with a sequence number above ``after``, in that order.

    Raises:
        StorageDamagedError: A transition, or its job's id, is damaged.
    """
    if job_id is None:
        rows = connection.execute(_OF_ALL, (after, limit))
    else:
        rows = connection.execute(_OF_ONE, (job_id, after, limit))
    entries: list[Entry] = []
    for *columns, found_id, found_at in rows:
        if found_at != columns[_OF_JOB] or job_id not in {None, found_id}:
            raise StorageDamagedError(f"the job of transition {columns[0]} can't be found")
        try:
            entries.append(read_entry(tuple(columns), found_id))
        except DamagedRowError as error:
            raise StorageDamagedError(f"transition {columns[0]} is damaged: {error}") from error
    return entries


def contains_rows(connection: sqlite3.Connection, rows: Iterable[Row]) -> bool:
    """Tell whether the file has all of these jobs' rows; compares their checksums."""
    statement = "SELECT 1 FROM jobs WHERE position = ? AND checksum = ?"
    return all(connection.execute(statement, (row[0], row[-1])).fetchone() for row in rows)
