"""Errors as answers: an HTTP status and a problem, as RFC 9457 has it.

A problem holds texts of this module, and values that the caller gave or that belong to the job that
the caller named. The engine's own texts are for the log: they name paths, causes, and the job that
has another customer's key. Only the text of an `InvalidValueError` is told, which is about the
caller's value.

=====  ===========================================================================
503    not applied, or of an unknown outcome; ``Retry-After`` where it passes by itself
500    a bug of the service, or damage: a repeated call would not help
410    the events behind this cursor are gone: read the jobs again
409    the job is not in the state for it, or its payment is used: read it again
404    there is no such job
422    the call itself is wrong, also a key that is used for something else
=====  ===========================================================================
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.domain.exceptions import (
    AttemptConflictError,
    CallTimeoutError,
    CursorExpiredError,
    DeadlineConflictError,
    EngineError,
    EngineForkedError,
    EngineStartedError,
    EngineUnavailableError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobClaimedError,
    JobEndedError,
    JobFailedError,
    JobNotFoundError,
    NotRetryableError,
    OutcomeUnknownError,
    OverloadedError,
    PaymentConflictError,
    PaymentInUseError,
    StaleAttemptError,
    StalePromptError,
    StatusConflictError,
    StorageDamagedError,
    StorageError,
    UnknownCursorError,
    VersionConflictError,
    WrongLoopError,
)
from engine.portal.logs import TaskLogger

logger = TaskLogger("engine.web")

_RETRY_AFTER: Final = {"Retry-After": "1"}  # seconds; clients that wait longer do no harm


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one kind of error is told."""

    status: int
    detail: str | None = None
    """None: the error's own text."""
    members: Mapping[str, str] = field(default_factory=dict)
    """The names of further members of the problem, and of the attributes that they show."""
    headers: Mapping[str, str] = field(default_factory=dict)


def _members(*names: str, **others: str) -> dict[str, str]:
    return {name: name for name in names} | others


_OF_JOB: Final = _members("job_id", job_status="status")
_READ_AGAIN: Final = "read the jobs again, and watch from there"

_RULES: Final[Mapping[type[EngineError], _Rule]] = {
    EngineError: _Rule(500, "the service met an error of its own"),
    JobNotFoundError: _Rule(404, "there is no such job", _members("job_id")),
    InvalidStateTransitionError: _Rule(
        409,
        "the job's status does not allow this",
        _members("job_id", "allowed", job_status="from_state"),
    ),
    VersionConflictError: _Rule(
        409,
        "the job has changed: read it again and decide anew",
        _members("job_id", "expected_version", "actual_version"),
    ),
    AttemptConflictError: _Rule(
        409,
        "the job has been attempted again: read it again and decide anew",
        _members("job_id", "expected_attempt", "actual_attempt"),
    ),
    DeadlineConflictError: _Rule(
        409,
        "the job has another deadline: read it again and decide anew",
        _members("job_id", "expected_deadline", "actual_deadline", job_status="status"),
    ),
    JobClaimedError: _Rule(409, "the job is at work; it can be cancelled", _members("job_id")),
    StaleAttemptError: _Rule(409, "this attempt does not have the job any more"),
    StalePromptError: _Rule(
        409,
        "the job does not wait for this answer: read it again",
        _members("job_id", "prompt_id", current_prompt_id="current"),
    ),
    StatusConflictError: _Rule(
        409,
        "the job has another status: read it again and decide anew",
        _members("job_id", "expected_status", job_status="actual_status"),
    ),
    JobEndedError: _Rule(409, "the job has ended", _OF_JOB | _members("outcome")),
    NotRetryableError: _Rule(409, "the job can't be retried in its present state", _OF_JOB),
    JobFailedError: _Rule(409, "the job has ended without a result", _OF_JOB),
    # As draft-ietf-httpapi-idempotency-key-header-07 has it, section 2.7.
    IdempotencyConflictError: _Rule(422, "another request has this idempotency key: use a new one"),
    PaymentInUseError: _Rule(
        409, "the payment pays for another job: each needs its own", _members("payment_id")
    ),
    PaymentConflictError: _Rule(
        409, "another payment pays for the job", _members("job_id", "payment_id")
    ),
    InvalidValueError: _Rule(422, None, _members("field")),
    UnknownCursorError: _Rule(410, f"there is no such event: {_READ_AGAIN}"),
    CursorExpiredError: _Rule(410, f"later events were removed: {_READ_AGAIN}"),
    OverloadedError: _Rule(503, "too many calls are waiting", headers=_RETRY_AFTER),
    StorageError: _Rule(503, "the jobs can't be reached", headers=_RETRY_AFTER),
    StorageDamagedError: _Rule(500, "the stored data is damaged"),
    CallTimeoutError: _Rule(503, "there was no answer in time", headers=_RETRY_AFTER),
    OutcomeUnknownError: _Rule(
        503, "the change may have been applied, or not: read the job before you repeat the call"
    ),
    EngineUnavailableError: _Rule(503, "the service is starting or has stopped"),
    EngineStartedError: _Rule(500, "the service met an error of its own"),
    EngineForkedError: _Rule(500, "the service met an error of its own"),
    WrongLoopError: _Rule(500, "the service met an error of its own"),
}


def install_errors(app: Starlette) -> None:
    """Answer with a problem where a route raises an `EngineError`.

    Logs those of status 500 and above by the logger ``engine.web``: one line, those of 500 with the
    traceback.

    Args:
        app: The application, of Starlette or FastAPI.
    """
    app.add_exception_handler(EngineError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)  # noqa: S101 - that it is installed for
    response = problem_of(error)
    log_error(request, error, response.status_code)
    return response


def log_error(request: Request, error: EngineError, status: int) -> None:
    """Log the error of a request, unless its HTTP status says that the client is wrong."""
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    is_bug = status == HTTPStatus.INTERNAL_SERVER_ERROR
    logger.log(
        logging.ERROR if is_bug else logging.WARNING,
        "%s %s: %s",
        request.method,
        request.url.path,
        error,
        exc_info=error if is_bug else None,
    )


def problem_of(error: EngineError) -> Response:
    """Return the answer that tells an error.

    ``code`` names its kind, such as ``job-not-found``; ``item`` the number of the wrong item in a
    bulk call, counted from 0.
    """
    kind, rule = _rule_of(error)
    members = {name: getattr(error, attribute) for name, attribute in rule.members.items()}
    if error.item is not None:
        members["item"] = error.item
    detail = str(error) if rule.detail is None else rule.detail
    return problem_response(
        rule.status, detail, code=_code_of(kind), headers=rule.headers, **members
    )


def _rule_of(error: EngineError) -> tuple[type[EngineError], _Rule]:
    """Return the rule of the nearest class that has one, and the class.

    That a change may have been applied counts for more than why nobody knows.
    """
    if isinstance(error, OutcomeUnknownError):
        return OutcomeUnknownError, _RULES[OutcomeUnknownError]
    return next((kind, _RULES[kind]) for kind in type(error).__mro__ if kind in _RULES)


def _code_of(kind: type[EngineError]) -> str:
    """Return a class's name as in ``job-not-found``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()


def problem_response(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,  # noqa: ANN401 - any JSON value
) -> Response:
    """Return a problem: ``application/problem+json``, as RFC 9457 has it.

    Its ``type`` is ``about:blank``, so its title is that of the status.

    Args:
        status: The HTTP status.
        detail: The fault, and what to do next.
        code: Names the kind of problem, for programs.
        headers: Of the response.
        members: Further members: JSON values.
    """
    problem: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status}
    if code is not None:
        problem["code"] = code
    return JSONResponse(
        {**problem, "detail": detail, **members}, status, headers, "application/problem+json"
    )
