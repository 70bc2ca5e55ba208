"""Fields: a stored job as JSON, with the fields that `engine.Job` has."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from engine.domain.epochs import Epochs
from engine.domain.models import Job
from engine.owner.views import job_maker
from engine.storage.record import AttemptRecord, Damaged, Entry, Record
from engine.storage.sqlite.rows import time_text

_ALWAYS_SHOWN: Final = {"result", "error", "version", "idempotency_key"}


class _StatusTexts(dict[str, Any]):
    """Gives each status as its text: no lifecycle is known."""

    def __missing__(self, status: str) -> str:
        return status


_job: Final = job_maker(Job, _StatusTexts(), progress={})
_DEFAULTS: Final = {
    name: field.get_default(call_default_factory=True)
    for name, field in Job.model_fields.items()
    if not field.is_required() and name not in _ALWAYS_SHOWN
}
"""Of the fields that few jobs have: a job without one has its default."""


def job_fields(job: Record | Damaged) -> dict[str, Any]:
    """Return a job's fields; of those that few jobs have, the ones that this job has."""
    if isinstance(job, Damaged):
        return {"job_id": job.job_id, "damaged": job.problem}
    return {
        name: _json(value)
        for name, value in _job(job)
        if name not in _DEFAULTS or value != _DEFAULTS[name]
    }


def entry_fields(entry: Entry, epochs: Epochs) -> dict[str, Any]:
    """Return the fields of a line of history, as `engine.Transition` has them."""
    fields = {name: _json(value) for name, value in entry._asdict().items()}
    return {**fields, "epoch": epochs.name_at(entry.sequence)}


def attempt_fields(attempt: AttemptRecord) -> dict[str, Any]:
    """Return the fields of a failed attempt, as `engine.FailedAttempt` has them."""
    return {name: _json(value) for name, value in attempt._asdict().items()}


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    return to_jsonable_python(value) if isinstance(value, BaseModel | timedelta) else value
