"""Job checks: whether a job's row, its transitions and its execution fit together."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, ValidationError, convert

from engine.domain.deadlines import LONGEST_SECONDS
from engine.domain.exceptions import shown
from engine.domain.models import Prompt
from engine.storage.record import Record, Time
from engine.storage.sqlite.rows import EXECUTION_COLUMNS, JOB_COLUMNS, Row

_Seconds = Annotated[float, Meta(gt=0, le=LONGEST_SECONDS)]

_FORM_OF: Final[Mapping[str, Callable[[Any], object]]] = {
    "input": lambda value: value,
    "deadlines": lambda value: convert(value, dict[str, _Seconds | Time]),
    "prompt": Prompt.model_validate,
    "answers": lambda value: convert(value, dict[str, Any]),
    "trace": lambda value: convert(value, dict[str, str]),
}
"""The forms of the JSON in these columns."""
_OF_EVERY_EXECUTION: Final = ("priority", "attempt", "failures")


def job_problems(
    row: Row, transitions: Iterator[Row], final_statuses: Container[str] | None
) -> Iterator[str]:
    """Return all that does not fit together, as sentences about the job.

    Args:
        row: The job's, which `read_record` can read.
        transitions: The job's rows of transitions, in order, each of which `read_record` can read.
        final_statuses: The statuses of ended jobs; None if they are unknown.
    """
    job = dict(zip(JOB_COLUMNS, row, strict=True))
    yield from _history_problems(job, transitions)
    yield from _end_problems(job, final_statuses)
    yield from _execution_problems(job)


def _history_problems(job: dict[str, Any], transitions: Iterator[Row]) -> Iterator[str]:
    created_at, updated_at = job["created_at"], job["updated_at"]
    lines, last_status, last_at = 0, None, created_at
    for sequence, _, from_status, to_status, at, _ in transitions:
        if from_status != last_status:
            yield f"its transition {sequence} is from {from_status}, not from {last_status}"
        if at < last_at:
            yield f"its transition {sequence} is of {at}, which is before {last_at}"
        if not lines and at > created_at:
            yield f"it was created at {created_at}, and its history begins at {at}"
        lines, last_status, last_at = lines + 1, to_status, at
    if lines != job["version"]:
        yield f"its version is {job['version']}, and it has {lines} sound transitions"
    elif last_status != job["status"]:
        yield f"its status is {job['status']}, and its history ends with {last_status}"
    elif last_at != updated_at:
        yield f"it changed at {updated_at}, and its history ends at {last_at}"


def _end_problems(job: dict[str, Any], final_statuses: Container[str] | None) -> Iterator[str]:
    status, updated_at, ended_at = job["status"], job["updated_at"], job["ended_at"]
    if ended_at not in {None, updated_at}:
        yield f"it ended at {ended_at}, and changed at {updated_at}"
    elif final_statuses is not None:
        is_final = status in final_statuses
        if is_final != (ended_at is not None):
            kind = "a final one" if is_final else "no final one"
            yield f"its status {status} is {kind}, and its end is {ended_at}"


def json_problems(record: Record) -> Iterator[str]:
    """Return the texts of a job that are no JSON, or not of the form that engines write."""
    execution = record.execution
    texts = {
        "input": record.input,
        "deadlines": execution.deadlines,
        "prompt": execution.prompt,
        "answers": execution.answers,
        "trace": execution.trace,
    }
    return _json_problems(texts)


def _json_problems(job: Mapping[str, Any]) -> Iterator[str]:
    for column, as_form in _FORM_OF.items():
        text = job[column]
        try:
            if text is not None:
                as_form(json.loads(text))
        except (ValueError, ValidationError, RecursionError):
            yield f"its {column} can't be {shown(text)}"


def _execution_problems(job: dict[str, Any]) -> Iterator[str]:
    yield from _json_problems(job)
    missing = [column for column in _OF_EVERY_EXECUTION if job[column] is None]
    if len(missing) == len(_OF_EVERY_EXECUTION):
        for column in EXECUTION_COLUMNS:
            if job[column] is not None:
                yield f"it has no execution, and its {column} is {shown(job[column])}"
    else:
        for column in missing:
            yield f"it has an execution without {column}"
    if job["ended_at"] is not None and job["token"] is not None:
        yield f"it has ended, and an attempt has it: {shown(job['token'])}"
