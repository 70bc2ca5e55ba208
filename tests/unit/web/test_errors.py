"""Errors as answers: each has a status and a problem that tells nobody else's data."""

import inspect
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.responses import Response

import engine
from engine import (
    EngineError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    OverloadedError,
    StorageError,
    WriteTimeoutError,
)
from engine.domain.outcomes import Outcome
from engine.web import install_errors, problem_of, problem_response
from tests.unit.web.asking import problem

OTHERS = "another customer's"

STATUSES = {
    404: {"JobNotFoundError"},
    409: {
        "AttemptConflictError",
        "DeadlineConflictError",
        "InvalidStateTransitionError",
        "JobClaimedError",
        "JobEndedError",
        "JobFailedError",
        "NotRetryableError",
        "PaymentConflictError",
        "PaymentInUseError",
        "StaleAttemptError",
        "StalePromptError",
        "StatusConflictError",
        "VersionConflictError",
    },
    410: {"CursorExpiredError", "UnknownCursorError"},
    422: {"IdempotencyConflictError", "InvalidValueError"},
    500: {
        "AttemptTimeoutError",  # no call raises it
        "DuplicateJobIdError",
        "EngineError",
        "EngineForkedError",
        "EngineStartedError",
        "HandlerError",
        "HandlerProcessError",
        "JobDamagedError",
        "KindInUseError",
        "LifecycleError",
        "CommitsLostError",
        "StorageDamagedError",
        "WrongLoopError",
    },
    503: {
        "CallTimeoutError",
        "CommitCrashedError",
        "CommitUnknownError",
        "EngineClosedError",
        "EngineCrashedError",
        "EngineNotStartedError",
        "EngineUnavailableError",
        "LeaseLostError",
        "OutcomeUnknownError",
        "OverloadedError",
        "StorageError",
        "StorageFormatError",
        "StorageFullError",
        "StorageInUseError",
        "StorageReadOnlyError",
        "WriteTimeoutError",
    },
}
ERRORS = sorted(name for name in engine.__all__ if name.endswith("Error"))


def example(name: str) -> EngineError:
    """Return an error whose every value is somebody else's."""
    kind: Any = getattr(engine, name)
    if "__init__" not in vars(kind) and not any(
        "__init__" in vars(each) for each in kind.__mro__ if issubclass(each, EngineError)
    ):
        return kind(OTHERS)  # type: ignore[no-any-return]
    given: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            annotation = str(parameter.annotation)
            if "BaseException" in annotation or "StorageError" in annotation:
                given[parameter.name] = StorageError(OTHERS)
            elif annotation == "Outcome":
                given[parameter.name] = Outcome.EXPIRED
            elif annotation.startswith(("int", "float")):
                given[parameter.name] = 7
            elif name not in {"EngineNotStartedError", "EngineStartedError"}:
                given[parameter.name] = OTHERS
    return kind(**given)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_has_a_status(name: str) -> None:
    [expected] = [status for status, names in STATUSES.items() if name in names]
    body = problem(problem_of(example(name)))
    assert body["status"] == expected
    assert body["title"]
    assert body["code"]


@pytest.mark.parametrize("name", sorted({*STATUSES[500], *STATUSES[503], *STATUSES[410]}))
def test_troubles_of_the_service_are_not_told(name: str) -> None:
    assert OTHERS.encode() not in bytes(problem_of(example(name)).body)


def test_a_conflict_names_neither_the_job_that_has_the_key_nor_its_contents() -> None:
    error = IdempotencyConflictError("order 1", OTHERS, "input_hash")
    body = problem(problem_of(error))
    assert {*body} == {"title", "status", "code", "detail"}
    assert OTHERS not in str(body)
    assert body["code"] == "idempotency-conflict"


def test_a_problem_has_the_facts_about_the_callers_own_job() -> None:
    body = problem(problem_of(InvalidStateTransitionError("running", "cancel", ("failed",), "j1")))
    assert (body["job_id"], body["job_status"], body["allowed"]) == ("j1", "running", ["failed"])
    body = problem(problem_of(JobNotFoundError("j2")))
    assert (body["job_id"], body["code"]) == ("j2", "job-not-found")
    wrong = InvalidValueError("priority", "must be an integer")
    wrong.item = 3
    body = problem(problem_of(wrong))
    assert (body["field"], body["item"]) == ("priority", 3)
    assert body["detail"] == "item 3: priority must be an integer"


def test_only_what_passes_by_itself_and_was_not_applied_asks_to_come_again() -> None:
    asked = {name for name in ERRORS if "retry-after" in problem_of(example(name)).headers}
    storage = {name for name in STATUSES[503] if name.startswith(("Storage", "Lease"))}
    assert asked == {"CallTimeoutError", "OverloadedError", *storage}
    unknown = problem(problem_of(WriteTimeoutError(1.0)))
    assert (unknown["code"], "may have been applied" in unknown["detail"]) == (
        "outcome-unknown",
        True,
    )


def test_a_services_own_problem_has_the_same_form() -> None:
    response = problem_response(401, "sign it", code="unsigned", headers={"X": "y"}, key="k")
    assert problem(response) == {
        "title": "Unauthorized",
        "status": 401,
        "code": "unsigned",
        "detail": "sign it",
        "key": "k",
    }
    assert response.headers["x"] == "y"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_routes_answer_with_problems_and_log_those_of_the_service(
    kind: type[Starlette], caplog: pytest.LogCaptureFixture
) -> None:
    app = kind()
    install_errors(app)
    raised: list[Exception] = []

    async def route(_request: object) -> Response:
        raise raised[0]

    app.router.add_route("/", route)
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        for error, status in (
            (JobNotFoundError("j1"), 404),
            (OverloadedError(7, 7), 503),
            (engine.LifecycleError("no such status"), 500),
        ):
            raised[:] = [error]
            answer = await client.get("/")
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
    logged = [(each.name, each.levelno, bool(each.exc_info)) for each in caplog.records]
    ours = [each for each in logged if each[0].startswith("engine")]
    assert ours == [
        ("engine.web", logging.WARNING, False),
        ("engine.web", logging.ERROR, True),
    ]


@pytest.mark.anyio
async def test_a_closed_engine_is_a_503() -> None:
    async with JobEngine() as closed:
        pass
    with pytest.raises(EngineError) as refusal:
        await closed.get("j1")
    assert problem_of(refusal.value).status_code == 503
