"""A program with typed handlers. Type checkers check it; nothing runs it.

Each line with a ``type: ignore`` is a mistake that they must find: they report an unused ignore.
"""

from typing import Any, assert_type

from engine import AgentJobStatus, Context, Handler, Job, JobEngine, Retry, Worker
from engine.testing import Lab


class Order:
    """An input."""


class Report:
    """A result."""


async def of_input(_: Order) -> Report:
    return Report()


async def of_both(_: Order, __: Context) -> Report:
    return Report()


async def context_first(_: Context[AgentJobStatus], __: Order) -> Report:
    return Report()


async def of_job(_: Job) -> Report:
    return Report()


async def of_job_and_context(_: Job[AgentJobStatus], __: Context) -> Report:
    return Report()


async def of_job_and_input(_: Job, __: Order) -> Report:
    return Report()


def in_thread(_: Order, more: int = 3) -> Report:
    raise AssertionError(more)


def of_job_in_thread(_: Context, __: Job) -> Report:
    return Report()


def of_all(_: Order, __: Context, ___: Job) -> Report:
    return Report()


async def input_between(_: Job, __: Order, ___: Context) -> Report:
    return Report()


def input_last(_: Context, __: Job, ___: Order) -> Report:
    return Report()


assert_type(Handler(of_input), Handler[Order, Report])
assert_type(Handler(of_both, concurrency=2), Handler[Order, Report])
assert_type(Handler(context_first, retry=Retry(2)), Handler[Order, Report])
assert_type(Handler(of_job, timeout_seconds=3), Handler[Any, Report])
assert_type(Handler(of_job_and_context), Handler[Any, Report])
assert_type(Handler(of_job_and_input), Handler[Order, Report])
assert_type(Handler(in_thread, processes=True), Handler[Order, Report])
assert_type(Handler(of_job_in_thread), Handler[Any, Report])
assert_type(Handler(of_all), Handler[Order, Report])
assert_type(Handler(input_between), Handler[Order, Report])
assert_type(Handler(input_last), Handler[Order, Report])
wrong: Handler[Order, Order] = Handler(of_input)  # type: ignore[arg-type]


async def kinds() -> None:
    async with JobEngine() as engine:
        Worker(engine, of_input)
        Worker(engine, Handler(of_input))
        Worker(engine, {"a": of_input, "b": Handler(of_job), "c": in_thread}, concurrency=3)
        Worker(engine, {"a": Handler(of_input), "b": Handler(of_all)})
        Lab({"a": Handler(of_input)})
        Worker(engine, {"a": 3})  # type: ignore[dict-item]
        Handler(of_input, concurrency="two")  # type: ignore[call-overload]
        Handler(of_input, retry=2)  # type: ignore[call-overload]
        Handler(of_input, grace_seconds=2)  # type: ignore[call-overload]
        Handler(3)  # type: ignore[call-overload]
