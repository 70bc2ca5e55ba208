"""Rows: records and lines of history as the file has them, each with its checksum.

SQLite does not notice a changed bit in a value: in 544 of 600 files with one flipped bit a row had
silently changed. So every row ends with a checksum: the CRC-32 (ISO 3309, as `zlib.crc32` computes
it) of its other values in UTF-8, joined by NULs, which no text of ours has; NULL becomes ``None``.
It finds accidents, such as any flip of up to 32 bits in a row. It does not prevent forgery.

Jobs of an engine that is a mere state machine have neither kind, labels, input nor execution. Their
rows are made, summed and written without these columns, which so cost nothing; those of most other
jobs without the columns that few executions have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from msgspec.structs import astuple, fields

from engine.domain.labels import DEFAULT_KIND
from engine.domain.time_text import time_text
from engine.storage.audit import KeptAuditLine
from engine.storage.record import (
    NO_ACT,
    NO_EXECUTION,
    AttemptRecord,
    Change,
    Entry,
    Execution,
    Origin,
    Record,
)
from engine.storage.throughput import MinuteCount

Row: TypeAlias = tuple[Any, ...]

EXECUTION_COLUMNS: Final[tuple[str, ...]] = tuple(field.name for field in fields(Execution))
ORIGIN_COLUMNS: Final[tuple[str, ...]] = tuple(field.name for field in fields(Origin))
SHORT_COLUMNS: Final[tuple[str, ...]] = (
    "position",
    "job_id",
    "status",
    "input_hash",
    "blockchain_identifier",
    "created_at",
    "updated_at",
    "version",
    "idempotency_key",
    "started_at",
    "result",
    "error",
    "outcome",
    "ended_at",
    "checksum",
)
"""The columns of a job without kind, labels, input and execution."""
PLAIN_EXECUTION: Final = EXECUTION_COLUMNS[: EXECUTION_COLUMNS.index("claimed_at") + 1]
"""What most attempts have of an execution."""
PLAIN_COLUMNS: Final[tuple[str, ...]] = (
    *SHORT_COLUMNS[:-1],
    "kind",
    "labels",
    "input",
    *PLAIN_EXECUTION,
    "checksum",
)
"""The columns of a job with such an execution, or without one, and without an origin."""
JOB_COLUMNS: Final[tuple[str, ...]] = (
    *PLAIN_COLUMNS[:-1],
    *EXECUTION_COLUMNS[len(PLAIN_EXECUTION) :],
    *ORIGIN_COLUMNS,
    "checksum",
)
SHORT_TRANSITION_COLUMNS: Final = (
    "sequence",
    "position",
    "from_status",
    "to_status",
    "at",
    "checksum",
)
"""The columns of a transition if nobody says who made it, and why."""
TRANSITION_COLUMNS: Final = (*SHORT_TRANSITION_COLUMNS[:-1], "by", "reason", "checksum")
ATTEMPT_COLUMNS: Final = (
    "position",
    "number",
    "began_at",
    "ended_at",
    "outcome",
    "error",
    "checksum",
)
AUDIT_COLUMNS: Final = (*KeptAuditLine._fields, "checksum")
THROUGHPUT_COLUMNS: Final = (*MinuteCount._fields, "checksum")

_SHORT: Final = len(SHORT_COLUMNS) - 1
_PLAIN: Final = len(PLAIN_COLUMNS) - 1
LEFT_OUT: Final = (None,) * (len(JOB_COLUMNS) - len(SHORT_COLUMNS))
_NOT_PLAIN: Final = (None,) * (len(JOB_COLUMNS) - len(PLAIN_COLUMNS))
_NO_ORIGIN: Final = (None,) * len(ORIGIN_COLUMNS)
_NO_OTHER_EXECUTION: Final = (None,) * (len(EXECUTION_COLUMNS) - len(PLAIN_EXECUTION))
TIME_COLUMNS: Final = (
    "claimed_at",
    "deadline_at",
    "retry_at",
    "deadline_since",
    "retry_since",
    "not_before",
)
_NO_PLAIN_EXECUTION: Final = (None,) * len(PLAIN_EXECUTION)
_FORMS: Final = ["\0".join(["%s"] * columns) for columns in range(64)]  # more than a table has


def checksum(values: Row) -> int:
    """Return the checksum of a row's other values.

    Raises:
        UnicodeEncodeError: A text is not UTF-8 in the file.
    """
    if values[_SHORT:] == LEFT_OUT:
        return _sum(values[:_SHORT])
    if values[_PLAIN:] == _NOT_PLAIN:
        return _sum(values[:_PLAIN])
    while values and values[-1] is None:
        values = values[:-1]  # rows from before a later column have no such value
    return _sum(values)


def _sum(values: Row) -> int:
    """Return the checksum of values, all of which count."""
    return crc32((_FORMS[len(values)] % values).encode())


class BatchRows(NamedTuple):
    """The rows of a round: each changed job once, as it is afterwards, and what else is kept."""

    created: list[Row]
    moved: list[Row]
    amended: list[Row]
    """Jobs that change without a transition."""
    paid: list[Row]
    """Position, id, version and payment of the jobs that get one after their creation."""
    transitions: list[Row]
    attempts: list[Row]
    """Those that failed or died."""

    def jobs(self) -> list[Row]:
        """Return the rows of all changed jobs."""
        return [*self.created, *self.moved, *self.amended]


def batch_rows(changes: Sequence[Change]) -> BatchRows:
    """Return the rows of a round's changes."""
    texts = _TimeTexts()  # most rounds have only a few times
    rows = BatchRows([], [], [], [], [], [])
    newest: dict[str, Record] = {}
    paid: list[str] = []
    list_for: dict[str, list[Row]] = {}
    for change in changes:
        record = change.record
        job_id = record.job_id
        newest[job_id] = record
        if change.failed_attempt is not None:
            rows.attempts.append(_attempt_row(record.position, change.failed_attempt, texts))
        if change.is_payment:
            paid.append(job_id)
        if change.sequence is None:
            list_for.setdefault(job_id, rows.amended)
            continue
        rows.transitions.append(_transition_row(change, texts))
        if change.from_status is None:
            list_for[job_id] = rows.created
        elif list_for.get(job_id) is not rows.created:
            list_for[job_id] = rows.moved
    for job_id, record in newest.items():
        list_for[job_id].append(_job_row(record, texts))
    rows.paid.extend(_payment_row(newest[job_id]) for job_id in paid)
    return rows


def _payment_row(record: Record) -> Row:
    return (record.position, record.job_id, record.version, record.blockchain_identifier)


class _TimeTexts(dict[datetime, str]):
    """The texts of times. Makes each once."""

    def __missing__(self, time: datetime) -> str:
        text = self[time] = time_text(time)
        return text


def job_row(record: Record) -> Row:
    """Return the row of one job."""
    return full_row(_job_row(record, _TimeTexts()))


def full_row(row: Row) -> Row:
    """Return a job's row with all columns."""
    return (*row[:-1], *(None,) * (len(JOB_COLUMNS) - len(row)), row[-1])


def _job_row(record: Record, texts: _TimeTexts) -> Row:
    """Return the row of a job: with short, plain or all columns, as far as it has values."""
    updated_at, started_at = texts[record.updated_at], record.started_at
    values: Row = (
        record.position,
        record.job_id,
        record.status,
        record.input_hash,
        record.blockchain_identifier,
        texts[record.created_at],
        updated_at,
        record.version,
        record.idempotency_key,
        None if started_at is None else texts[started_at],
        record.result,
        record.error,
        record.outcome,
        None if record.outcome is None else updated_at,
    )
    kind, execution, origin = record.kind, record.execution, record.origin
    if execution is NO_EXECUTION:
        is_short = kind == DEFAULT_KIND and record.input is None and record.labels is None
        if is_short and origin is None:
            return (*values, _sum(values))
        execution_values: Row = _NO_PLAIN_EXECUTION
    else:
        execution_values = _execution_values(execution, texts)
    kept_kind = None if kind == DEFAULT_KIND else kind
    values = (*values, kept_kind, record.labels, record.input, *execution_values)
    if origin is None and len(values) == _PLAIN:
        return (*values, _sum(values))
    rest = _NO_OTHER_EXECUTION if len(values) == _PLAIN else ()
    values = (*values, *rest, *(_NO_ORIGIN if origin is None else astuple(origin)))
    return (*values, checksum(values))


def _execution_values(execution: Execution, texts: _TimeTexts) -> Row:
    """Return the values of an execution: the plain ones alone, if there are no others."""
    values = astuple(execution)
    if values[len(PLAIN_EXECUTION) :] == _NO_OTHER_EXECUTION:
        *first, claimed_at = values[: len(PLAIN_EXECUTION)]
        return (*first, None if claimed_at is None else texts[claimed_at])
    return tuple(texts[each] if isinstance(each, datetime) else each for each in values)


def attempt_row(position: int, attempt: AttemptRecord) -> Row:
    """Return the row of one failed attempt of a job."""
    return _attempt_row(position, attempt, _TimeTexts())


def _attempt_row(position: int, attempt: AttemptRecord, texts: _TimeTexts) -> Row:
    times = (texts[attempt.began_at], texts[attempt.ended_at])
    values: Row = (position, attempt.number, *times, attempt.outcome, attempt.error)
    return (*values, _sum(values))


def _transition_row(change: Change, texts: _TimeTexts) -> Row:
    """Return the row of a transition; a short one if nobody says who made it, and why."""
    record, act = change.record, change.act
    values: Row = (
        change.sequence,
        record.position,
        change.from_status,
        record.status,
        texts[record.updated_at],
    )
    if act is NO_ACT:
        return (*values, _sum(values))
    values = (*values, act.by, act.reason)
    return (*values, checksum(values))


def line_row(position: int, entry: Entry) -> Row:
    """Return the row of one transition of a job, with all columns."""
    sequence, _, *statuses, at, by, reason = entry
    values: Row = (sequence, position, *statuses, time_text(at), by, reason)
    return (*values, checksum(values))


def audit_row(line: KeptAuditLine) -> Row:
    """Return the row of a line of the audit."""
    values: Row = (line.number, time_text(line.at), *line[2:])
    return (*values, checksum(values))
