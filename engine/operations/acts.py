"""Acts: the operations that change jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, UnsetType, ValidationError, convert

from engine.domain.deadlines import Deadline, check_time
from engine.domain.exceptions import EngineError, InvalidValueError, shown
from engine.domain.moves import Move
from engine.domain.time_text import parsed_duration
from engine.operations.fields import job_fields
from engine.operations.operation import Arguments, Given, Operation, length_of
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.cancel import CancelJob
from engine.owner.commands.command import Write
from engine.owner.commands.extend import ExtendJob
from engine.owner.commands.follow_up import following
from engine.owner.commands.guarded import ANYTHING, Expected, Guarded, SeenDeadline
from engine.owner.commands.move import MoveJobs, checked_move
from engine.owner.commands.read import GetJobs
from engine.owner.commands.repeat import RepeatJob
from engine.owner.commands.retry import RetryJob
from engine.owner.commands.start import StartJob
from engine.owner.core import Core
from engine.owner.prompts import check_answer
from engine.storage.record import Record


class OfJob(Arguments, kw_only=True, frozen=True):
    """The job of an act, and its state as the caller has seen it.

    The version counts transitions. A job that is attempted again may have the same one: the attempt
    is the number of the newest, 0 before the first.
    """

    job_id: str
    reason: str | None = None
    expected_status: str | None = None
    expected_version: int | None = None
    expected_attempt: int | None = None


class OfStart(OfJob, kw_only=True, frozen=True):
    """Of a start."""

    payment_id: str | None = None


class OfAnswer(OfJob, kw_only=True, frozen=True):
    """Of an answer to a prompt."""

    prompt_id: str
    value: Any


class OfMove(OfJob, kw_only=True, frozen=True):
    """Of a move."""

    status: str
    result: str | None = None
    error: str | None = None


class OfExtension(OfJob, kw_only=True, frozen=True):
    """Of another deadline: a time, or how long from now or from entering the status; null for none.

    A time is ``2026-12-01T12:00:00Z``, a length ``PT2H`` or a number of seconds. Without a status
    it is the present one. The version doesn't count extensions: ``expected_deadline`` is the one
    that the caller has seen, as the job tells it. That of the present status is its
    ``deadline_at``, that of another one is in its ``deadlines``; null for none.
    """

    deadline: float | str | None
    status: str | None = None
    expected_deadline: float | str | UnsetType | None = UNSET


class OfFollowUp(OfJob, kw_only=True, frozen=True):
    """Of a follow-up by hand."""

    rule: str


async def _retry(core: Core[Any], given: OfJob, by: str | None) -> Record:
    return await _act(core, given, RetryJob.checked(given.job_id, by, given.reason))


async def _cancel(core: Core[Any], given: OfJob, by: str | None) -> Record:
    return await _act(core, given, CancelJob.checked(given.job_id, given.reason, by))


async def _repeat(core: Core[Any], given: OfJob, by: str | None) -> Record:
    return await _act(core, given, RepeatJob.checked(given.job_id, by, given.reason))


async def _start(core: Core[Any], given: OfStart, by: str | None) -> Record:
    lifecycle, payment = core.lifecycle, given.payment_id
    message = StartJob.checked(lifecycle, given.job_id, payment, by, given.reason)
    return await _act(core, given, message)


async def _answer(core: Core[Any], given: OfAnswer, by: str | None) -> Record:
    message = AnswerPrompt.checked(given.job_id, given.prompt_id, given.value, by, given.reason)
    [job] = await core.ask(GetJobs.one(given.job_id))
    check_answer(core.views.job(job), given.prompt_id, message.value)
    return await _act(core, given, message)


async def _move(core: Core[Any], given: OfMove, by: str | None) -> Record:
    move: Move[Any] = Move(
        given.job_id,
        given.status,
        result=given.result,
        error=given.error,
        expected_status=given.expected_status,  # by itself, because a move may need it
        expected_version=given.expected_version,
        by=by,
        reason=given.reason,
    )
    return await _act(core, given, MoveJobs([checked_move(core.lifecycle, move)]))


async def _extend(core: Core[Any], given: OfExtension, by: str | None) -> Record:
    status = given.status
    if status is None:
        [job] = await core.ask(GetJobs.one(given.job_id))
        status = job.status
    how = (status, _deadline(given.deadline), by, given.reason)
    message, expected = ExtendJob.checked(core.lifecycle, given.job_id, *how), _expected(given)
    if given.expected_deadline is not UNSET:
        seen = _deadline(given.expected_deadline, "expected_deadline")
        expected = expected._replace(deadline=SeenDeadline(status, seen))
    return await _changed(core, _guarded(message, given, expected))


def _deadline(given: float | str | None, field: str = "deadline") -> Deadline | None:
    """Return a deadline.

    Raises:
        InvalidValueError: It is none, the time has no zone, or no calendar has it.
    """
    if not isinstance(given, str):
        return None if given is None else length_of(field, given)
    with suppress(ValueError):
        return parsed_duration(given)
    with suppress(ValidationError):
        return check_time(field, convert(given, datetime))
    raise InvalidValueError(
        field,
        "must be a time such as 2026-12-01T12:00:00Z, a duration such as PT2H, or a number of "
        f"seconds, not {shown(given)}",
    )


async def _follow_up(core: Core[Any], given: OfFollowUp, by: str | None) -> Record:
    steps = following(
        *(core.lifecycle, given.job_id, given.rule, by, given.reason),
        expected=_expected(given),
    )
    return await core.converse(steps)


async def _act(core: Core[Any], given: OfJob, message: Write) -> Record:
    return await _changed(core, _guarded(message, given, _expected(given)))


def _guarded(message: Write, given: OfJob, expected: Expected) -> Write:
    return message if expected == ANYTHING else Guarded(message, given.job_id, expected)


def _expected(given: OfJob) -> Expected:
    return Expected(given.expected_status, given.expected_version, given.expected_attempt)


async def _changed(core: Core[Any], message: Write) -> Record:
    try:
        [record] = await core.ask(message)
    except EngineError as error:
        error.item = None  # this is no bulk call
        raise
    return record


@dataclass(frozen=True, kw_only=True)
class Act(Operation[Given]):
    """An act on one job.

    Attributes:
        do: Does it; returns the job as it is then, or the new one.
    """

    do: Callable[[Core[Any], Given, str | None], Awaitable[Record]]


def is_of_attempt(act: str) -> bool:
    """Return whether an act is meant for a job only while no other attempt has begun.

    To cancel a job is to stop it, whatever has begun meanwhile: one that fails again and again
    could not be stopped otherwise.
    """
    return act != "cancel"


def told(core: Core[Any], job: Record, *, whole: bool = True) -> dict[str, Any]:
    """Return a job as an act answers it."""
    return job_fields(job, core.state.events.progress.get(job.job_id), whole=whole)


def _of(
    name: str,
    summary: str,
    arguments: type[Given],
    do: Callable[[Core[Any], Given, str | None], Awaitable[Record]],
) -> Act[Given]:
    async def run(core: Core[Any], given: Given, by: str | None) -> dict[str, Any]:
        return told(core, await do(core, given, by))

    return Act(name, summary, arguments, run, acts=True, do=do)


ACTS: Final[tuple[Act[Any], ...]] = (
    _of("retry", "let a job run again now, with fresh attempts", OfJob, _retry),
    _of("cancel", "cancel a job", OfJob, _cancel),
    _of("start", "start a job, as its payment does", OfStart, _start),
    _of("answer", "answer the prompt of a job", OfAnswer, _answer),
    _of("move", "move a job to another status", OfMove, _move),
    _of("extend", "give a job another deadline", OfExtension, _extend),
    _of("repeat", "create a job like an ended one", OfJob, _repeat),
    _of("follow-up", "create a follow-up by its rule", OfFollowUp, _follow_up),
)
"""The acts on one job. Each answers the job as it is then; ``repeat`` and ``follow-up`` the new
one."""
