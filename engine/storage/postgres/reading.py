"""Reading: what a shared database tells of its jobs and their histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from psycopg import Cursor, ServerCursor

from engine.domain.exceptions import StorageDamagedError
from engine.storage.answers import CheckedOut, Found, Names, ReadLimit
from engine.storage.audit import DamagedAuditLine, KeptAuditLine, arguments_problem
from engine.storage.postgres.arrays import texts
from engine.storage.postgres.rows import Row, record_of
from engine.storage.postgres.statements import FOUND_BY, Statements
from engine.storage.record import MAX_NUMBER, AttemptRecord, Entry, Record

Reader: TypeAlias = Cursor[Row]

_LONG_ROWS: Final = 20  # from the server at once: each may have some megabytes
_SHORT_ROWS: Final = 1_000
_POSITION_OF: Final = "(SELECT position FROM {}.jobs WHERE job_id = %b)"


def records(cursor: Reader, statement: bytes, values: Sequence[Any] = ()) -> list[Record]:
    """Return the records of a query."""
    return [record_of(row) for row in cursor.execute(statement, values)]


def one(cursor: Reader, statement: bytes, values: Sequence[Any] = ()) -> Row:
    """Return the row of a query that has one."""
    [row] = cursor.execute(statement, values)
    return row


def stream(cursor: Reader, table: str, query: bytes) -> Iterator[Row]:
    """Return the rows of a query in a transaction, of any number, a few at a time.

    Args:
        cursor: Has the transaction.
        table: The table; each has one stream at a time.
        query: The query.
    """
    with ServerCursor(cursor.connection, f"engine {table}") as rows:
        rows.itersize = _LONG_ROWS if table == "jobs" else _SHORT_ROWS
        yield from rows.execute(query, binary=True)


def is_standby(cursor: Reader) -> bool:
    """Return whether the server repeats what another one writes."""
    return bool(one(cursor, b"SELECT pg_is_in_recovery()")[0])


def note(cursor: Reader, statements: Statements, name: str) -> str | None:
    """Return a note; None if there is none."""
    row = cursor.execute(statements.note, (name,)).fetchone()
    return None if row is None else str(row[0])


def pauses(cursor: Reader, statements: Statements) -> str:
    """Return the pauses, in their stored form.

    Raises:
        StorageDamagedError: The note is missing.
    """
    text = note(cursor, statements, "pauses")
    if text is None:
        raise StorageDamagedError("the note pauses is missing")
    return text


def checkout(cursor: Reader, statements: Statements, names: Names) -> CheckedOut:
    """Return the jobs that have these names, as many as one read may give."""
    limit, found, is_full = ReadLimit(), CheckedOut(), False
    for column, given, into in zip(FOUND_BY, names, found.parts, strict=True):
        read = 0 if is_full else _find(cursor, statements.find[column], column, given, limit, into)
        into.left_out.update(given[read:])
        is_full = read < len(given)
    return found


def _find(
    cursor: Reader,
    statement: bytes,
    column: str,
    names: Sequence[str],
    limit: ReadLimit,
    found: Found,
) -> int:
    """Put in the jobs that have one of these names, as far as the limit goes.

    Returns:
        How many names were looked for.
    """
    if not names:
        return 0
    for row in cursor.execute(statement, (texts(names),)):
        record = record_of(row[1:])
        if not limit.admits(record):
            return int(row[0]) - 1
        found.jobs[str(getattr(record, column))] = record
    return len(names)


def history(
    cursor: Reader,
    statements: Statements,
    job_id: str,
    newest: int | None = None,
    before: int | None = None,
) -> list[Entry] | None:
    """Return the transitions of a job, oldest first; None for an unknown job; see `Storage`."""
    s = statements.schema
    rows = cursor.execute(
        "SELECT sequence, job.job_id, from_status, to_status, at, by, reason "
        f"FROM {s}.jobs AS job LEFT JOIN LATERAL (SELECT * FROM {s}.transitions AS each "
        "WHERE each.position = job.position AND sequence < %b "
        "ORDER BY each.position DESC, sequence DESC LIMIT %b) AS line ON true "
        "WHERE job.job_id = %b ORDER BY sequence".encode(),
        (
            MAX_NUMBER if before is None else before,
            MAX_NUMBER if newest is None else newest,
            job_id,
        ),
    ).fetchall()
    return [Entry(*row) for row in rows if row[0] is not None] if rows else None


def attempts(cursor: Reader, statements: Statements, job_id: str) -> list[AttemptRecord] | None:
    """Return the failed attempts of a job that are kept; None for an unknown job."""
    s = statements.schema
    rows = cursor.execute(
        f"SELECT number, began_at, attempt.ended_at, attempt.outcome, attempt.error "
        f"FROM {s}.jobs AS job LEFT JOIN {s}.attempts AS attempt "
        "ON attempt.position = job.position WHERE job.job_id = %b ORDER BY number".encode(),
        (job_id,),
    ).fetchall()
    return [AttemptRecord(*row) for row in rows if row[0] is not None] if rows else None


def audit(
    cursor: Reader, statements: Statements, before: int | None, limit: int, job_id: str | None
) -> list[KeptAuditLine | DamagedAuditLine]:
    """Return the lines of the audit with a number below ``before``, newest first."""
    chosen, names = ("", ()) if job_id is None else ("AND job_id = %b", (job_id,))
    rows = cursor.execute(
        f"SELECT {', '.join(KeptAuditLine._fields)} FROM {statements.schema}.audit "
        f"WHERE number < %b {chosen} ORDER BY number DESC LIMIT %b".encode(),
        (MAX_NUMBER if before is None else before, *names, limit),
    )
    return [_checked(KeptAuditLine(*row)) for row in rows]


def _checked(line: KeptAuditLine) -> KeptAuditLine | DamagedAuditLine:
    problem = arguments_problem(line.arguments)
    return line if problem is None else DamagedAuditLine(line.number, problem)


def ids_from(cursor: Reader, statements: Statements, beginning: str, most: int) -> list[str]:
    """Return the first ids that begin with a text, in their order."""
    ids = cursor.execute(
        f"SELECT job_id FROM {statements.schema}.jobs WHERE job_id >= %b "
        "ORDER BY job_id LIMIT %b".encode(),
        (beginning, most),
    )
    return [job_id for [job_id] in ids if job_id.startswith(beginning)]


def transitions(
    cursor: Reader, statements: Statements, after: int, limit: int, job_id: str | None
) -> list[Entry]:
    """Return the transitions with a sequence number above ``after``, in that order."""
    s = statements.schema
    chosen = "sequence > %b ORDER BY sequence"
    values: tuple[object, ...] = (after, limit)
    if job_id is not None:  # behind a place in their index, as `listing` does it
        its = _POSITION_OF.format(s)
        chosen = f"(position, sequence) > ({its}, %b) AND position <= {its} ORDER BY 1, 2"
        values = (job_id, after, job_id, limit)
    rows = cursor.execute(
        "SELECT position, sequence, job_id, from_status, to_status, at, by, reason "
        f"FROM {s}.transitions WHERE {chosen} LIMIT %b".encode(),
        values,
    )
    return [Entry(*row[1:]) for row in rows]
