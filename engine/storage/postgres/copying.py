"""Copying: all of a shared database for a copy, and a new one from all of another place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import psycopg
from msgspec.structs import replace
from psycopg import Connection
from pydantic_core import from_json

from engine.domain.epochs import Epoch
from engine.domain.exceptions import (
    OutcomeUnknownError,
    StorageDamagedError,
    StorageError,
    StorageInUseError,
)
from engine.domain.follow_up_rules import NO_RULES
from engine.domain.pauses import NO_PAUSES
from engine.storage.audit import KeptAuditLine, arguments_problem
from engine.storage.copying import Counts, FailedAttempt, Head, LabelOfJob, Line
from engine.storage.findings import printable_name
from engine.storage.postgres import reading
from engine.storage.postgres.columns import (
    ATTEMPT_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    has_died,
    type_of,
)
from engine.storage.postgres.errors import is_definite
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.rows import Row, job_row, kept_of, record_of
from engine.storage.postgres.schema import prepare
from engine.storage.postgres.statements import Statements
from engine.storage.record import AttemptRecord, Entry, Record
from engine.storage.record_checks import record_problem

_TABLES: Final = ("jobs", "labels", "transitions", "attempts", "audit")


class DatabaseContents:
    """All that a database has; an `engine.storage.copying.Contents`.

    Args:
        name: The database, for errors.
        cursor: Has a transaction, which sees one state.
        statements: Those of its schema.
    """

    def __init__(self, name: str, cursor: Reader, statements: Statements) -> None:
        self._name = name
        self._cursor = cursor
        self._statements = statements
        self._s = statements.schema

    def head(self) -> Head:
        """Return what it has beside its rows.

        Raises:
            StorageDamagedError: Its notes are not as engines write them.
        """
        try:
            statuses = from_json(
                self._note("statuses") or '{"final": [], "live": [], "renamed": {}}'
            )
            return Head(
                tuple(sorted({*statuses["final"], *self._other_ends(statuses["live"])})),
                dict(statuses["renamed"]),
                self._note("lifecycle"),
                self._note("rules") or NO_RULES.text,
                self._note("pauses") or NO_PAUSES,
                int(self._note("last_sequence") or 0),
                int(self._note("last_position") or 0),
                tuple(Epoch(*row) for row in self._cursor.execute(self._statements.epochs)),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StorageDamagedError(f"{self._name}: its notes are damaged: {error}") from error

    def _other_ends(self, live: Sequence[str]) -> Iterator[str]:
        """Return the statuses of ended jobs, though an engine with another lifecycle ended them."""
        query = f"SELECT DISTINCT status FROM {self._s}.jobs WHERE ended_at IS NOT NULL"
        ends = {status for [status] in self._cursor.execute(query.encode())}
        return iter(ends.difference(live))

    def _note(self, name: str) -> str | None:
        return reading.note(self._cursor, self._statements, name)

    def count_rows(self) -> int:
        """Count all rows."""
        return self._number(
            " + ".join(f"(SELECT count(*) FROM {self._s}.{table})" for table in _TABLES)
        )

    def count_held(self) -> int:
        """Count the jobs that a living attempt has."""
        jobs = f"{self._s}.jobs WHERE token IS NOT NULL AND NOT {has_died()}"
        return self._number(f"(SELECT count(*) FROM {jobs})")

    def _number(self, expression: str) -> int:
        [number] = reading.one(self._cursor, f"SELECT {expression}".encode())
        return int(number)

    def jobs(self) -> Iterator[Record]:
        """Return the jobs by position, each with the revision 0.

        Raises:
            StorageDamagedError: One is not as engines write it.
        """
        query = self._statements.select(f"{self._s}.jobs AS job ORDER BY position")
        for row in reading.stream(self._cursor, "jobs", query):
            record = record_of(row)
            if (problem := record_problem(record)) is not None:
                raise StorageDamagedError(
                    f"{self._name}: job {printable_name(record.job_id)} is damaged, so there is no "
                    f"copy: {problem}"
                )
            yield replace(record, revision=0)

    def labels(self) -> Iterator[LabelOfJob]:
        """Return the labels by the position of their jobs, and by name."""
        return (LabelOfJob(*row) for row in self._table("labels", "position, name, value", 2))

    def transitions(self) -> Iterator[Line]:
        """Return the transitions by their numbers."""
        columns = "sequence, position, job_id, from_status, to_status, at, by, reason"
        for sequence, position, *rest in self._table("transitions", columns, 1):
            yield Line(position, Entry(sequence, *rest))

    def attempts(self) -> Iterator[FailedAttempt]:
        """Return the failed attempts by the position of their jobs, and by number."""
        for position, *rest in self._table("attempts", ", ".join(ATTEMPT_COLUMNS), 2):
            yield FailedAttempt(position, AttemptRecord(*rest))

    def audit(self) -> Iterator[KeptAuditLine]:
        """Return the lines of the audit by their numbers.

        Raises:
            StorageDamagedError: One is not as engines write it.
        """
        for row in self._table("audit", ", ".join(KeptAuditLine._fields), 1):
            line = KeptAuditLine(*row)
            if (problem := arguments_problem(line.arguments)) is not None:
                raise StorageDamagedError(
                    f"{self._name}: line {line.number} of the audit is damaged, so there is no "
                    f"copy: {problem}"
                )
            yield line

    def _table(self, table: str, columns: str, key: int) -> Iterator[Row]:
        """Return the rows of a table in the order of its first columns."""
        order = ", ".join(str(place + 1) for place in range(key))
        query = f"SELECT {columns} FROM {self._s}.{table} ORDER BY {order}"
        return reading.stream(self._cursor, table, query.encode())


def wait_for_other_place(connection: Connection[Any]) -> None:
    """Let the transaction of a connection be idle while another place is read or written."""
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def check_unused(cursor: Reader, statements: Statements, name: str) -> None:
    """Check that no engine has a database open, while nobody can open it.

    Raises:
        StorageInUseError: One has it; or has died, and no other one has noticed.
    """
    query = f"SELECT engine_id, name FROM {statements.schema}.engines WHERE NOT dead LIMIT 1"
    for engine_id, host in cursor.execute(query.encode()):
        raise StorageInUseError(
            name,
            f"number {engine_id}, {printable_name(host)} (if it has died, open another one for "
            "longer than its lease, which frees its jobs)",
        )


def make_database(
    connection: Connection[Any], name: str, schema: str, write: Callable[[DatabaseDraft], Counts]
) -> Counts:
    """Make a schema that has all of another place, in one transaction.

    Args:
        connection: The database.
        name: The same, for errors.
        schema: The name of the schema; it is missing, or has no jobs, and never had.
        write: Writes all of it, and counts that; an exception that it raises leaves nothing.

    Raises:
        StorageInUseError: An engine has it open.
        StorageError: It is not empty, or can't be written.
        OutcomeUnknownError: The connection was lost during the commit: all of it is there, or
            nothing.
    """
    statements, counts = Statements(schema), None
    try:
        with connection.transaction():
            wait_for_other_place(connection)
            prepare(connection, schema)  # nobody else opens it until the end
            cursor = connection.cursor(binary=True)
            check_unused(cursor, statements, name)
            _check_empty(cursor, statements, name)
            counts = write(DatabaseDraft(name, cursor, statements))
    except psycopg.OperationalError as error:
        if counts is None or is_definite(error):
            raise
        raise OutcomeUnknownError(
            f"{name}: the connection was lost during the commit, so all of the copy is there, or "
            "nothing: look by `list`"
        ) from error
    return counts


def _check_empty(cursor: Reader, statements: Statements, name: str) -> None:
    """Check that a schema has no jobs, and never had any.

    Raises:
        StorageError: It has.
    """
    if any(reading.one(cursor, statements.numbers)):
        raise StorageError(
            f"{name} has jobs already, or had some: name another database, or another schema by "
            "?schema=NAME"
        )


class DatabaseDraft:
    """A new schema that is being written; an `engine.storage.copying.Draft`.

    Args:
        name: The database, for errors.
        cursor: Has the transaction.
        statements: Those of the schema.
    """

    def __init__(self, name: str, cursor: Reader, statements: Statements) -> None:
        self._name = name
        self._cursor = cursor
        self._statements = statements
        self._s = statements.schema

    def put_head(self, head: Head) -> None:
        """Write what it has beside its rows.

        The running status is left open: the first engine that opens it makes its jobs ready.
        """
        statuses = {
            "final": head.final_statuses,
            "live": (),
            "renamed": head.renamed,
            "running": "",
        }
        notes: dict[str, str] = {
            "statuses": json.dumps(statuses),
            "rules": head.rules,
            "pauses": head.pauses,
            "last_sequence": str(head.last_sequence),
            "last_position": str(head.last_position),
        }
        if head.lifecycle is not None:
            notes["lifecycle"] = head.lifecycle
        self._cursor.execute(f"DELETE FROM {self._s}.notes WHERE name = 'lifecycle'".encode())
        for note in notes.items():
            self._cursor.execute(self._statements.write_note, note)
        self._cursor.execute(f"DELETE FROM {self._s}.epochs".encode())
        rows = [(number, *epoch) for number, epoch in enumerate(head.epochs, 1)]
        self._cursor.executemany(f"INSERT INTO {self._s}.epochs VALUES (%b, %b, %b)".encode(), rows)

    def put_jobs(self, jobs: Iterable[Record]) -> None:
        """Write the jobs, and their labels."""
        written = (replace(job, revision=1) for job in jobs)
        rows = (job_row(job, kept_of(job, "", 0, ()), job.position) for job in written)
        self._put("jobs", JOB_COLUMNS, rows)
        self._cursor.execute(
            f"INSERT INTO {self._s}.labels (name, value, position) "
            f"SELECT label.key, label.value, position FROM {self._s}.jobs, "
            "json_each_text(labels::json) AS label WHERE labels IS NOT NULL".encode()
        )

    def put_transitions(self, lines: Iterable[Line]) -> None:
        """Write the transitions."""
        rows = ((line.entry[0], line.position, *line.entry[1:]) for line in lines)
        self._put("transitions", ("sequence", *TRANSITION_COLUMNS), rows)

    def put_attempts(self, attempts: Iterable[FailedAttempt]) -> None:
        """Write the failed attempts."""
        rows = ((each.position, *each.attempt) for each in attempts)
        self._put("attempts", ATTEMPT_COLUMNS, rows)

    def put_audit(self, lines: Iterable[KeptAuditLine]) -> None:
        """Write the lines of the audit."""
        self._put("audit", KeptAuditLine._fields, lines)

    def _put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        statement = f"COPY {self._s}.{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with self._cursor.copy(statement.encode()) as copy:
            copy.set_types([type_of(column) for column in columns])
            for row in rows:
                copy.write_row(row)

    def contents(self) -> DatabaseContents:
        """Return what was written."""
        return DatabaseContents(self._name, self._cursor, self._statements)
