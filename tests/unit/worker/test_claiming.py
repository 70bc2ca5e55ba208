"""The choice of jobs to run, their order, and the limit of running jobs."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from engine import Worker
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, NewPlace, agents, running
from tests.unit.worker.at_work import COMPLETED, ONCE, SECONDS, Turnstile, ended, working

pytestmark = pytest.mark.anyio


async def test_as_many_run_at_once_as_may_and_no_more(new_place: NewPlace) -> None:
    gate = Turnstile()
    async with working(gate, new_place(), concurrency=3) as engine:
        jobs = [await running(engine, input=number) for number in range(7)]
        for held in (3, 3, 1):
            await gate.until(held)
            statistics = await engine.statistics()
            assert len(gate.inside) == held
            assert statistics.running == held
            assert statistics.ready == 7 - len(gate.entered)
            gate.let_through()
        for job in jobs:
            assert (await engine.wait(job.job_id)).status is COMPLETED
    assert sorted(gate.entered) == list(range(7))


async def test_a_place_that_is_free_is_used_at_once() -> None:
    gate = Turnstile()

    async def handler(job: AgentJob) -> str:
        return "at once" if job.input == "quick" else await gate(job)

    async with working(handler, concurrency=2) as engine:
        await running(engine, input="slow")
        await gate.until(1)
        for _ in range(20):
            assert (await ended(engine, "quick")).result == "at once"
        assert gate.inside == ["slow"]
        gate.open()


async def test_threads_run_at_once_up_to_the_limit() -> None:
    together = threading.Barrier(4)

    def handler(_: AgentJob) -> str:
        together.wait(SECONDS)
        return "met three others"

    async with working(handler, concurrency=4, retry=ONCE) as engine:
        jobs = [await running(engine) for _ in range(8)]
        for job in jobs:
            assert await engine.result(job.job_id) == "met three others"


async def test_higher_priorities_come_first_then_older_jobs(new_place: NewPlace) -> None:
    seen: list[Any] = []

    async def handler(job: AgentJob) -> None:
        seen.append(job.input)

    async with agents(new_place()) as engine:
        jobs = [
            await running(engine, input=[priority, number], priority=priority)
            for number, priority in enumerate([0, 5, -1, 5, 0, 7])
        ]
        with anyio.fail_after(SECONDS):
            async with Worker(engine, handler, concurrency=1):
                for job in jobs:
                    await engine.wait(job.job_id)
    assert seen == [[7, 5], [5, 1], [5, 3], [0, 0], [0, 4], [-1, 2]]


async def test_a_job_that_has_not_begun_to_run_is_left_alone() -> None:
    gate = Turnstile.opened()
    async with working(gate, clock=VirtualClock()) as engine:
        waiting = await engine.create("hash", input="unpaid")
        await ended(engine, "paid")
        assert await engine.get(waiting.job_id) == waiting
    assert gate.entered == ["paid"]
