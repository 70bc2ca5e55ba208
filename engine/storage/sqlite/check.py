"""Check: whether a whole file is what engines have written into it.

Everything is looked at as it was at one moment, also while an engine writes to the file. What is
looked for, in this order:

* the definitions of tables and indexes: are they those of the schema?
* SQLite's own ``PRAGMA integrity_check``: pages, free pages, each index against its table;
* each note of the table ``engine``, each job and each transition against its checksum;
* each job against its transitions: as many as its version says, in a chain from None to its status,
  their times in order; it has ended if its status is a final one, and then no attempt has it; no
  transition is without a job;
* each job's input and execution: all or nothing of an execution is there, and JSON where it is due;
* the numbers of jobs and transitions: none is missing above the newest that was ever removed.

One thing can't be found. A log, ``jobs.db-wal``, whose end is damaged is the same to SQLite as one
that was written no further: what was committed last may be gone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Container, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.domain.exceptions import StorageDamagedError, shown
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS
from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.errors import storage_error
from engine.storage.sqlite.file import connect_reader, definitions, new_database
from engine.storage.sqlite.reading import SELECT_JOBS, SELECT_TRANSITIONS
from engine.storage.sqlite.rows import (
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    DamagedRowError,
    Row,
    check_row,
)

MAX_FINDINGS: Final = 1_000
"""So many are kept; the rest is counted."""

_STEP_ROWS: Final = 10_000  # so often is progress told, about 20 times a second
_STEP_INSTRUCTIONS: Final = 1_000_000  # of SQLite's machine; about as often

_JSON_COLUMNS: Final = ("input", "deadlines", "prompt", "answers")
_OF_EVERY_EXECUTION: Final = ("priority", "attempt", "failures")
_NUMBERED: Final = (("position", "jobs", "job"), ("sequence", "transitions", "transition"))


class Finding(NamedTuple):
    """One thing that is wrong."""

    where: str
    """Such as ``job 7c9e6679-7425-40de-944b-e07fc1f90ae7``, ``transition 17`` or ``the file``."""
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check has looked at, and found."""

    jobs: int
    transitions: int
    problems: int
    findings: tuple[Finding, ...]
    """The first 1,000 problems."""


def check_file(path: Path, progress: ProgressCallback) -> Report:
    """Look at all that is in an engine's file; it may be in use.

    Nothing is written, and nobody waits for it; but an engine that writes meanwhile can't reuse its
    log, which grows. A million jobs with three transitions each take about half a minute.

    Args:
        path: The file.
        progress: Is told how many jobs and transitions were looked at, and of how many, about 20
            times a second. What it raises ends the check.

    Raises:
        StorageError: The file can't be read.
        StorageFormatError: It is no engine's, or of another version.
    """
    findings = _Findings()
    try:
        with closing(connect_reader(path)) as connection:
            return _Check(path, connection, progress, findings).report()
    except StorageDamagedError as error:
        findings.add("the file", str(error))
        return findings.report(0, 0)


class _Findings:
    def __init__(self) -> None:
        self._count = 0
        self._first: list[Finding] = []

    def add(self, where: str, problem: str) -> None:
        self._count += 1
        if self._count <= MAX_FINDINGS:
            self._first.append(Finding(where, problem))

    def report(self, jobs: int, transitions: int) -> Report:
        return Report(jobs, transitions, self._count, tuple(self._first))


class _Check:
    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        progress: ProgressCallback,
        findings: _Findings,
    ) -> None:
        self._path = path
        self._connection = connection
        self._progress = progress
        self._findings = findings
        self._found = findings.add
        self._looked_at = {"job": 0, "transition": 0}
        self._total = 0
        self._final_statuses: Container[str] | None = None

    def report(self) -> Report:
        # One transaction: the whole check sees one state of the file.
        self._connection.execute("BEGIN")
        for look in (
            self._count_rows,
            self._look_at_schema,
            self._look_at_pages,
            self._look_at_notes,
            self._look_at_rows,
            self._look_at_numbers,
        ):
            with self._surviving():
                look()
        return self._findings.report(self._looked_at["job"], self._looked_at["transition"])

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Make a finding of what SQLite can't read; what comes next may still find more.

        Raises:
            StorageError: It is not about what is in the file, such as an error of the disk.
        """
        try:
            yield
        except sqlite3.Error as error:
            told = storage_error(self._path, error)
            if told is not None and not isinstance(told, StorageDamagedError):
                raise told from error
            # Of a sound file each of our statements can be executed.
            self._found("the file", f"SQLite can't read it: {error}")
        except UnicodeDecodeError as error:  # what SQLite says has a damaged name in it
            self._found("the file", f"SQLite can't read it: {shown(error.object)}")

    # What SQLite has made of it.

    def _count_rows(self) -> None:
        [self._total] = self._connection.execute(
            "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM transitions)"
        ).fetchone()

    def _look_at_schema(self) -> None:
        with new_database() as model:
            expected = definitions(model)
        found = definitions(self._connection)
        for name in sorted(expected.keys() - found.keys()):
            self._found(f"the schema: {name}", "it is missing")
        for name in sorted(found.keys() - expected.keys()):
            self._found(f"the schema: {name}", "no engine has made it")
        for name in sorted(expected.keys() & found.keys()):
            if expected[name] != found[name]:
                self._found(f"the schema: {name}", f"it has changed: {shown(found[name])}")

    def _look_at_pages(self) -> None:
        with _stoppable(self._connection, lambda: self._progress(0, self._total)):
            for [text] in self._connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})"):
                for line in str(text).splitlines():
                    if line != "ok" and not line.startswith("***"):  # a headline
                        self._found("the file", line)

    # What engines have written.

    def _look_at_notes(self) -> None:
        with new_database() as model:
            expected = _notes(model)
        notes = self._sound_notes()
        for name in sorted(expected.keys() - notes.keys()):
            self._found(f"note {name}", "it is missing or damaged")
        for name, value in notes.items():
            if type(value) is not type(expected.get(name)) or (
                isinstance(value, int) and value < 0
            ):
                self._found(f"note {_plain(name)}", f"it can't be {shown(value)}")
        if bool(notes.get("last_sequence")) != bool(notes.get("last_position")):
            self._found("the notes", "only one of last_sequence and last_position is 0")
        for number, table, kind in _NUMBERED:
            newest = notes.get(f"last_{number}")
            for _ in self._connection.execute(
                f"SELECT 1 FROM {table} WHERE {number} = ?", (newest,)
            ):
                self._found("the notes", f"{kind} {newest} is there, and was to be removed")
        self._final_statuses = self._read_final_statuses(notes.get("final_statuses"))

    def _sound_notes(self) -> dict[str, Any]:
        notes: dict[str, Any] = {}
        for row in self._connection.execute("SELECT name, value, checksum FROM engine"):
            with suppress(DamagedRowError):
                check_row(row)
                notes[row[0]] = row[1]
        return notes

    def _read_final_statuses(self, text: object) -> Container[str] | None:
        """Return the statuses in which jobs have ended; None if that can't be read."""
        try:
            return frozenset(json.loads(str(text)))
        except (ValueError, TypeError):
            self._found("note final_statuses", f"it can't be {shown(text)}")
            return None

    def _look_at_rows(self) -> None:
        """Go through jobs and transitions side by side, in the order of the jobs."""
        jobs = self._sound("job", f"{SELECT_JOBS} ORDER BY position")
        transitions = self._sound("transition", f"{SELECT_TRANSITIONS} ORDER BY position, sequence")
        rows = merge(((row[0], 0, row) for row in jobs), ((row[1], 1, row) for row in transitions))
        for position, of_position in groupby(rows, itemgetter(0)):
            self._look_at_job(position, of_position)

    def _look_at_job(self, position: int, rows: Iterator[tuple[int, int, Row]]) -> None:
        _, is_transition, first = next(rows)
        # In a table whose pages are out of order, more than one job may seem to have a position.
        rest = (row for _, is_transition, row in rows if is_transition)
        if not is_transition:
            problems = (_problems(first, rest), self._problem_of_end(first), _of_execution(first))
            for problem in chain.from_iterable(problems):
                self._found(f"job {_plain(first[1])}", problem)
        elif not self._connection.execute(
            "SELECT 1 FROM jobs WHERE position = ?", (position,)
        ).fetchone():  # a damaged job is known
            for row in chain([first], rest):
                self._found(f"transition {row[0]}", f"there is no job with its position {position}")

    def _sound(self, kind: str, query: str) -> Iterator[Row]:
        """Go through rows; only those that fit their checksums are trusted any further."""
        for row in self._connection.execute(query):
            self._looked_at[kind] += 1
            if self._looked_at[kind] % _STEP_ROWS == 0:
                self._progress(sum(self._looked_at.values()), self._total)
            try:
                check_row(row)
            except DamagedRowError as error:
                name = row[1] if kind == "job" else row[0]
                self._found(f"{kind} {_plain(name)}", str(error))
            else:
                yield row

    def _problem_of_end(self, job: Row) -> Iterator[str]:
        status, updated_at, ended_at = job[2], job[6], job[11]
        if ended_at not in {None, updated_at}:
            yield f"it ended at {ended_at}, and changed at {updated_at}"
        elif self._final_statuses is not None:
            final = status in self._final_statuses
            if final != (ended_at is not None):
                kind = "a final one" if final else "no final one"
                yield f"its status {status} is {kind}, and its end is {ended_at}"

    def _look_at_numbers(self) -> None:
        for number, table, kind in _NUMBERED:
            gaps = self._connection.execute(
                f"SELECT {number} FROM {table} AS this, engine WHERE name = 'last_{number}' "
                f"AND {number} > value + 1 AND NOT EXISTS "
                f"(SELECT 1 FROM {table} WHERE {number} = this.{number} - 1)"
            )
            for [after] in gaps:
                self._found(f"{kind} {after}", "what comes before it is missing")


def _problems(job: Row, history: Iterator[Row]) -> Iterator[str]:
    """Say what does not fit between a job and its transitions, all of them as they were written."""
    _, _, status, _, _, created_at, updated_at, _, _, version, *_ = job
    lines, last_status, last_at = 0, None, created_at
    for sequence, _, from_status, to_status, at, _ in history:
        if from_status != last_status:
            yield f"its transition {sequence} is from {from_status}, not from {last_status}"
        if at < last_at:
            yield f"its transition {sequence} is of {at}, which is before {last_at}"
        if not lines and at > created_at:
            yield f"it was created at {created_at}, and its history begins at {at}"
        lines, last_status, last_at = lines + 1, to_status, at
    if lines != version:
        yield f"its version is {version}, and it has {lines} sound transitions"
    elif last_status != status:
        yield f"its status is {status}, and its history ends with {last_status}"
    elif last_at != updated_at:
        yield f"it changed at {updated_at}, and its history ends at {last_at}"


def _of_execution(job: Row) -> Iterator[str]:
    """Say what is wrong with a job's input and execution."""
    values = dict(zip(JOB_COLUMNS, job, strict=True))
    for column in _JSON_COLUMNS:
        if not _is_json(values[column]):
            yield f"its {column} is no JSON: {shown(values[column])}"
    missing = [column for column in _OF_EVERY_EXECUTION if values[column] is None]
    if len(missing) == len(_OF_EVERY_EXECUTION):
        for column in EXECUTION_COLUMNS:
            if values[column] is not None:
                yield f"it has no execution, and its {column} is {shown(values[column])}"
    else:
        for column in missing:
            yield f"it has an execution without {column}"
    if values["ended_at"] is not None and values["token"] is not None:
        yield f"it has ended, and an attempt has it: {shown(values['token'])}"


def _is_json(text: str | None) -> bool:
    try:
        if text is not None:
            json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _plain(name: object) -> str:
    """Return what a row is called by, as it can be shown."""
    text = str(name)
    return text if text.isprintable() and len(text) <= MAX_IDENTIFIER_CHARACTERS else shown(text)


def _notes(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM engine"))


@contextmanager
def _stoppable(connection: sqlite3.Connection, tell: Callable[[], None]) -> Iterator[None]:
    """Call something now and then while SQLite works; what it raises ends the work.

    SQLite would only say that it was interrupted.
    """
    raised: list[BaseException] = []

    def told() -> int:
        try:
            tell()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            raised.append(error)
        return len(raised)

    connection.set_progress_handler(told, _STEP_INSTRUCTIONS)
    try:
        yield
    except sqlite3.OperationalError as error:
        for reason in raised:
            raise reason from None
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            # Raised by a signal before `told` had begun; nobody else interrupts.
            raise KeyboardInterrupt from None
        raise
    finally:
        connection.set_progress_handler(None, 0)
