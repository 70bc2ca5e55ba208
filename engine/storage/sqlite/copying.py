"""Copying: all of a file for a copy, and a new file from all of another place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from engine.domain.exceptions import StorageDamagedError
from engine.storage.audit import KeptAuditLine
from engine.storage.copying import Counts, FailedAttempt, Head, LabelOfJob, Line
from engine.storage.findings import printable_name
from engine.storage.record import DEAD, Record
from engine.storage.sqlite.audit import SELECT_AUDIT
from engine.storage.sqlite.epochs import read_epochs, sound_epochs, write_epochs
from engine.storage.sqlite.errors import translate_sqlite_errors
from engine.storage.sqlite.file import take_steps
from engine.storage.sqlite.notes import (
    read_note,
    read_number,
    read_pauses,
    read_rules,
    read_text,
)
from engine.storage.sqlite.partial import open_partial, publish_whole
from engine.storage.sqlite.reading import SELECT_ATTEMPTS, SELECT_JOBS
from engine.storage.sqlite.rights import PRIVATE, Rights
from engine.storage.sqlite.rows import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    JOB_COLUMNS,
    TRANSITION_COLUMNS,
    Row,
    attempt_row,
    audit_row,
    job_row,
    line_row,
)
from engine.storage.sqlite.schema import STEPS
from engine.storage.sqlite.stored import (
    DamagedRowError,
    read_attempt,
    read_audit_line,
    read_entry,
    read_record,
)
from engine.storage.sqlite.writing import labels_of, write_note

Item = TypeVar("Item")

_TABLES: Final = ("jobs", "labels", "transitions", "attempts", "audit")
_STEP_ROWS: Final = 20  # at once: each may have some megabytes
_SELECT_LINES: Final = f"""
    SELECT {", ".join(f"transitions.{column}" for column in TRANSITION_COLUMNS)}, job_id
    FROM transitions LEFT JOIN jobs ON jobs.position = transitions.position ORDER BY sequence
"""


class FileContents:
    """All that a file has; an `engine.storage.copying.Contents`.

    Args:
        path: The file, for errors and warnings.
        connection: Has a transaction.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def head(self) -> Head:
        """Return what it has beside its rows. A backup has one more epoch, as when it is opened."""
        connection = self._connection
        final, renamed = (read_note(connection, each) for each in ("final_statuses", "renamed"))
        return Head(
            tuple(json.loads(final)),
            json.loads(renamed),
            read_text(connection, "lifecycle"),
            read_rules(connection),
            read_pauses(connection),
            read_number(connection, "last_sequence"),
            read_number(connection, "last_position"),
            tuple(sound_epochs(connection, read_epochs(connection), self._path)),
        )

    def count_rows(self) -> int:
        """Count all rows."""
        counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in _TABLES)
        return self._number(f"SELECT {counts}")

    def count_held(self) -> int:
        """Count the jobs that a living attempt has."""
        return self._number(
            f"SELECT count(*) FROM jobs WHERE token IS NOT NULL AND token NOT GLOB '{DEAD}*'"
        )

    def _number(self, query: str) -> int:
        [number] = self._connection.execute(query).fetchone()
        return int(number)

    def jobs(self) -> Iterator[Record]:
        """Return the jobs by position."""
        return self._sound("job", 1, f"{SELECT_JOBS} ORDER BY position", read_record)

    def labels(self) -> Iterator[LabelOfJob]:
        """Return the labels by the position of their jobs, and by name."""
        query = "SELECT position, name, value FROM labels ORDER BY position, name"
        return (LabelOfJob(*row) for row in self._connection.execute(query))

    def transitions(self) -> Iterator[Line]:
        """Return the transitions by their numbers."""

        def read(row: Row) -> Line:
            *columns, job_id = row
            return Line(row[1], read_entry(tuple(columns), job_id))

        return self._sound("transition", 0, _SELECT_LINES, read)

    def attempts(self) -> Iterator[FailedAttempt]:
        """Return the failed attempts by the position of their jobs, and by number."""
        query = f"{SELECT_ATTEMPTS} ORDER BY position, number"
        return self._sound(
            "an attempt of position", 0, query, lambda row: FailedAttempt(row[0], read_attempt(row))
        )

    def audit(self) -> Iterator[KeptAuditLine]:
        """Return the lines of the audit by their numbers."""
        query = f"{SELECT_AUDIT} ORDER BY number"
        return self._sound("line of the audit", 0, query, read_audit_line)

    def _sound(
        self, what: str, name: int, query: str, read: Callable[[Row], Item]
    ) -> Iterator[Item]:
        """Return what is read from rows.

        Raises:
            StorageDamagedError: A row is damaged.
        """
        for row in self._connection.execute(query):
            try:
                yield read(row)
            except DamagedRowError as error:
                raise StorageDamagedError(
                    f"{self._path}: {what} {printable_name(row[name])} is damaged, so there is no "
                    f"copy: {error}"
                ) from error


def make_file(path: Path, write: Callable[[FileDraft], Counts]) -> Counts:
    """Make a file, whole or not at all. It is for its owner alone.

    Args:
        path: The file.
        write: Writes all of it, and counts that; an exception that it raises leaves nothing.

    Raises:
        StorageError: It is there already, or can't be written.
    """

    def fill(partial: Path) -> Counts:
        with translate_sqlite_errors(f"writing {path}"), open_partial(partial) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # what fails is removed
            take_steps(connection, 0, STEPS)
            connection.execute("BEGIN")
            counts = write(FileDraft(path, connection))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        return counts

    return publish_whole(path, Rights(PRIVATE), fill)


class FileDraft:
    """A new file that is being written; an `engine.storage.copying.Draft`.

    Args:
        path: Its final path.
        connection: Has a transaction, and the schema.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def put_head(self, head: Head) -> None:
        """Write what it has beside its rows."""
        notes: dict[str, str | int] = {
            "final_statuses": json.dumps(head.final_statuses),
            "renamed": json.dumps(head.renamed),
            "rules": head.rules,
            "pauses": head.pauses,
            "last_sequence": head.last_sequence,
            "last_position": head.last_position,
        }
        if head.lifecycle is not None:
            notes["lifecycle"] = head.lifecycle
        for note in notes.items():
            write_note(self._connection, *note)
        write_epochs(self._connection, head.epochs)

    def put_jobs(self, jobs: Iterable[Record]) -> None:
        """Write the jobs, and their labels."""
        rows = (job_row(job) for job in jobs)
        while block := list(islice(rows, _STEP_ROWS)):
            self._put("jobs", JOB_COLUMNS, block)
            self._put("labels", ("name", "value", "position"), labels_of(block))

    def put_transitions(self, lines: Iterable[Line]) -> None:
        """Write the transitions."""
        rows = (line_row(line.position, line.entry) for line in lines)
        self._put("transitions", TRANSITION_COLUMNS, rows)

    def put_attempts(self, attempts: Iterable[FailedAttempt]) -> None:
        """Write the failed attempts."""
        rows = (attempt_row(each.position, each.attempt) for each in attempts)
        self._put("attempts", ATTEMPT_COLUMNS, rows)

    def put_audit(self, lines: Iterable[KeptAuditLine]) -> None:
        """Write the lines of the audit."""
        self._put("audit", AUDIT_COLUMNS, map(audit_row, lines))

    def _put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        places = ", ".join("?" * len(columns))
        self._connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows
        )

    def contents(self) -> FileContents:
        """Return what was written."""
        return FileContents(self._path, self._connection)
