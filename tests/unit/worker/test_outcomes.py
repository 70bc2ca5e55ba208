"""The outcome of a handler: its return value is the job's result, its exception the error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from engine import AGENT_JOB_LIFECYCLE, Context, SyncJobEngine, Worker
from tests.tries import thorough, trio_later
from tests.unit.claiming import AgentJob, NewPlace
from tests.unit.worker.at_work import COMPLETED, FAILED, ONCE, RUNNING, ended, working
from tests.unit.worker.in_processes import Report, outcome, process_id

pytestmark = pytest.mark.anyio


async def _async(job: AgentJob) -> Any:  # noqa: ANN401
    return outcome(job)


async def _async_with_context(job: AgentJob, context: Context[Any]) -> Any:  # noqa: ANN401
    assert context.job == job
    return outcome(job)


def _plain_with_context(job: AgentJob, context: Context[Any]) -> Any:  # noqa: ANN401
    assert context.job == job
    return outcome(job)


class _Callable:
    async def __call__(self, job: AgentJob) -> Any:  # noqa: ANN401
        return outcome(job)


@wraps(_async)
async def _wrapped(*arguments: Any) -> Any:  # noqa: ANN401
    return await _async(*arguments)


KINDS: dict[str, tuple[Callable[..., Any], bool]] = {
    "async": (_async, False),
    "async, with context": (_async_with_context, False),
    "partial": (partial(_async_with_context), False),
    "callable object": (_Callable(), False),
    "wrapped": (_wrapped, False),
    "thread": (outcome, False),
    "thread, with context": (_plain_with_context, False),
    "process": (outcome, True),
}
RESULTS = {
    "text": "a text",
    "nothing": None,
    "json": '{"pages":[1,2.5,null,true,"é"]}',
    "model": '{"pages":3,"title":"A title"}',
}
ERRORS = {
    "error": "ValueError: it can't be done",
    "long": "InvalidValueError: result ",
    "object": "",  # in a process it can't even be sent back
}


@pytest.mark.parametrize(
    "kind", [*(kind for kind in KINDS if kind != "process"), *thorough("process")]
)
async def test_what_a_handler_returns_or_raises_is_kept(kind: str, new_place: NewPlace) -> None:
    handler, processes = KINDS[kind]
    async with working(handler, new_place(), processes=processes, retry=ONCE) as engine:
        for given, result in RESULTS.items():
            job = await ended(engine, given)
            assert (job.status, job.error, job.attempt) == (COMPLETED, None, 1)
            kept = job.result if given in {"text", "nothing"} else json.loads(job.result or "")
            assert kept == (result if given in {"text", "nothing"} else json.loads(result or ""))
        for given, error in ERRORS.items():
            job = await ended(engine, given)
            assert (job.status, job.result) == (FAILED, None)
            assert job.error is not None
            assert job.error.startswith(error)
            assert len(job.error) < 1_000
        assert (await engine.statistics()).running == 0


async def test_a_result_is_had_as_the_model_that_it_was() -> None:
    async with working(_async) as engine:
        job = await ended(engine, "model")
        assert await engine.result(job.job_id, Report) == Report(pages=3, title="A title")


def test_threads_have_the_same() -> None:
    with SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine, Worker(engine, _async, retry=ONCE):
        for given, result in RESULTS.items():
            job = engine.create("hash", input=given)
            engine.transition(job.job_id, RUNNING)
            kept = engine.result(job.job_id, timeout=60)
            assert (kept is None) is (result is None)
        job = engine.create("hash", input="error")
        engine.transition(job.job_id, RUNNING)
        assert engine.wait(job.job_id, timeout=60).error == ERRORS["error"]


@trio_later
async def test_a_plain_handler_is_no_task_and_a_process_is_another_one(tmp_path: Path) -> None:
    async with working(process_id, processes=True) as engine:
        job = await ended(engine, str(tmp_path / "ids"))
        assert await engine.result(job.job_id, int) != os.getpid()
    async with working(process_id) as engine:
        job = await ended(engine, str(tmp_path / "ids"))
        assert await engine.result(job.job_id, int) == os.getpid()


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


class _OddError(Exception):
    @property
    def retryable(self) -> bool:
        raise RuntimeError("no answer")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(), "ValueError"),
        (ValueError("a\0b\ud800"), "ValueError: a\N{REPLACEMENT CHARACTER}b?"),
        (ValueError("x" * 100_000), f"ValueError: {'x' * 65_524}"),
        (_MuteError(), "_MuteError: an error without a message"),
        (_OddError("odd"), "_OddError: odd"),
        (ExceptionGroup("two", [ValueError("a"), OSError("b")]), "ValueError: a; OSError: b"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_is_kept_as_its_type_and_message(error: Exception, told: str) -> None:
    async def handler(_: AgentJob) -> None:
        raise error

    async with working(handler, retry=ONCE) as engine:
        job = await ended(engine)
        assert job.status is FAILED
        assert (job.error or "").endswith(told)


async def test_what_can_be_awaited_is_no_result() -> None:
    def handler(_: AgentJob) -> object:
        return _async  # as if an async function had been forgotten to be called

    async with working(handler, retry=ONCE) as engine:
        assert (await ended(engine)).status is FAILED
