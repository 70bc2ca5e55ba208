"""Outcomes of attempts: a result, a retry, a failure or a question, as a message to the owner.

A handler that must not be repeated may have had effects as soon as it was called. So an attempt
that was cut short, by a timeout, by closing or by its death, then fails its job. An error that the
handler itself raises is another matter: the program may allow retries after it, by a `Retry`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random
from typing import Any, Final

from engine.domain.deaths import NOT_REPEATED
from engine.domain.exceptions import (
    AttemptTimeoutError,
    EngineError,
    HandlerProcessError,
    JobDamagedError,
    StorageError,
)
from engine.domain.follow_ups import disables_rule
from engine.domain.interrupts import must_pass, raised_by_signal
from engine.domain.lifecycle import Event
from engine.domain.own_frames import forget_own_frames
from engine.domain.retry import Retry
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.finish import FinishJob
from engine.owner.commands.release import Failed, ReleaseJob
from engine.owner.message import Message
from engine.portal.logs import TaskLogger
from engine.worker.attempt import Attempt, Stop, error_text, retry_after_of
from engine.worker.context import InputNeeded
from engine.worker.options import Rules

logger = TaskLogger("engine.worker")

_PAUSE_SECONDS: Final = 5.0
"""The pause after a process of a handler could not start, or a parent could not be read."""
_LINE_CHARACTERS: Final = 300


async def outcome_of(
    attempt: Attempt, rules: Rules, interrupt: Callable[[BaseException], object]
) -> Message[Any] | None:
    """Run an attempt, and return the message with its outcome; None for no message.

    Args:
        attempt: The attempt.
        rules: Of its handler.
        interrupt: Called with an exception that a signal's handler raised in the job's. Every other
            one becomes an outcome.
    """
    if reason := attempt.why_stopped():  # before it began
        return _after_stop(attempt, rules, reason)
    try:
        _log(attempt, "begins")
        try:
            await attempt.read_parent()
            result = await attempt.run(rules.middleware, rules.timeout_seconds)
        except BaseException as error:
            if raised_by_signal(error) is not None:
                raise
            await _disable_rule(attempt, error)
            return _after_error(attempt, rules, error)
        _log(attempt, "is done")
        return FinishJob(
            *(attempt.job_id, attempt.token, Event.SUCCEED),
            result=result.text,
            result_form=result.form,
            act=rules.act,
        )
    except BaseException as error:  # an interrupt, raised in the job's handler or behind it
        if not must_pass(error):
            raise
        interrupt(raised_by_signal(error) or error)
        return _after_stop(attempt, rules, attempt.why_stopped() or Stop.INTERRUPTED)


async def _disable_rule(attempt: Attempt, error: BaseException) -> None:
    """Disable the rule that made a follow-up, if the error says so: before the attempt is over.

    A crash in between repeats the attempt, and so this.
    """
    if attempt.parent is None or attempt.why_stopped() or not disables_rule(error):
        return
    fields = {**attempt.fields, "kind": attempt.record.kind}
    try:
        await attempt.disable_rule()
    except EngineError as problem:  # the next follow-up by the rule tries it again
        logger.error(  # noqa: TRY400 - the traceback would be of the engine alone
            "the rule of follow-ups %s can't be disabled: %s",
            *(attempt.record.kind, problem),
            extra=fields,
        )
        return
    logger.warning(
        "the rule of follow-ups %s is disabled until `enable_rule`: %s",
        *(attempt.record.kind, _line(error)),
        extra=fields,
    )


def _after_error(attempt: Attempt, rules: Rules, error: BaseException) -> Message[Any] | None:
    """Return the message for an error of the handler, or for what it stands for."""
    if isinstance(error, InputNeeded) and attempt.context.request is not None:
        return AskForInput(attempt.job_id, attempt.token, *attempt.context.request, rules.act)
    if reason := attempt.why_stopped():
        return _after_stop(attempt, rules, reason)
    if isinstance(error, HandlerProcessError) and not error.has_begun:
        return _put_off(attempt, error)
    is_damaged = isinstance(error, JobDamagedError)  # that stays: an operator has to know of it
    if not attempt.has_begun and isinstance(error, StorageError) and not is_damaged:
        return _put_off(attempt, error)  # its parent can't be read
    return _after_failure(attempt, rules, error)


def failure(attempt: Attempt, rules: Rules, error: BaseException) -> Message[Any]:
    """Return the message that retries the job, or ends its last attempt."""
    job_id, token, text = attempt.job_id, attempt.token, error_text(error)
    retry, event = rules.retry_of(attempt.record), Event.EXHAUST
    if isinstance(error, HandlerProcessError):  # of a process that had begun
        deaths = attempt.deaths + 1
        if rules.deaths.allows_another(deaths):
            rest_seconds = rules.deaths.rest_seconds(deaths)
            return ReleaseJob(job_id, token, rest_seconds, Failed(text, is_death=True))
        event = Event.DIE
    elif rules.deaths.idempotent or not isinstance(error, AttemptTimeoutError):
        failures = attempt.failures + 1
        if not retry.is_for(error):
            event = Event.FAIL
        elif failures < retry.max_attempts:
            return ReleaseJob(job_id, token, _delay_seconds(retry, error, failures), Failed(text))
    return FinishJob(job_id, token, event, error=text, act=rules.act)


def _delay_seconds(retry: Retry, error: BaseException, failures: int) -> float:
    """Return the delay before the next attempt: the error's own, or that of the rule."""
    asked = retry_after_of(error)
    if asked is not None:
        return min(asked, retry.longest_delay_seconds)
    return retry.delay_seconds(failures, random())  # noqa: S311 - it spreads load


def _after_stop(attempt: Attempt, rules: Rules, reason: Stop) -> Message[Any] | None:
    logger.info(
        "attempt %s of job %s was stopped: %s",
        *(attempt.number, attempt.job_id, reason.value),
        extra=attempt.fields,
    )
    if reason is Stop.LOST:
        return None
    was_cut_short = reason is not Stop.CANCELLED and attempt.has_begun
    if was_cut_short and not rules.deaths.idempotent:
        error = f"attempt {attempt.number} was stopped: {reason.value}, and {NOT_REPEATED}"
        return FinishJob(attempt.job_id, attempt.token, Event.EXHAUST, error=error, act=rules.act)
    return ReleaseJob(attempt.job_id, attempt.token)


def _put_off(attempt: Attempt, error: EngineError) -> Message[Any]:
    """Log that the handler could not be called, and return the message that tries again later.

    It is not the job's fault, so it does not count as a failure.
    """
    logger.error(
        "attempt %s of job %s could not begin, and another one follows in %g s: %s",
        *(attempt.number, attempt.job_id, _PAUSE_SECONDS, error),
        extra=attempt.fields,
    )
    return ReleaseJob(attempt.job_id, attempt.token, _PAUSE_SECONDS)


def _after_failure(attempt: Attempt, rules: Rules, error: BaseException) -> Message[Any]:
    """Log that an attempt failed, and return the message for the owner.

    Only the last attempt has its traceback in the log: many that are tried again would bury it.
    """
    message = failure(attempt, rules, error)
    if isinstance(message, ReleaseJob):
        logger.warning(
            "attempt %s of job %s failed, and another one follows: %s",
            *(attempt.number, attempt.job_id, _line(error)),
            extra=attempt.fields,
        )
        return message
    forget_own_frames(error)
    logger.error(
        "attempt %s of job %s failed, and no other one follows",
        *(attempt.number, attempt.job_id),
        exc_info=error,
        extra=attempt.fields,
    )
    return message


def _line(error: BaseException) -> str:
    """Return the beginning of an error's text, on one line."""
    text = " ".join(error_text(error).split())
    return text if len(text) <= _LINE_CHARACTERS else f"{text[:_LINE_CHARACTERS]}…"


def _log(attempt: Attempt, what: str) -> None:
    if logger.isEnabledFor(logging.DEBUG):  # the fields cost more than this check
        names = (attempt.number, attempt.job_id, what)
        logger.debug("attempt %s of job %s %s", *names, extra=attempt.fields)
