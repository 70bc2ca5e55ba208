"""Stored rows: become records and lines of history again, if they are as engines write them.

A row is damaged if it does not fit its checksum, or if one of its values has another type than the
record's field, or is out of its range, or is JSON of another form. SQLite keeps a value of any type
in any column (https://www.sqlite.org/datatype3.html), and a checksum does not prevent forgery. So
an engine can rely on each record that it has read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from sys import intern
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from msgspec import Meta, Struct, ValidationError, convert

from engine.domain.deadlines import Due
from engine.domain.epochs import NAME_FORM, Epoch
from engine.domain.exceptions import shown
from engine.domain.labels import DEFAULT_KIND, KIND_FORM, read_labels
from engine.storage.audit import KeptAuditLine, arguments_problem
from engine.storage.json_columns import execution_problem, json_problem
from engine.storage.record import (
    NO_EXECUTION,
    AttemptRecord,
    Entry,
    Execution,
    Number,
    Origin,
    Record,
    Time,
)
from engine.storage.sqlite.rows import (
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    ORIGIN_COLUMNS,
    TIME_COLUMNS,
    Row,
    checksum,
)
from engine.storage.throughput import MinuteCount

Read = TypeVar("Read")

_FIRST_EXECUTION: Final = JOB_COLUMNS.index(EXECUTION_COLUMNS[0])
_EXECUTION: Final = slice(_FIRST_EXECUTION, _FIRST_EXECUTION + len(EXECUTION_COLUMNS))
_ORIGIN: Final = slice(_EXECUTION.stop, _EXECUTION.stop + len(ORIGIN_COLUMNS))
_NO_ORIGIN: Final = (None,) * len(ORIGIN_COLUMNS)
_OF_EVERY_EXECUTION: Final = 3  # no time is among these
OutcomeValue: TypeAlias = Literal["succeeded", "failed", "cancelled", "expired", "died"]
_PLACE: Final = re.compile(r"\$\[(\d+)\]")  # in an error of msgspec


class DamagedRowError(Exception):
    """A row is not as it was written. The message describes the damage."""


class _JobColumns(Struct, array_like=True, gc=False):
    """The first columns of a job, up to its execution."""

    position: Number
    job_id: str
    status: str
    input_hash: str
    blockchain_identifier: str | None
    created_at: Time
    updated_at: Time
    version: Number
    idempotency_key: str | None
    started_at: Time | None
    result: str | None
    error: str | None
    outcome: OutcomeValue | None
    ended_at: str | None
    kind: Annotated[str, Meta(pattern=KIND_FORM)] | None
    labels: str | None
    input: str | None


class _EpochColumns(Struct, array_like=True, gc=False):
    """The columns of an epoch between its number and its checksum."""

    name: Annotated[str, Meta(pattern=f"^{NAME_FORM}$")]
    first_sequence: Number


class _CountColumns(Struct, array_like=True, gc=False):
    """The columns of a count of transitions, without its checksum."""

    minute: Time
    status: str
    is_created: Literal[0, 1]
    transitions: Number


def check_row(row: Row) -> None:
    """Compare a row with its checksum.

    Raises:
        DamagedRowError: They don't fit.
    """
    try:
        found = checksum(row[:-1])
    except UnicodeEncodeError:
        raise DamagedRowError("its checksum can't be computed: a text is not UTF-8") from None
    if found != row[-1]:
        raise DamagedRowError(f"its checksum is {found}, and {shown(row[-1])} was stored")


def read_record(row: Row) -> Record:
    """Return the record in a row of jobs, with the number of its newest transition at its end.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    *values, sequence = row
    row = tuple(values)
    check_row(row)
    if sequence is None:
        raise DamagedRowError("its newest transition is missing, or another one")
    columns = _converted(row, _JobColumns, JOB_COLUMNS)
    started_at = columns.started_at
    _check_utc(columns.created_at, columns.updated_at, *([started_at] if started_at else []))
    _check_labels_and_input(columns)
    has_execution = row[_FIRST_EXECUTION] is not None
    return Record(
        job_id=columns.job_id,
        status=columns.status,
        input_hash=columns.input_hash,
        blockchain_identifier=columns.blockchain_identifier,
        created_at=columns.created_at,
        updated_at=columns.updated_at,
        position=columns.position,
        version=columns.version,
        result=columns.result,
        error=columns.error,
        idempotency_key=columns.idempotency_key,
        input=columns.input,
        execution=_read_execution(row[_EXECUTION]) if has_execution else NO_EXECUTION,
        kind=DEFAULT_KIND if columns.kind is None else intern(columns.kind),
        labels=columns.labels,
        started_at=started_at,
        outcome=columns.outcome,
        origin=None if row[_ORIGIN] == _NO_ORIGIN else _read_origin(row[_ORIGIN]),
        sequence=sequence,
    )


def _check_labels_and_input(columns: _JobColumns) -> None:
    if columns.labels is not None:
        _refuse(json_problem("labels", columns.labels, read_labels))
    if columns.input is not None:
        _refuse(json_problem("input", columns.input))


def _read_execution(values: Row) -> Execution:
    """Return the execution in the values of its columns.

    Raises:
        DamagedRowError: It is none.
    """
    pairs = zip(EXECUTION_COLUMNS, values, strict=True)
    stored = {column: value for column, value in pairs if value is not None}
    execution = _converted(stored, Execution)
    if len(stored) > _OF_EVERY_EXECUTION:
        _check_utc(*(getattr(execution, column) for column in TIME_COLUMNS if column in stored))
        _check_length("deadline", execution.deadline())
        _check_length("retry", execution.retry())
    _refuse(execution_problem(stored))
    return execution


def _read_origin(values: Row) -> Origin:
    """Return the origin in the values of its columns.

    Raises:
        DamagedRowError: It is none.
    """
    origin = _converted(dict(zip(ORIGIN_COLUMNS, values, strict=True)), Origin)
    if not origin.is_whole:
        raise DamagedRowError("it has a part of a parent")
    return origin


def read_entry(row: Row, job_id: object) -> Entry:
    """Return the line of a job's history in a row of transitions.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    check_row(row)
    sequence, position, from_status, to_status, at, by, reason, _ = row
    _converted(position, Number)
    values = (sequence, job_id, from_status, to_status, at, by, reason)
    entry = _converted(values, Entry, Entry._fields)
    _check_utc(entry.at)
    return entry


def read_attempt(row: Row) -> AttemptRecord:
    """Return the failed attempt in a row of attempts.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    check_row(row)
    position, *values, _ = row
    _converted(position, Number)
    attempt = _converted(values, AttemptRecord, AttemptRecord._fields)
    _check_utc(attempt.began_at, attempt.ended_at)
    return attempt


def read_audit_line(row: Row) -> KeptAuditLine:
    """Return the line in a row of the audit.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    check_row(row)
    line = _converted(row[:-1], KeptAuditLine, KeptAuditLine._fields)
    _check_utc(line.at)
    _refuse(arguments_problem(line.arguments))
    return line


def read_epoch(row: Row) -> Epoch:
    """Return the epoch in a row of epochs.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    check_row(row)
    _, *values, _ = row
    columns = _converted(values, _EpochColumns, Epoch._fields)
    return Epoch(columns.name, columns.first_sequence)


def read_minute_count(row: Row) -> MinuteCount:
    """Return the count in a row of the throughput.

    Raises:
        DamagedRowError: The row is not as an engine writes it.
    """
    check_row(row)
    count = _converted(row[:-1], _CountColumns, MinuteCount._fields)
    _check_utc(count.minute)
    if count.minute.second or count.minute.microsecond:
        raise DamagedRowError("its time is not that of a minute")
    return MinuteCount(count.minute, count.status, bool(count.is_created), count.transitions)


def _check_utc(*times: datetime) -> None:
    """Check that times are in UTC.

    Raises:
        DamagedRowError: One is not.
    """
    for time in times:
        if time.tzinfo is not UTC:
            raise DamagedRowError("a time is not in UTC")


def _check_length(name: str, due: Due) -> None:
    """Check that a time that has begun will be over, and not before that.

    Raises:
        DamagedRowError: It has no end, or an earlier one.
    """
    if due.since is not None and (due.at is None or due.at < due.since):
        raise DamagedRowError(f"its {name}_since is {due.since}, and its {name}_at {due.at}")


def _refuse(problem: str | None) -> None:
    """Refuse a row with a problem.

    Raises:
        DamagedRowError: It has one.
    """
    if problem is not None:
        raise DamagedRowError(problem)


def _converted(values: object, kind: type[Read], columns: Sequence[str] = ()) -> Read:
    """Return the values as a kind that declares their types.

    Raises:
        DamagedRowError: One has another type.
    """
    try:
        return convert(values, kind)
    except ValidationError as error:
        problem = _PLACE.sub(lambda place: columns[int(place[1])], str(error))
        raise DamagedRowError(f"a value can't be: {problem}") from None
