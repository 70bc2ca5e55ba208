"""Around an attempt: middleware, the fields of the log, and the other movers of the job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from engine import Context, JobClaimedError, Retry, StaleAttemptError
from tests.unit.claiming import AgentJob, running
from tests.unit.worker.at_work import (
    COMPLETED,
    FAILED,
    ONCE,
    Turnstile,
    ended,
    working,
)

pytestmark = pytest.mark.anyio


async def _fails(_: AgentJob) -> None:
    raise ValueError("it can't be done")


async def _works(_: AgentJob) -> str:
    return "done"


def _works_in_thread(_: AgentJob) -> str:
    return "done"


async def test_hooks_are_entered_before_and_left_after_with_the_error() -> None:
    seen: list[tuple[Any, ...]] = []

    def hook(name: str) -> Any:  # noqa: ANN401
        @contextmanager
        def middleware(context: Context[Any]) -> Iterator[None]:
            seen.append((name, "in", context.attempt))
            try:
                yield
            except ValueError as error:
                seen.append((name, "error", str(error)))
                raise
            else:
                seen.append((name, "out"))

        return middleware

    for handler in (_works, _works_in_thread):
        async with working(handler, middleware=[hook("outer"), hook("inner")]) as engine:
            assert (await ended(engine)).result == "done"
        assert seen == [("outer", "in", 1), ("inner", "in", 1), ("inner", "out"), ("outer", "out")]
        seen.clear()
    async with working(_fails, middleware=[hook("outer"), hook("inner")], retry=ONCE) as engine:
        await ended(engine)
    told = "it can't be done"
    assert seen[2:] == [("inner", "error", told), ("outer", "error", told)]


class _Broken(AbstractContextManager[None]):
    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        if self._where == "enter":
            raise RuntimeError("a broken hook")

    def __exit__(self, *_: object) -> bool:
        if self._where == "leave":
            raise RuntimeError("a broken hook")
        return True  # it would swallow the error


@pytest.mark.parametrize("where", ["call", "enter", "leave", "swallow"])
async def test_a_broken_hook_changes_nothing(where: str, caplog: pytest.LogCaptureFixture) -> None:
    def middleware(_: Context[Any]) -> AbstractContextManager[None]:
        if where == "call":
            raise RuntimeError("a broken hook")
        return _Broken(where)

    for handler, status in ((_works, COMPLETED), (_fails, FAILED)):
        async with working(handler, middleware=[middleware], retry=ONCE) as engine:
            assert (await ended(engine)).status is status
    logged = [each for each in caplog.records if "a middleware failed" in each.getMessage()]
    assert len(logged) == (0 if where == "swallow" else 2)


async def test_the_log_has_the_job_the_attempt_and_the_status_as_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "engine.worker")
    retry = Retry(max_attempts=2, first_delay_seconds=0)
    async with working(_fails, retry=retry) as engine:
        job = await ended(engine)
    lines = [each for each in caplog.records if each.name == "engine.worker"]
    lines = [each for each in lines if hasattr(each, "job_id")]
    fields = [(each.job_id, each.attempt, each.status) for each in lines]  # type: ignore[attr-defined]
    assert fields == [(job.job_id, number, "running") for number in (1, 1, 2, 2)]
    assert [each.levelname for each in lines] == ["DEBUG", "WARNING", "DEBUG", "ERROR"]
    assert "Traceback" not in (job.error or "")


async def test_while_an_attempt_has_a_job_nobody_else_can_move_it() -> None:
    gate, tokens = Turnstile(), []

    async def handler(job: AgentJob, context: Context[Any]) -> str:
        tokens.append(context.token)
        return await gate(job)

    async with working(handler) as engine:
        job = await running(engine)
        await gate.until(1)
        with pytest.raises(JobClaimedError):
            await engine.transition(job.job_id, FAILED)
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, FAILED, attempt_token=f"not {tokens[0]}")
        moved = await engine.transition(job.job_id, FAILED, error="me", attempt_token=tokens[0])
        await gate.until(0)
        gate.open()
        assert await engine.get(job.job_id) == moved, "the handler was stopped, and has no say"


async def test_an_attempt_that_is_over_has_no_say() -> None:
    gate, tokens = Turnstile(), []

    async def handler(job: AgentJob, context: Context[Any]) -> str:
        tokens.append(context.token)
        if context.attempt == 1:
            raise OSError("not now")
        return await gate(job)

    async with working(handler, retry=Retry(first_delay_seconds=0)) as engine:
        job = await running(engine)
        await gate.until(1)
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, COMPLETED, attempt_token=tokens[0])
        gate.open()
        assert (await engine.wait(job.job_id)).result == "through"
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, FAILED, attempt_token=tokens[1])
    assert len(set(tokens)) == 2
