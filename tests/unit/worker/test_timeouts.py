"""The timeout of an attempt: a task is cancelled, a process killed, a thread left and awaited."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Context
from engine.testing.virtual_clock import VirtualClock
from tests.systems import needs_proc
from tests.unit.claiming import AgentJob, running
from tests.unit.worker.at_work import (
    COMPLETED,
    FAILED,
    ONCE,
    SECONDS,
    ended,
    until,
    until_killed,
    working,
)
from tests.unit.worker.in_processes import sleep_for_ever

pytestmark = pytest.mark.anyio


async def test_a_task_is_cancelled_when_its_time_is_up() -> None:
    clock = VirtualClock()
    cancelled: list[float] = []
    began = clock()

    async def handler(_: AgentJob) -> None:
        try:
            await clock.sleep(100)
        finally:
            cancelled.append((clock() - began).total_seconds())

    async with working(handler, clock=clock, timeout_seconds=7.5, retry=ONCE) as engine:
        job = await clock.run_until(ended(engine))
        assert job.status is FAILED
        assert job.error == "AttemptTimeoutError: the attempt took more than 7.5 s"
    assert cancelled == [7.5]


async def test_each_attempt_has_the_whole_time() -> None:
    clock = VirtualClock()

    async def handler(job: AgentJob) -> str:
        await clock.sleep(9 if job.attempt == 3 else 11)
        return f"attempt {job.attempt}"

    async with working(handler, clock=clock, timeout_seconds=10) as engine:
        assert (await clock.run_until(ended(engine))).result == "attempt 3"


async def test_a_time_limit_of_the_handlers_own_is_its_own_error() -> None:
    async def handler(_: AgentJob) -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    async with working(handler, timeout_seconds=SECONDS, retry=ONCE) as engine:
        assert (await ended(engine)).error == "TimeoutError"


async def test_a_thread_keeps_its_place_until_it_ends() -> None:
    clock = VirtualClock(patience_seconds=0.02)  # the threads are held
    let_go, began, ran = threading.Event(), threading.Event(), threading.Event()

    def handler(job: AgentJob) -> str:
        if job.input == "stuck":
            began.set()
            let_go.wait(SECONDS)
        else:
            ran.set()
        return "done"

    how: dict[str, Any] = {"clock": clock, "timeout_seconds": 60, "retry": ONCE}
    async with working(handler, concurrency=1, **how) as engine:
        job = await running(engine, input="stuck")
        await until(began.is_set)
        await clock.advance(60)
        stuck = await engine.wait(job.job_id)
        assert (stuck.error or "").startswith("AttemptTimeoutError")
        waiting = await running(engine)
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.running) == (1, 0), "there is no place for it"
        assert not ran.is_set()
        let_go.set()
        assert (await engine.wait(waiting.job_id)).status is COMPLETED
        assert await engine.get(stuck.job_id) == stuck, "what the thread returns is too late"


async def test_many_threads_may_be_left_at_once() -> None:
    clock = VirtualClock(patience_seconds=0.02)  # the threads are held
    let_go, began = threading.Event(), threading.Semaphore(0)

    def handler(_: AgentJob) -> None:
        began.release()
        let_go.wait(SECONDS)

    how: dict[str, Any] = {"clock": clock, "timeout_seconds": 60, "retry": ONCE}
    async with working(handler, concurrency=3, **how) as engine:
        jobs = [await running(engine) for _ in range(3)]
        for _ in jobs:
            await until(lambda: began.acquire(blocking=False))
        await clock.advance(60)
        for job in jobs:
            assert (await engine.wait(job.job_id)).status is FAILED
        let_go.set()
        assert (await ended(engine)).status is COMPLETED, "the places are free again"


async def test_a_thread_can_ask_whether_its_time_is_up() -> None:
    stopped = threading.Event()

    def handler(_: AgentJob, context: Context[Any]) -> None:
        try:
            while True:
                context.check_cancelled()
                stopped.wait(0.005)
        finally:
            stopped.set()

    async with working(handler, timeout_seconds=0.05, retry=ONCE) as engine:
        assert (await ended(engine)).status is FAILED
        assert await anyio.to_thread.run_sync(stopped.wait, SECONDS)


@pytest.mark.thorough
@needs_proc
async def test_a_process_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    for seconds in (0.2, 1, 4, 16):  # until the handler has written its mark in time
        ids = tmp_path / f"{seconds}"
        async with working(
            sleep_for_ever, processes=True, timeout_seconds=seconds, retry=ONCE
        ) as engine:
            job = await ended(engine, str(ids))
            assert (job.error or "").startswith("AttemptTimeoutError")
            if ids.exists() and ids.read_text().endswith("\n"):
                await until_killed(ids)
                return
    pytest.fail("no handler has begun")
