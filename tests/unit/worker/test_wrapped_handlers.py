"""Async functions that nothing marks as such, and the context in which handlers begin."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import anyio
import pytest

from engine import JobStatus, SyncJobEngine, Worker
from tests.tries import trio_later
from tests.unit.claiming import AgentJob
from tests.unit.worker.at_work import ONCE, ended, working

pytestmark = pytest.mark.anyio


async def _handle(job: AgentJob, suffix: str = "") -> str:
    await anyio.lowlevel.checkpoint()
    return f"did {job.input}{suffix}"


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(job: AgentJob) -> Any:  # noqa: ANN401 - as the function
        return function(job)

    return wraps(function)(wrapper)


class _Object:
    def __call__(self, job: AgentJob) -> Any:  # noqa: ANN401 - a coroutine
        return _handle(job)


class _Awaitable:
    def __init__(self, job: AgentJob) -> None:
        self._job = job

    def __await__(self) -> Any:  # noqa: ANN401 - as of a coroutine
        return _handle(self._job).__await__()


WRAPPED: dict[str, Callable[..., Any]] = {
    "a plain decorator": _decorated(_handle),
    "a lambda": lambda job: _handle(job, ""),
    "a partial": partial(_handle, suffix=""),
    "a partial of a lambda": partial(lambda suffix, job: _handle(job, suffix), ""),
    "a callable object": _Object(),
    "another awaitable": _Awaitable,
}


@pytest.mark.parametrize("how", WRAPPED)
async def test_its_coroutine_is_awaited(how: str) -> None:
    async with working(WRAPPED[how], retry=ONCE) as engine:
        assert (await ended(engine, how)).result == f"did {how}"


@trio_later
async def test_its_coroutine_fails_and_reaches_its_time_limit() -> None:
    async def fail(job: AgentJob) -> None:
        if job.input == "fails":
            raise ConnectionError("planted")
        await anyio.sleep_forever()

    async with working(_decorated(fail), retry=ONCE, timeout_seconds=0.2) as engine:
        assert (await ended(engine, "fails")).error == "ConnectionError: planted"
        assert "AttemptTimeoutError" in ((await ended(engine, "hangs")).error or "")


VARIABLE = contextvars.ContextVar("VARIABLE", default="empty")


def _sync_value(_job: Any) -> str:  # noqa: ANN401 - of either lifecycle
    value = VARIABLE.get()
    VARIABLE.set("an earlier handler's")
    return value


async def _async_value(job: Any) -> str:  # noqa: ANN401 - as above
    return _sync_value(job)


@pytest.mark.parametrize("handler", [_sync_value, _async_value])
async def test_each_handler_begins_in_an_empty_context(handler: Callable[..., Any]) -> None:
    VARIABLE.set("the program's")
    async with working(handler) as engine:
        assert [(await ended(engine)).result for _ in range(2)] == ["empty", "empty"]


@pytest.mark.parametrize("handler", [_sync_value, _async_value])
async def test_what_a_middleware_sets_reaches_its_handler(handler: Callable[..., Any]) -> None:
    @contextmanager
    def middleware(_context: object) -> Any:  # noqa: ANN401 - a generator
        VARIABLE.set("the middleware's")
        yield

    async with working(handler, middleware=[middleware]) as engine:
        assert (await ended(engine)).result == "the middleware's"


@pytest.mark.parametrize("handler", [_sync_value, _async_value])
def test_handlers_of_a_blocking_engine_begin_in_an_empty_context(
    handler: Callable[..., Any],
) -> None:
    VARIABLE.set("the program's")
    try:
        with SyncJobEngine() as engine, Worker(engine, handler):
            for _ in range(2):
                job = engine.create("work")
                engine.transition(job.job_id, JobStatus.RUNNING)
                assert engine.result(job.job_id, timeout=60) == "empty"
    finally:
        VARIABLE.set("empty")


def _attempts() -> list[asyncio.Task[Any]]:
    gc.collect()
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [each for each in tasks if each.get_name().startswith("engine attempt")]


class _Factory:
    """Makes a loop's tasks, and keeps their names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, loop: Any, coroutine: Any, **how: Any) -> Any:  # noqa: ANN401 - as asyncio's
        self.names.append(how.get("name", ""))
        return asyncio.Task(coroutine, loop=loop, **how)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["own", "eager"])
@pytest.mark.usefixtures("anyio_backend")
async def test_a_loops_task_factory_starts_no_attempts(kind: str) -> None:
    """An eager one would begin handlers in the owner's round, and end them before their start."""
    factory: Any = _Factory() if kind == "own" else getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("Python 3.12 brings the eager task factory")
    before, rounds = _attempts(), []

    async def handle(_job: AgentJob) -> str:
        rounds.append(engine.core.inbox.taken)
        return "done"

    asyncio.get_running_loop().set_task_factory(factory)
    try:
        async with working(handle) as engine:
            for _ in range(5):
                assert (await ended(engine)).result == "done"
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert rounds == [None] * 5
    assert _attempts() == before
    if kind == "own":
        assert factory.names
        assert not [name for name in factory.names if name.startswith("engine attempt")]
