"""Fields: a stored job as JSON, with the fields that `engine.Job` has."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from engine.domain.epochs import Epochs
from engine.domain.models import Job, Progress
from engine.domain.time_text import duration_text, time_text
from engine.owner.views import job_maker
from engine.storage.audit import DamagedAuditLine, KeptAuditLine
from engine.storage.record import AttemptRecord, Damaged, Entry, Record

DATA: Final = ("input", "input_hash", "result")
"""What a job works on and has made. It may be long, and be nobody's business."""
_ALWAYS_SHOWN: Final = {"result", "error", "version", "sequence", "idempotency_key"}
_OF_FOLLOW_UPS: Final = (
    *("job_id", "damaged", "kind", "status", "outcome", "updated_at", "attempt"),
    *("error", "last_error"),
)


class _StatusTexts(dict[str, Any]):
    """Gives each status as its text: no lifecycle is known."""

    def __missing__(self, status: str) -> str:
        return status


_STATUSES: Final = _StatusTexts()
_job: Final = job_maker(Job, _STATUSES, progress={})
_DEFAULTS: Final = {
    name: field.get_default(call_default_factory=True)
    for name, field in Job.model_fields.items()
    if not field.is_required() and name not in _ALWAYS_SHOWN
}
"""Of the fields that few jobs have: a job without one has its default."""


def job_fields(
    job: Record | Damaged, progress: Progress | None = None, *, whole: bool = True
) -> dict[str, Any]:
    """Return a job's fields; of those that few jobs have, the ones that this job has.

    Args:
        job: The job.
        progress: The newest report of one of its attempts.
        whole: Whether its `DATA` is among them, which takes the event loop's time to read.
    """
    if isinstance(job, Damaged):
        return {"job_id": job.job_id, "damaged": job.problem}
    if not whole:
        fields = job_fields(without_data(job), progress)
        return {name: value for name, value in fields.items() if name not in DATA}
    make = _job if progress is None else job_maker(Job, _STATUSES, {job.job_id: progress})
    return {
        name: plain(value)
        for name, value in make(job)
        if name not in _DEFAULTS or value != _DEFAULTS[name]
    }


def without_data(job: Record) -> Record:
    """Return a job without its long texts."""
    return replace(job, input=None, result=None)


def follow_up_fields(job: Record | Damaged) -> dict[str, Any]:
    """Return the fields of a follow-up that say how far it is."""
    fields = job_fields(job, whole=False)
    return {name: fields[name] for name in _OF_FOLLOW_UPS if name in fields}


def entry_fields(entry: Entry, epochs: Epochs) -> dict[str, Any]:
    """Return the fields of a line of history, as `engine.Transition` has them."""
    fields = {name: plain(value) for name, value in entry._asdict().items()}
    return {**fields, "epoch": epochs.name_at(entry.sequence)}


def attempt_fields(attempt: AttemptRecord) -> dict[str, Any]:
    """Return the fields of a failed attempt, as `engine.FailedAttempt` has them."""
    return {name: plain(value) for name, value in attempt._asdict().items()}


def audit_fields(line: KeptAuditLine | DamagedAuditLine) -> dict[str, Any]:
    """Return the fields of a line of the audit, as `engine.AuditEntry` has them."""
    if isinstance(line, DamagedAuditLine):
        return {"number": line.number, "damaged": line.problem}
    fields = {name: plain(value) for name, value in line._asdict().items()}
    return {**fields, "arguments": json.loads(line.arguments or "{}")}


def plain(value: object) -> object:
    """Return a value of a snapshot as JSON."""
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, timedelta):
        return duration_text(value)
    return to_jsonable_python(value) if isinstance(value, BaseModel) else value
