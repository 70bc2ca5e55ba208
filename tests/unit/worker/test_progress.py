"""A handler's progress reaches `get` and watchers, and never the history."""

from __future__ import annotations

import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Context, Progress, Retry, Transition
from tests.tries import trio_later
from tests.unit.claiming import AgentJob, running
from tests.unit.worker.at_work import (
    ONCE,
    SECONDS,
    AgentEngine,
    Turnstile,
    ended,
    until_progress,
    working,
)

pytestmark = pytest.mark.anyio

MANY = 20_000


async def test_a_task_is_heard_by_get_and_by_watchers() -> None:
    gate = Turnstile()

    async def handler(job: AgentJob, context: Context[Any]) -> str:
        context.progress(1, 3, "the first of three")
        return await gate(job)

    async with working(handler) as engine:
        job = await running(engine)
        told = Progress(job_id=job.job_id, attempt=1, done=1, total=3, note="the first of three")
        assert await until_progress(engine, job) == told
        assert (await engine.get(job.job_id)).progress == told
        version = (await engine.get(job.job_id)).version
        gate.open()
        done = await engine.wait(job.job_id)
        assert done.version == version + 1, "it is no change"
        assert (await engine.get(job.job_id)).progress is None
        assert len(await engine.history(job.job_id)) == 3


async def test_who_does_not_ask_for_progress_gets_none() -> None:
    async def handler(_: AgentJob, context: Context[Any]) -> None:
        context.progress(1)
        await checkpoint()

    async with working(handler) as engine:
        job = await running(engine)
        seen = [each async for each in engine.watch(job.job_id)]
        assert len(seen) == 3
        assert all(isinstance(each, Transition) for each in seen)


async def _until_watched(engine: AgentEngine, watchers: int) -> None:
    while (await engine.statistics()).watchers < watchers:
        await checkpoint()


@trio_later
async def test_threads_that_say_much_are_heard_to_the_last() -> None:
    """Reports are coalesced: watchers get the newest of each job when the event loop runs again."""
    half, said = threading.Barrier(5), threading.Barrier(5)
    let_go, watched = threading.Event(), threading.Event()

    def handler(_: AgentJob, context: Context[Any]) -> None:
        watched.wait(SECONDS)
        for number in range(MANY // 2):
            context.progress(number, MANY)
        half.wait(SECONDS)
        for number in range(MANY // 2, MANY + 1):
            context.progress(number, MANY)
        said.wait(SECONDS)
        let_go.wait(SECONDS)

    async def last(job: AgentJob) -> None:
        numbers = []
        async for each in engine.watch(job.job_id, progress=True):
            if isinstance(each, Progress):
                numbers.append(each.done)
                if each.done == MANY:
                    break
        assert numbers == sorted(set(numbers)), "in their order, none twice"
        assert [number for number in numbers if number >= MANY // 2] == [MANY]
        assert (progress := (await engine.get(job.job_id)).progress)
        assert progress.done == MANY

    async with working(handler, retry=ONCE) as engine:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(last, await running(engine))
            await _until_watched(engine, 4)
            watched.set()
            while half.n_waiting < 4:
                await checkpoint()
            half.wait(SECONDS)
            said.wait(SECONDS)  # so the event loop runs nothing until all is said
        let_go.set()


async def test_a_new_attempt_begins_without_progress() -> None:
    gate = Turnstile()

    async def handler(job: AgentJob, context: Context[Any]) -> str:
        if job.attempt == 1:
            context.progress(5)
            await checkpoint()
            raise OSError("not now")
        return await gate(job)

    async with working(handler, retry=Retry(first_delay_seconds=0, jitter=0)) as engine:
        job = await running(engine)
        await gate.until(1)
        assert (await engine.get(job.job_id)).progress is None
        gate.open()


async def test_a_thread_that_was_left_is_heard_no_more() -> None:
    let_go, said = threading.Event(), threading.Event()

    def handler(_: AgentJob, context: Context[Any]) -> None:
        let_go.wait(SECONDS)
        context.progress(1)
        said.set()

    async with working(handler, timeout_seconds=0.05, retry=ONCE) as engine:
        job = await ended(engine)
        let_go.set()
        assert await anyio.to_thread.run_sync(said.wait, SECONDS)
        await checkpoint()
        assert (await engine.get(job.job_id)).progress is None


class _Odd:
    def __float__(self) -> float:
        raise ZeroDivisionError


class _Float32:
    """As a number of numpy: no float, and it becomes one."""

    def __float__(self) -> float:
        return 0.5


LONG = "x" * 1_025
TAKEN: list[tuple[Any, ...]] = [
    ((Decimal("0.25"), Fraction(1, 2), "note"), (0.25, 0.5, "note")),
    ((_Float32(), _Float32()), (0.5, 0.5, None)),
    ((1, 2, LONG), (1, 2, LONG[:-1])),
]
LEFT_OUT: list[tuple[Any, ...]] = [
    ((float("nan"),), None),
    ((Decimal("NaN"),), None),
    ((10**400,), None),
    ((None,), None),
    ((_Odd(),), None),
    (([],), None),
    ((1, float("inf")), (1, None, None)),
    ((1, 2, 3), (1, 2, None)),
    ((1, 2, "\ud800"), (1, 2, None)),
]


async def _shown_of(arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    async def handler(_: AgentJob, context: Context[Any]) -> str:
        for _number in range(3):
            context.progress(*arguments)
        told.set()
        await gate.wait()
        return "paid for"

    told, gate = anyio.Event(), anyio.Event()
    async with working(handler, retry=ONCE) as engine:
        job = await running(engine)
        await told.wait()
        await anyio.wait_all_tasks_blocked()
        progress = (await engine.get(job.job_id)).progress
        gate.set()
        assert await engine.result(job.job_id) == "paid for"
    return None if progress is None else (progress.done, progress.total, progress.note)


@pytest.mark.parametrize(("arguments", "shown"), TAKEN, ids=str)
async def test_numbers_of_any_kind_are_taken(
    arguments: tuple[Any, ...], shown: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert await _shown_of(arguments) == shown
    assert not caplog.records


@pytest.mark.parametrize(("arguments", "shown"), LEFT_OUT, ids=str)
async def test_a_wrong_value_is_left_out_and_named_once_and_ends_no_job(
    arguments: tuple[Any, ...],
    shown: tuple[Any, ...] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await _shown_of(arguments) == shown
    [record] = caplog.records
    assert (record.name, record.levelname, record.__dict__["attempt"]) == (
        *("engine.worker", "WARNING"),
        1,
    )
