"""Cancelling running jobs: each kind of handler is stopped, and a race has one winner."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Context, JobEndedError
from engine.testing.virtual_clock import VirtualClock
from tests.systems import needs_proc
from tests.tries import report, seeds, trio_later
from tests.unit.claiming import AgentJob, NewPlace, running
from tests.unit.worker.at_work import (
    COMPLETED,
    FAILED,
    RUNNING,
    SECONDS,
    AgentEngine,
    Turnstile,
    until,
    until_killed,
    until_progress,
    working,
)
from tests.unit.worker.in_processes import sleep_for_ever

pytestmark = pytest.mark.anyio


async def _cancelled(engine: AgentEngine, job: AgentJob) -> AgentJob:
    """Cancel a running job twice, and return it when it has ended."""
    asked = await engine.cancel(job.job_id, "not wanted")
    assert (asked.status, asked.cancel_reason) == (RUNNING, "not wanted")
    ended = await engine.wait(job.job_id)
    again = await engine.cancel(job.job_id, "another reason")
    assert again == ended
    assert (ended.status, ended.error) == (FAILED, "cancelled: not wanted")
    assert ended.attempt == 1
    return ended


async def test_a_task_is_cancelled(new_place: NewPlace) -> None:
    gate = Turnstile()
    async with working(gate, new_place()) as engine:
        job = await running(engine, input="wanted at first")
        await gate.until(1)
        await _cancelled(engine, job)
        assert gate.inside == []
        assert (await engine.statistics()).running == 0


async def test_a_thread_learns_of_it_when_it_asks() -> None:
    left = threading.Event()

    def handler(_: AgentJob, context: Context[Any]) -> None:
        context.progress(1)
        try:
            while not left.wait(0.005):
                context.check_cancelled()
        finally:
            left.set()

    async with working(handler) as engine:
        job = await running(engine)
        await until_progress(engine, job)
        await _cancelled(engine, job)
        assert await anyio.to_thread.run_sync(left.wait, SECONDS)


async def test_a_thread_that_does_not_ask_is_left() -> None:
    let_go = threading.Event()

    def handler(_: AgentJob, context: Context[Any]) -> str:
        context.progress(1)
        let_go.wait(SECONDS)
        return "too late"

    async with working(handler) as engine:
        job = await running(engine)
        await until_progress(engine, job)
        ended = await _cancelled(engine, job)
        let_go.set()
    assert ended.result is None


@needs_proc
@trio_later
async def test_a_process_is_killed(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    async with working(sleep_for_ever, processes=True) as engine:
        job = await running(engine, input=str(ids))
        await until(lambda: ids.exists() and ids.read_text().endswith("\n"))
        await _cancelled(engine, job)
        await until_killed(ids)


async def test_a_handler_may_complete_its_job_though_it_was_asked_to_stop() -> None:
    began = anyio.Event()

    async def handler(_: AgentJob) -> str:
        began.set()
        with suppress(BaseException):  # it will not be cancelled
            await anyio.sleep_forever()
        return "done all the same"

    async with working(handler) as engine:
        job = await running(engine)
        await began.wait()
        await engine.cancel(job.job_id, "too late")
        done = await engine.wait(job.job_id)
        assert (done.status, done.result) == (COMPLETED, "done all the same")
        assert done.cancel_reason == "too late"
        with pytest.raises(JobEndedError):
            await engine.cancel(job.job_id)


async def test_an_error_after_being_asked_to_stop_is_a_cancellation() -> None:
    began = anyio.Event()

    async def handler(_: AgentJob) -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("on the way out")

    async with working(handler) as engine:
        job = await running(engine)
        await began.wait()
        await _cancelled(engine, job)


async def test_a_job_that_waits_for_its_next_attempt_ends_at_once() -> None:
    clock = VirtualClock()

    async def handler(_: AgentJob) -> None:
        raise ValueError("not now")

    async with working(handler, clock=clock) as engine:
        job = await running(engine)
        await clock.advance(0)
        assert (await engine.cancel(job.job_id)).status is FAILED
        await clock.advance(1_000)
        assert (await engine.get(job.job_id)).attempt == 1


async def test_a_race_with_the_completion_has_one_winner(
    new_place: NewPlace, anyio_backend: str
) -> None:
    won: dict[str, int] = {"completed": 0, "failed": 0}
    gate = Turnstile()

    async def handler(job: AgentJob) -> str:
        await gate(job)
        for _ in range(job.input):
            await checkpoint()
        return "completed"

    async with working(handler, new_place()) as engine:
        for seed in seeds(500):
            random = Random(seed)
            steps = random.choice([random.randrange(12), 5_000])  # more than a commit takes
            job = await running(engine, input=steps)
            await gate.until(1)
            gate.let_through()
            for _ in range(random.randrange(12)):
                await checkpoint()
            try:
                await engine.cancel(job.job_id, "a race")
            except JobEndedError:
                assert (await engine.get(job.job_id)).status is COMPLETED
            ended = await engine.wait(job.job_id)
            won[ended.status] += 1
            outcome = (ended.result, ended.error)
            assert outcome in {("completed", None), (None, "cancelled: a race")}
            assert len(await engine.history(job.job_id)) == 3
    report(f"races with a completion, {anyio_backend}: {won}")
    assert min(won.values()) > 0
