"""Check: whether a whole file is as engines have written it.

A check sees the file as it was at one moment, even while an engine writes to it. It compares, in
this order:

* the definitions of tables and indexes with the schema;
* pages, free pages and indexes with each other, by SQLite's own ``PRAGMA integrity_check``;
* each note of the table ``engine``, each epoch, each job and each transition with its checksum, and
  its values with their types, ranges and forms (`engine.storage.sqlite.stored`);
* each job with its transitions: as many as its version says, in a chain from None to its status,
  their times in order, its start one of them; it has ended, with an outcome, if its status is a
  final one, and then no attempt has it; no transition lacks its job;
* each job's labels with the table of labels, both ways;
* each job's execution: it is complete or not there; a result that should be JSON is;
* each failed attempt: its checksum and values, its job, and whether it is the job's last error;
* each line of the audit: its checksum and values, and whether none between two is missing;
* each count of the throughput: its checksum and values;
* the numbers of jobs and transitions: none is missing above the newest that was ever removed.

It can't find one kind of damage. SQLite takes a log, ``jobs.db-wal``, whose end is damaged for one
that was written no further: the newest commits may be gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from engine.domain.exceptions import StorageDamagedError, shown
from engine.storage.family_checks import rules_problem
from engine.storage.findings import MAX_FINDINGS, Findings, Report, printable_name
from engine.storage.job_checks import Move, job_problems
from engine.storage.pause_checks import pauses_problem
from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.attempt_checks import attempt_problems
from engine.storage.sqlite.audit import audit_problems
from engine.storage.sqlite.epochs import SELECT_EPOCHS
from engine.storage.sqlite.errors import storage_error
from engine.storage.sqlite.family_checks import family_problems
from engine.storage.sqlite.file import connect_reader, definitions, new_database
from engine.storage.sqlite.interruptible import interruptible
from engine.storage.sqlite.label_checks import label_problems
from engine.storage.sqlite.reading import SELECT_TRANSITIONS
from engine.storage.sqlite.rows import JOB_COLUMNS, Row
from engine.storage.sqlite.stored import (
    DamagedRowError,
    check_row,
    read_entry,
    read_epoch,
    read_record,
)
from engine.storage.sqlite.throughput import throughput_problems

_STEP_ROWS: Final = 10_000  # between two calls for progress: about 20 a second

_NUMBERED: Final = (("position", "jobs", "job"), ("sequence", "transitions", "transition"))

# Their newest transitions are compared as a part of their histories.
_SELECT_JOBS: Final = f"SELECT {', '.join(JOB_COLUMNS)}, 0 FROM jobs ORDER BY position"


def check_file(path: Path, progress: ProgressCallback) -> Report:
    """Check all of an engine's file, which may be in use.

    It writes nothing and delays no one; but an engine that writes meanwhile can't reuse its log,
    which grows. A million jobs with three transitions each take about half a minute.

    Args:
        path: The file.
        progress: Receives how many jobs and transitions are checked, and of how many, about 20
            times a second. An exception that it raises ends the check.

    Raises:
        StorageError: The file can't be read.
        StorageFormatError: It is no engine's, or of another version.
    """
    findings = Findings()
    try:
        with closing(connect_reader(path)) as connection:
            return _Check(path, connection, progress, findings).report()
    except StorageDamagedError as error:
        findings.add("the file", str(error))
        return findings.report(0, 0)


class _Check:
    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        progress: ProgressCallback,
        findings: Findings,
    ) -> None:
        self._path = path
        self._connection = connection
        self._progress = progress
        self._findings = findings
        self._add = findings.add
        self._checked = {"job": 0, "transition": 0}
        self._total = 0
        self._is_final: Callable[[str], bool | None] = lambda _: None

    def report(self) -> Report:
        # One transaction: the whole check sees one state of the file.
        self._connection.execute("BEGIN")
        with self._surviving():
            self._count_rows()
        for check in (
            self._check_schema,
            self._check_pages,
            self._check_notes,
            self._check_epochs,
            self._check_rows,
            self._check_attempts,
            self._check_audit,
            self._check_throughput,
            self._check_labels,
            self._check_families,
            self._check_numbers,
        ):
            with self._surviving(), interruptible(self._connection, self._tell):
                check()
        return self._findings.report(self._checked["job"], self._checked["transition"])

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Turn damage that SQLite can't read into a finding; the next checks may find more.

        Raises:
            StorageError: It is not damage of the file, but such as an error of the disk.
        """
        try:
            yield
        except sqlite3.Error as error:
            translated = storage_error(self._path, error)
            if translated is not None and not isinstance(translated, StorageDamagedError):
                raise translated from error
            # Every statement of ours can be executed on a sound file.
            self._add("the file", f"SQLite can't read it: {error}")
        except UnicodeDecodeError as error:  # SQLite's message has a damaged name in it
            self._add("the file", f"SQLite can't read it: {shown(error.object)}")

    def _tell(self) -> None:
        self._progress(sum(self._checked.values()), self._total)

    # SQLite's part.

    def _count_rows(self) -> None:
        [self._total] = self._connection.execute(
            "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM transitions)"
        ).fetchone()

    def _check_schema(self) -> None:
        with new_database() as model:
            expected = definitions(model)
        found = definitions(self._connection)
        for name in sorted(expected.keys() - found.keys()):
            self._add(f"the schema: {printable_name(name)}", "it is missing")
        for name in sorted(found.keys() - expected.keys()):
            self._add(f"the schema: {printable_name(name)}", "no engine has made it")
        for name in sorted(expected.keys() & found.keys()):
            if expected[name] != found[name]:
                self._add(
                    f"the schema: {printable_name(name)}", f"it has changed: {shown(found[name])}"
                )

    def _check_pages(self) -> None:
        for [text] in self._connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})"):
            for line in str(text).splitlines():
                if line != "ok" and not line.startswith("***"):  # a headline
                    self._add("the file", line)

    # The engines' part.

    def _check_notes(self) -> None:
        with new_database() as model:
            expected = _notes(model)
        notes = self._undamaged_notes()
        for name in sorted(expected.keys() - notes.keys()):
            self._add(f"note {name}", "it is missing or damaged")
        expected |= _LATER_NOTES
        for name, value in notes.items():
            if type(value) is not type(expected.get(name)) or (
                isinstance(value, int) and value < 0
            ):
                self._add(f"note {printable_name(name)}", f"it can't be {shown(value)}")
        if bool(notes.get("last_sequence")) != bool(notes.get("last_position")):
            self._add("the notes", "only one of last_sequence and last_position is 0")
        for number, table, kind in _NUMBERED:
            newest = notes.get(f"last_{number}")
            for _ in self._connection.execute(
                f"SELECT 1 FROM {table} WHERE {number} = ?", (newest,)
            ):
                self._add("the notes", f"{kind} {newest} is there, and was to be removed")
        self._read_final_statuses(notes.get("final_statuses"))
        for name, problem_of in (("rules", rules_problem), ("pauses", pauses_problem)):
            if (problem := problem_of(notes.get(name, "[]"))) is not None:
                self._add(f"note {name}", problem)

    def _check_epochs(self) -> None:
        first_sequence = 1
        rows = self._connection.execute(f"{SELECT_EPOCHS} ORDER BY number")
        for number, row in enumerate(rows, 1):
            try:
                epoch = read_epoch(row)
            except DamagedRowError as error:
                self._add(f"epoch {row[0]}", str(error))
                continue
            if row[0] != number or epoch.first_sequence < first_sequence:
                self._add(f"epoch {row[0]}", "the one before it is missing")
            first_sequence = epoch.first_sequence

    def _undamaged_notes(self) -> dict[str, Any]:
        notes: dict[str, Any] = {}
        for row in self._connection.execute("SELECT name, value, checksum FROM engine"):
            with suppress(DamagedRowError):
                check_row(row)
                name, value, _ = row
                notes[name] = value
        return notes

    def _read_final_statuses(self, text: object) -> None:
        try:
            self._is_final = frozenset(from_json(str(text))).__contains__
        except (ValueError, TypeError):
            self._add("note final_statuses", f"it can't be {shown(text)}")

    def _check_rows(self) -> None:
        """Go through jobs and transitions side by side, in the order of the jobs."""
        jobs = self._undamaged("job", _SELECT_JOBS)
        transitions = self._undamaged(
            "transition", f"{SELECT_TRANSITIONS} ORDER BY position, sequence"
        )
        rows = merge(((row[0], 0, row) for row in jobs), ((row[1], 1, row) for row in transitions))
        for position, of_position in groupby(rows, itemgetter(0)):
            self._check_position(position, of_position)

    def _check_position(self, position: int, rows: Iterator[tuple[int, int, Row]]) -> None:
        _, is_transition, first = next(rows)
        # In a table whose pages are out of order, more than one job may seem to have a position.
        rest = (row for _, is_transition, row in rows if is_transition)
        if not is_transition:
            job = dict(zip(JOB_COLUMNS, first[:-1], strict=True))
            moves = (Move(row[0], *row[2:5]) for row in rest)
            for problem in job_problems(job, moves, self._is_final):
                self._add(f"job {printable_name(first[1])}", problem)
        elif not self._connection.execute(
            "SELECT 1 FROM jobs WHERE position = ?", (position,)
        ).fetchone():  # a damaged job is known
            for row in chain([first], rest):
                self._add(f"transition {row[0]}", f"there is no job with its position {position}")

    def _undamaged(self, kind: str, query: str) -> Iterator[Row]:
        """Go through rows; return only those that engines can read, for further checks."""
        for row in self._connection.execute(query):
            self._checked[kind] += 1
            if self._checked[kind] % _STEP_ROWS == 0:
                self._tell()
            try:
                if kind == "job":
                    read_record(row)
                else:
                    read_entry(row, "")
            except DamagedRowError as error:
                name = row[1] if kind == "job" else row[0]
                self._add(f"{kind} {printable_name(name)}", str(error))
            else:
                yield row

    def _check_attempts(self) -> None:
        for where, problem in attempt_problems(self._connection):
            self._add(where, problem)

    def _check_audit(self) -> None:
        for finding in audit_problems(self._connection):
            self._add(*finding)

    def _check_throughput(self) -> None:
        for finding in throughput_problems(self._connection):
            self._add(*finding)

    def _check_labels(self) -> None:
        for finding in label_problems(self._connection):
            self._add(*finding)

    def _check_families(self) -> None:
        for finding in family_problems(self._connection):
            self._add(*finding)

    def _check_numbers(self) -> None:
        for number, table, kind in _NUMBERED:
            gaps = self._connection.execute(
                f"SELECT {number} FROM {table} AS this, engine WHERE name = 'last_{number}' "
                f"AND {number} > value + 1 AND NOT EXISTS "
                f"(SELECT 1 FROM {table} WHERE {number} = this.{number} - 1)"
            )
            for [after] in gaps:
                self._add(f"{kind} {after}", f"the {kind} before it is missing")


_LATER_NOTES: Final = {"lifecycle": "", "other_writes": 0}
"""Notes that a new file doesn't have, and a value of their types."""


def _notes(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM engine"))
