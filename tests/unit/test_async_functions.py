"""Async functions: handlers, gate checks and hooks recognise the same kinds."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine import Gate, InvalidValueError, JobEngine, JobStatus, Worker

pytestmark = pytest.mark.anyio

threads: list[int] = []
"""The threads that ran the functions below."""


def _plain(_given: object) -> str:
    threads.append(threading.get_ident())
    return "done"


async def _async(_given: object) -> str:
    return _plain(_given)


def _more(_option: str, given: object) -> str:
    return _plain(given)


async def _async_more(_option: str, given: object) -> str:
    return _plain(given)


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(given: object) -> Any:  # noqa: ANN401 - the function's
        return function(given)

    return call


def _marked(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Decorate a function, and mark the outcome as a coroutine function."""
    mark: Any = getattr(inspect, "markcoroutinefunction", None)  # of Python 3.12 and later
    return mark(_decorated(function)) if mark else function


class Methods:
    def plain(self, given: object) -> str:
        return _plain(given)

    async def awaited(self, given: object) -> str:
        return _plain(given)

    @classmethod
    async def awaited_of_class(cls, given: object) -> str:
        return _plain(given)

    @staticmethod
    async def awaited_of_none(given: object) -> str:
        return _plain(given)


class Called:
    def __call__(self, given: object) -> str:
        return _plain(given)


class Awaited:
    async def __call__(self, given: object) -> str:
        return _plain(given)


class AwaitedLater(Awaited):
    """Inherits it."""


ASYNC: dict[str, Callable[..., Any]] = {
    "a function": _async,
    "a partial": functools.partial(_async_more, "option"),
    "a partial of a partial": functools.partial(functools.partial(_async_more, "option")),
    "a method": Methods().awaited,
    "a method of a class": Methods.awaited_of_class,
    "a static method": Methods.awaited_of_none,
    "a partial of a method": functools.partial(Methods().awaited),
    "an object": Awaited(),
    "an object of a derived class": AwaitedLater(),
    "a partial of an object": functools.partial(Awaited()),
    "the method of an object": Awaited().__call__,
    "a decorator that says so": _marked(_async),
    "a partial of such a decorator": functools.partial(_marked(_async)),
}
PLAIN: dict[str, Callable[..., Any]] = {
    "a function": _plain,
    "a lambda": lambda given: _plain(given),  # noqa: PLW0108 - the test is about it
    "a partial": functools.partial(_more, "option"),
    "a method": Methods().plain,
    "an object": Called(),
    "a partial of an object": functools.partial(Called()),
    "a decorator": _decorated(_plain),
}


async def _thread_of(handler: Callable[..., Any]) -> int:
    """Return the thread in which a worker runs a handler."""
    threads.clear()
    async with JobEngine() as engine, Worker(engine, handler):
        job = await engine.create("hash")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        assert await engine.result(job.job_id, timeout=20) == "done"
    [thread] = threads
    return thread


@pytest.mark.parametrize("kind", ASYNC)
async def test_an_async_one_is_awaited_and_is_no_hook(kind: str) -> None:
    assert await _thread_of(ASYNC[kind]) == threading.get_ident()
    Gate(JobEngine(), ASYNC[kind])
    with pytest.raises(InvalidValueError, match="on_transition must be a function, and not async"):
        JobEngine(on_transition=ASYNC[kind])


@pytest.mark.parametrize("kind", PLAIN)
async def test_a_plain_one_runs_in_a_thread_and_may_be_a_hook(kind: str) -> None:
    assert await _thread_of(PLAIN[kind]) != threading.get_ident()
    JobEngine(on_transition=PLAIN[kind])
    Gate(JobEngine(), PLAIN[kind])


@pytest.mark.parametrize("kind", ["a text", 17, (), [_async]])
def test_what_is_no_function_is_refused_by_all(kind: Any) -> None:  # noqa: ANN401 - wrong on purpose
    for call in (
        lambda: Worker(JobEngine(), kind),
        lambda: Gate(JobEngine(), kind),
        lambda: JobEngine(on_transition=kind),
    ):
        with pytest.raises(InvalidValueError, match=r"^(handler|check|on_transition) must be"):
            call()
