"""Rows: records and batches as a shared database has them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from sys import intern
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec.structs import astuple

from engine.storage.answers import Committed, Names
from engine.storage.audit import AuditLine
from engine.storage.postgres.arrays import Rows
from engine.storage.postgres.batches import (
    ATTEMPT,
    AUDIT_LINE,
    COMPARED_JOB,
    MOVED_JOB,
    NEW_JOB,
    TRANSITION,
)
from engine.storage.postgres.columns import (
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    ORIGIN_COLUMNS,
    RECORD_COLUMNS,
)
from engine.storage.record import NO_EXECUTION, Change, Execution, Origin, Record, died_with

Row: TypeAlias = tuple[Any, ...]

_FIRST_EXECUTION: Final = RECORD_COLUMNS.index(EXECUTION_COLUMNS[0])
_FIRST_ORIGIN: Final = RECORD_COLUMNS.index(ORIGIN_COLUMNS[0])
_NO_ORIGIN: Final = (None,) * len(ORIGIN_COLUMNS)
_MOVED_VALUES: Final = itemgetter(*(JOB_COLUMNS.index(each) for each in MOVED_JOB.columns[:-1]))
_NO_EXECUTION: Final = (None,) * len(EXECUTION_COLUMNS)


def record_of(row: Row) -> Record:
    """Return the record in a row of `RECORD_COLUMNS` and the number of its newest transition."""
    (
        position,
        job_id,
        revision,
        status,
        input_hash,
        payment,
        created_at,
        updated_at,
        version,
        key,
        started_at,
        result,
        error,
        outcome,
        kind,
        labels,
        given_input,
    ) = row[:_FIRST_ORIGIN]
    origin = row[_FIRST_ORIGIN:_FIRST_EXECUTION]
    execution = row[_FIRST_EXECUTION:-1]
    return Record(
        *(job_id, status, input_hash, payment, created_at, updated_at, position, version),
        *(result, error, key, given_input),
        NO_EXECUTION if execution[0] is None else Execution(*execution),
        *(intern(kind), labels, started_at, outcome),
        row[-1] or 0,
        None if origin == _NO_ORIGIN else Origin(*origin),
        revision,
    )


class Kept(NamedTuple):
    """What the storage itself keeps of a job."""

    ended_at: datetime | None
    holder: int | None
    ready: bool
    due_at: datetime | None


def kept_of(record: Record, running: str, engine: int, held_back: Container[str]) -> Kept:
    """Return what the storage itself keeps of a job that this engine writes.

    Args:
        record: The job.
        running: The running status.
        engine: Its number.
        held_back: The ids of jobs that it keeps without an attempt.
    """
    execution = record.execution
    token, due_at = execution.token, execution.deadline_at
    ended_at = None if record.outcome is None else record.updated_at
    if token is not None and died_with(token) is None:
        return Kept(ended_at, engine, ready=False, due_at=None if ended_at else due_at)
    if record.status != running:
        return Kept(ended_at, None, ready=False, due_at=None if ended_at else due_at)
    retry_at = execution.retry_at
    if due_at is None or (retry_at is not None and retry_at < due_at):
        due_at = retry_at
    if record.job_id in held_back:
        return Kept(ended_at, engine, ready=False, due_at=due_at)
    return Kept(ended_at, None, ready=retry_at is None, due_at=due_at)


def job_row(record: Record, kept: Kept, position: int) -> Row:
    """Return the row of a job, in the order of `engine.storage.postgres.columns.JOB_COLUMNS`."""
    execution, origin = record.execution, record.origin
    return (
        position,
        record.job_id,
        record.revision,
        record.status,
        record.input_hash,
        record.blockchain_identifier,
        record.created_at,
        record.updated_at,
        record.version,
        record.idempotency_key,
        record.started_at,
        record.result,
        record.error,
        record.outcome,
        record.kind,
        record.labels,
        record.input,
        *(_NO_ORIGIN if origin is None else astuple(origin)),
        *(_NO_EXECUTION if execution is NO_EXECUTION else astuple(execution)),
        *kept,
    )


class RowTypes(NamedTuple):
    """The numbers that a database has given to the types of `engine.storage.postgres.batches`."""

    new_job: int
    moved_job: int
    compared_job: int
    transition: int
    attempt: int
    audit_line: int


class BatchRows(NamedTuple):
    """A batch as `commit_1` takes it."""

    arrays: Sequence[Rows]
    first_sequence: int | None
    """The number that the owner gave to the first transition; None without one."""
    first_position: int | None
    """The position that it gave to the first new job; None without one."""

    def committed(self, sequence_base: int | None, position_base: int | None) -> Committed:
        """Return the answer to a commit, whose numbers begin behind these."""
        return Committed(
            _shift(self.first_sequence, sequence_base), _shift(self.first_position, position_base)
        )


def _shift(given: int | None, base: int | None) -> int:
    return 0 if given is None or base is None else base + 1 - given


def batch_rows(
    changes: Sequence[Change],
    audit: Sequence[AuditLine],
    running: str,
    engine: int,
    held_back: Container[str],
    types: RowTypes,
) -> BatchRows:
    """Return a round's changes: each job once, as it is afterwards, and what else is kept.

    Args:
        changes: The changes.
        audit: The lines of the audit that go with them.
        running: The running status.
        engine: The number of the engine.
        held_back: The ids of jobs that it keeps without an attempt.
        types: Those of the database.
    """
    newest = {each.record.job_id: each.record for each in changes if not each.is_compared}
    left = [each.record for each in changes if each.is_compared]
    compared = [(record.position, record.job_id, record.revision) for record in left]
    new = [record for record in newest.values() if not record.revision]
    places = {record.job_id: -place for place, record in enumerate(new, 1)}
    paid = {change.record.job_id for change in changes if change.is_payment}
    new_rows, moved_rows = [], []
    for job_id, record in newest.items():
        kept = kept_of(record, running, engine, held_back)
        if record.revision:
            moved_rows.append(moved_row(record, kept, pays=job_id in paid))
        else:
            new_rows.append(job_row(record, kept, places[job_id]))
    lines = [change for change in changes if change.sequence is not None]
    return BatchRows(
        (
            NEW_JOB.rows(types.new_job, new_rows),
            MOVED_JOB.rows(types.moved_job, moved_rows),
            COMPARED_JOB.rows(types.compared_job, compared),
            TRANSITION.rows(types.transition, [_line(change, places) for change in lines]),
            ATTEMPT.rows(types.attempt, [*_attempts(changes, places)]),
            AUDIT_LINE.rows(types.audit_line, audit),
        ),
        lines[0].sequence if lines else None,
        new[0].position if new else None,
    )


def names_given(changes: Sequence[Change]) -> Names:
    """Return the names that changes give to jobs that did not have them."""
    new = [change.record for change in changes if change.from_status is None]
    paid = [change.record for change in changes if change.is_payment]
    return Names(
        [record.job_id for record in new],
        [record.idempotency_key for record in new if record.idempotency_key is not None],
        [
            record.blockchain_identifier
            for record in (*new, *paid)
            if record.blockchain_identifier is not None
        ],
    )


def moved_row(record: Record, kept: Kept, *, pays: bool = False) -> Row:
    """Return the row of a job that is there, in the order of `MOVED_JOB`."""
    return (*_MOVED_VALUES(job_row(record, kept, record.position)), pays)


def _line(change: Change, places: dict[str, int]) -> Row:
    record, act = change.record, change.act
    position = places.get(record.job_id, record.position)
    moved = (change.from_status, record.status, record.updated_at)
    return (position, record.job_id, *moved, act.by, act.reason)


def _attempts(changes: Sequence[Change], places: dict[str, int]) -> Iterator[Row]:
    for change in changes:
        if (attempt := change.failed_attempt) is not None:
            record = change.record
            yield (places.get(record.job_id, record.position), *attempt)
