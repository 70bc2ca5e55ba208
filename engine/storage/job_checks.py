"""Job checks: whether a job's row, its transitions and its execution fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from msgspec.structs import fields

from engine.domain.exceptions import shown
from engine.storage.family_checks import origin_problems
from engine.storage.json_columns import json_problem
from engine.storage.record import Execution

_OF_EXECUTION: Final = tuple(field.name for field in fields(Execution))
_OF_EVERY_EXECUTION: Final = ("priority", "attempt", "failures")


class Move(NamedTuple):
    """A transition. Its time is of the type that the job's times have."""

    sequence: int
    from_status: str | None
    to_status: str
    at: Any


def job_problems(
    job: Mapping[str, Any], moves: Iterable[Move], is_final: Callable[[str], bool | None]
) -> Iterator[str]:
    """Return all that does not fit together, as sentences about the job.

    Args:
        job: The values of its columns; those of the same type can be compared.
        moves: Its transitions, in order.
        is_final: Returns whether a status is a final one; None if that is unknown.
    """
    yield from _history_problems(job, moves)
    yield from _end_problems(job, is_final)
    yield from _execution_problems(job)
    yield from origin_problems(job)


def _history_problems(job: Mapping[str, Any], moves: Iterable[Move]) -> Iterator[str]:
    created_at, updated_at, started_at = job["created_at"], job["updated_at"], job["started_at"]
    lines, last_status, last_at = 0, None, created_at
    started = started_at is None
    for sequence, from_status, to_status, at in moves:
        if from_status != last_status:
            yield f"its transition {sequence} is from {from_status}, not from {last_status}"
        if at < last_at:
            yield f"its transition {sequence} is of {at}, which is before {last_at}"
        if not lines and at > created_at:
            yield f"it was created at {created_at}, and its history begins at {at}"
        lines, last_status, last_at = lines + 1, to_status, at
        started |= at == started_at
    if lines != job["version"]:
        yield f"its version is {job['version']}, and it has {lines} sound transitions"
    elif last_status != job["status"]:
        yield f"its status is {job['status']}, and its history ends with {last_status}"
    elif last_at != updated_at:
        yield f"it changed at {updated_at}, and its history ends at {last_at}"
    elif not started:
        yield f"it started at {started_at}, and no transition of it is of that time"


def _end_problems(job: Mapping[str, Any], is_final: Callable[[str], bool | None]) -> Iterator[str]:
    status, updated_at, ended_at = job["status"], job["updated_at"], job["ended_at"]
    has_ended, outcome, by_status = ended_at is not None, job["outcome"], is_final(status)
    if ended_at not in {None, updated_at}:
        yield f"it ended at {ended_at}, and changed at {updated_at}"
    elif by_status not in {None, has_ended}:
        kind = "a final one" if by_status else "no final one"
        yield f"its status {status} is {kind}, and its end is {ended_at}"
    elif has_ended != (outcome is not None):
        yield f"its outcome is {outcome}, and its end is {ended_at}"


def _execution_problems(job: Mapping[str, Any]) -> Iterator[str]:
    if job["result_form"] is not None:
        problem = json_problem("result", job["result"] or "")
        if problem is not None:
            yield problem
    missing = [column for column in _OF_EVERY_EXECUTION if job[column] is None]
    if len(missing) == len(_OF_EVERY_EXECUTION):
        for column in _OF_EXECUTION:
            if job[column] is not None:
                yield f"it has no execution, and its {column} is {shown(job[column])}"
    else:
        for column in missing:
            yield f"it has an execution without {column}"
    if job["attempt"] and job["started_at"] is None:
        yield f"it has never started, and its newest attempt is {job['attempt']}"
    if job["ended_at"] is not None and job["token"] is not None:
        yield f"it has ended, and an attempt has it: {shown(job['token'])}"
