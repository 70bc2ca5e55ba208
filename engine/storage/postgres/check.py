"""Check: whether a whole database is as engines have written it.

A check sees the database as it was at one moment, while engines write to it; as long as it runs,
the server keeps the old rows that they replace. It compares, in this order:

* the tables, indexes, functions and triggers with the schema: each is there, and each index is
  valid;
* the notes and epochs;
* each job's values with their ranges and forms (`engine.storage.record_checks`), and each job with
  its transitions, as `engine.storage.job_checks` says for any storage;
* all that one statement can find (`engine.storage.postgres.rules`): labels, failed attempts,
  names that two jobs have, numbers that are missing, also in the audit, and whether each job can
  be claimed, is held by an engine that is there, and becomes due.

Flipped bits are the server's matter: it finds them by its own checksums (``initdb -k``), and
``pg_amcheck`` compares tables with their indexes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from typing import Final

from msgspec import DecodeError
from pydantic_core import from_json

from engine.domain.epochs import NAME_FORM
from engine.domain.exceptions import shown
from engine.domain.labels import read_labels
from engine.storage.audit import arguments_problem
from engine.storage.family_checks import rules_problem
from engine.storage.findings import Findings, Report, printable_name
from engine.storage.job_checks import Move, job_problems
from engine.storage.pause_checks import pauses_problem
from engine.storage.postgres.columns import JOB_COLUMNS, RECORD_COLUMNS
from engine.storage.postgres.reading import Reader, is_standby, stream
from engine.storage.postgres.rows import Row, record_of
from engine.storage.postgres.rules import LEFT_BEHIND, RULES, SAME_NAMES, Rule
from engine.storage.postgres.schema import STEPS, quoted
from engine.storage.protocol import ProgressCallback
from engine.storage.record import MAX_NUMBER
from engine.storage.record_checks import record_problem

_STEP_ROWS: Final = 1_000  # between two calls for progress
_MADE: Final = re.compile(
    r"CREATE (?:UNLOGGED |UNIQUE |CONSTRAINT )?(TABLE|INDEX|VIEW|FUNCTION|TRIGGER) (\w+)"
)
_NAMES: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%b))
    UNION SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident(%b))
    UNION SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE relnamespace = to_regnamespace(quote_ident(%b)) AND tgenabled = 'A'
"""
_INVALID: Final = """
    SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = to_regnamespace(quote_ident(%b))
    AND NOT (indisvalid AND indisready AND indislive) ORDER BY relname
"""
_OF_LINE: Final = "position, sequence, from_status, to_status, at"
_LABELS: Final = """
    SELECT position, job.job_id, job.labels, label.names, label.labels
    FROM (SELECT position, job_id, labels FROM {schema}.jobs) AS job
    FULL JOIN (
        SELECT position, array_agg(name ORDER BY name) AS names,
            array_agg(value ORDER BY name) AS labels
        FROM {schema}.labels GROUP BY position
    ) AS label USING (position)
    WHERE job.labels IS NOT NULL OR label.names IS NOT NULL ORDER BY position
"""


def check_database(cursor: Reader, schema: str, progress: ProgressCallback) -> Report:
    """Check all of an engine's schema, which may be in use. It writes nothing, and locks nothing.

    Args:
        cursor: Has a transaction that sees one state.
        schema: The name of the schema.
        progress: Receives how many jobs and transitions are checked, and of how many, for each
            1,000. An exception that it raises ends the check.

    Raises:
        StorageError: The database can't be read.
    """
    return _Check(cursor, schema, progress).report()


class _Check:
    def __init__(self, cursor: Reader, schema: str, progress: ProgressCallback) -> None:
        self._cursor = cursor
        self._schema = schema
        self._quoted = quoted(schema)
        self._progress = progress
        self._findings = Findings()
        self._add = self._findings.add
        self._checked = {"jobs": 0, "transitions": 0}
        self._total = 0
        self._ends: dict[str, bool] = {}  # whether a status is a final one, if that is known
        self._values: dict[str, str | int] = {"running": "", "last_position": 0, "last_sequence": 0}

    def report(self) -> Report:
        if self._has_tables():
            [[self._total]] = self._rows(
                f"SELECT (SELECT count(*) FROM {self._quoted}.jobs) "
                f"+ (SELECT count(*) FROM {self._quoted}.transitions)"
            )
            self._check_notes()
            self._check_epochs()
            self._check_jobs()
            self._check_by_rules()
            self._check_arguments()
        return self._findings.report(self._checked["jobs"], self._checked["transitions"])

    # What was made.

    def _has_tables(self) -> bool:
        """Check the schema; return whether all tables are there, without which nothing works."""
        expected = {name: kind for step in STEPS for each in step for kind, name in _made(each)}
        found = {name for [name] in self._rows(_NAMES, *[self._schema] * 3)}
        missing = expected.keys() - found
        for name in sorted(missing):
            problem = "it is missing or off" if expected[name] == "trigger" else "it is missing"
            self._add(f"the schema: {expected[name]} {name}", problem)
        for [name] in self._rows(_INVALID, self._schema):
            self._add(f"the schema: index {printable_name(name)}", "it is not valid: REINDEX it")
        return not any(expected[name] == "table" for name in missing)

    def _rows(self, query: str, *values: object) -> list[Row]:
        return self._cursor.execute(query.encode(), values).fetchall()

    # Notes and epochs.

    def _check_notes(self) -> None:
        notes: dict[str, str] = dict(self._rows(f"SELECT name, value FROM {self._quoted}.notes"))
        for name in ("last_sequence", "last_position"):
            value = notes.get(name, "")
            if value.isdecimal() and len(value) <= len(str(MAX_NUMBER)):
                self._values[name] = int(value)
            else:
                self._add(f"note {name}", f"it can't be {shown(value)}")
        self._check_counted(notes.get("counted", ""))
        for name in ("rules_number", "instructions_number"):
            if not notes.get(name, "").isdecimal():
                self._add(f"note {name}", f"it can't be {shown(notes.get(name))}")
        if (problem := rules_problem(notes.get("rules"))) is not None:
            self._add("note rules", problem)
        if (problem := pauses_problem(notes.get("pauses"))) is not None:
            self._add("note pauses", problem)
        if bool(self._values["last_sequence"]) != bool(self._values["last_position"]):
            self._add("the notes", "only one of last_sequence and last_position is 0")
        [[has_jobs]] = self._rows(f"SELECT EXISTS (SELECT FROM {self._quoted}.jobs)")
        if has_jobs or "statuses" in notes:
            self._read_statuses(notes.get("statuses"))

    def _check_counted(self, text: str) -> None:
        [[newest]] = self._rows(f"SELECT last_sequence FROM {self._quoted}.numbers")
        if not text.isdecimal():
            self._add("note counted", f"it can't be {shown(text)}")
        elif int(text) > newest:
            self._add("note counted", f"it is {text}, and the newest transition is {newest}")

    def _read_statuses(self, text: str | None) -> None:
        try:
            found = from_json(text or "")
            self._ends = dict.fromkeys(found["final"], True) | dict.fromkeys(found["live"], False)
            self._values["running"] = str(found["running"])
        except (ValueError, KeyError, TypeError):
            self._add("note statuses", f"it can't be {shown(text)}")

    def _check_epochs(self) -> None:
        first, query = 1, f"SELECT number, name, first_sequence FROM {self._quoted}.epochs"
        for place, row in enumerate(self._rows(f"{query} ORDER BY number"), 1):
            number, name, first_sequence = row
            if not re.fullmatch(NAME_FORM, name):
                self._add(f"epoch {number}", f"its name can't be {shown(name)}")
            if number != place or first_sequence < first:
                self._add(f"epoch {number}", "the one before it is missing")
            first = first_sequence

    # Jobs, with their transitions.

    def _check_jobs(self) -> None:
        """Go through jobs and transitions side by side, in the order of the jobs."""
        jobs = self._stream("jobs", f"SELECT {', '.join(JOB_COLUMNS)}", "position")
        lines = self._stream("transitions", f"SELECT {_OF_LINE}", "position, sequence")
        rows = merge(((row[0], 0, row) for row in jobs), ((row[0], 1, row) for row in lines))
        for position, of_position in groupby(rows, itemgetter(0)):
            self._check_position(position, of_position)

    def _check_position(self, position: int, rows: Iterator[tuple[int, int, Row]]) -> None:
        _, is_line, first = next(rows)
        moves = (Move(*row[1:]) for _, _, row in rows)
        if not is_line:
            self._check_job(first, moves)
            return
        for move in chain([Move(*first[1:])], moves):
            problem = f"there is no job with its position {position}"
            self._add(f"transition {move.sequence}", problem)

    def _stream(self, table: str, select: str, order: str) -> Iterator[Row]:
        query = f"{select} FROM {self._quoted}.{table} ORDER BY {order}"
        for row in stream(self._cursor, table, query.encode()):
            self._checked[table] += 1
            if sum(self._checked.values()) % _STEP_ROWS == 0:
                self._progress(sum(self._checked.values()), self._total)
            yield row

    def _check_job(self, row: Row, moves: Iterator[Move]) -> None:
        where = f"job {printable_name(row[1])}"
        problem = record_problem(record_of((*row[: len(RECORD_COLUMNS)], 0)))
        if problem is not None:
            self._add(where, problem)
            return
        job = dict(zip(JOB_COLUMNS, row, strict=True))
        for problem in job_problems(job, moves, self._ends.get):
            self._add(where, problem)

    # What statements find.

    def _check_by_rules(self) -> None:
        self._check_labels()
        self._apply(RULES)
        if not is_standby(self._cursor):
            self._apply([LEFT_BEHIND])
        for index in ("indexscan", "indexonlyscan", "bitmapscan"):
            self._rows(f"SELECT set_config('enable_{index}', 'off', true)")
        self._apply(SAME_NAMES)

    def _apply(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            query = rule.query.format(schema=self._quoted)
            for row in self._cursor.execute(query.encode(), self._values):
                names = map(printable_name, row)
                values = [each if isinstance(each, int) else shown(each) for each in row]
                self._add(rule.where.format(*names), rule.problem.format(*values))

    def _check_arguments(self) -> None:
        query = f"SELECT number, arguments FROM {self._quoted}.audit ORDER BY number"
        for number, arguments in stream(self._cursor, "audit", query.encode()):
            if (problem := arguments_problem(arguments)) is not None:
                self._add(f"line {number} of the audit", problem)

    def _check_labels(self) -> None:
        query = _LABELS.format(schema=self._quoted).encode()
        for position, job_id, text, names, values in stream(self._cursor, "labels", query):
            where = "the labels" if job_id is None else f"job {printable_name(job_id)}"
            found = dict(zip(names or (), values or (), strict=True))
            try:
                labels = {} if text is None else read_labels(text)
            except DecodeError:
                continue  # a finding about the job
            for label in labels.items() - found.items():
                self._add(where, f"it can't be found by its label {_label(label)}")
            for label in found.items() - labels.items():
                of = "which it doesn't have" if job_id else f"and there is no job {position}"
                self._add(where, f"it is found by the label {_label(label)}, {of}")


def _made(statement: str) -> Iterator[tuple[str, str]]:
    if (made := _MADE.match(statement.strip())) is not None:
        yield made[1].lower(), made[2]


def _label(label: tuple[str, str]) -> str:
    name, value = label
    return f"{shown(name)}: {shown(value)}"
