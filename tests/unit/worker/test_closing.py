"""A closing worker: a grace period, then a cancellation; a stopped job is ready again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from engine import Context, Worker
from engine.testing.virtual_clock import VirtualClock
from tests.reliability.planted import PlantedStorage, begun
from tests.unit.claiming import AgentJob, NewPlace, agents, running
from tests.unit.worker.at_work import (
    COMPLETED,
    RUNNING,
    SECONDS,
    AgentEngine,
    Turnstile,
    working,
)

pytestmark = pytest.mark.anyio


async def _is_ready_again(engine: AgentEngine, job: AgentJob) -> None:
    again = await engine.get(job.job_id)
    assert (again.status, again.attempt, again.next_attempt_at) == (RUNNING, 1, None)
    statistics = await engine.statistics()
    assert (statistics.ready, statistics.running, statistics.retried) == (1, 0, 0)


async def test_handlers_have_the_time_of_grace(new_place: NewPlace) -> None:
    clock = VirtualClock()
    gate = Turnstile()

    async def handler(job: AgentJob) -> None:
        await gate(job)
        await clock.sleep(9.5)

    async with agents(new_place(), clock=clock) as engine:
        with anyio.fail_after(SECONDS):
            worker = await Worker(engine, handler, grace_seconds=10).__aenter__()
            job = await running(engine)
            await gate.until(1)
            gate.open()
            late = []

            async def close_and_tell() -> None:
                await worker.__aexit__(None, None, None)
                late.append(await engine.get(job.job_id))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(close_and_tell)
                await anyio.wait_all_tasks_blocked()
                waiting = await running(engine)
                await clock.advance(9)
                assert late == [], "it waits for the handler"
                await clock.advance(1)
        assert late[0].status is COMPLETED
        assert (await engine.get(waiting.job_id)).attempt == 0, "no more is claimed"


@pytest.mark.parametrize("kind", ["task", "thread", "thread that asks"])
async def test_what_takes_longer_is_cut_short_and_ready_again(
    new_place: NewPlace, kind: str
) -> None:
    let_go, inside = threading.Event(), threading.Event()

    async def task(_: AgentJob) -> None:
        inside.set()
        await anyio.sleep_forever()

    def thread(_: AgentJob) -> None:
        inside.set()
        let_go.wait(SECONDS)

    def asking(_: AgentJob, context: Context[Any]) -> None:
        inside.set()
        while not let_go.wait(0.005):
            context.check_cancelled()

    kinds: dict[str, Callable[..., Any]] = {"task": task, "thread": thread}
    async with agents(new_place()) as engine:
        with anyio.fail_after(SECONDS):
            async with Worker(engine, kinds.get(kind, asking), grace_seconds=0.05):
                job = await running(engine)
                assert await anyio.to_thread.run_sync(inside.wait, SECONDS)
            if kind == "task":
                await _is_ready_again(engine, job)
            async with Worker(engine, Turnstile.opened()):
                if kind == "thread":
                    assert (await engine.statistics()).strays == 1
                    await anyio.wait_all_tasks_blocked()
                    waits = await engine.get(job.job_id)
                    assert (waits.status, waits.attempt) == (RUNNING, 1), "its thread runs on"
                let_go.set()
                done = await engine.wait(job.job_id)
        assert (done.status, done.attempt, done.result) == (COMPLETED, 2, "through")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_worker_without_a_free_place_closes(concurrency: int) -> None:
    gate = Turnstile()
    async with agents() as engine:
        with anyio.fail_after(SECONDS):
            async with Worker(engine, gate, concurrency=concurrency, grace_seconds=0.01):
                jobs = [await running(engine) for _ in range(3)]
                await gate.until(concurrency)
            for job in jobs:
                assert (await engine.get(job.job_id)).status is RUNNING
            assert (await engine.statistics()).ready == 3


async def test_what_is_cut_short_goes_on_at_the_next_start(lasting_place: NewPlace) -> None:
    gate = Turnstile()
    async with working(gate, lasting_place(), grace_seconds=0) as engine:
        jobs = [await running(engine, input=number) for number in range(5)]
        await gate.until(5)
    gate.open()
    async with working(gate, lasting_place(), max_deaths=1) as engine:
        for job in jobs:
            done = await engine.wait(job.job_id)
            assert (done.status, done.attempt) == (COMPLETED, 2), "it counts as no crash"


async def test_closing_while_a_claim_is_being_committed_loses_nothing() -> None:
    storage = PlantedStorage()
    gate = Turnstile()
    async with agents(storage) as engine:
        job = await engine.create("hash", input="claimed")
        with anyio.fail_after(SECONDS):
            async with (
                anyio.create_task_group() as tasks,
                Worker(engine, gate, grace_seconds=0),
            ):
                await anyio.wait_all_tasks_blocked()
                storage.hold()
                tasks.start_soon(engine.transition, job.job_id, RUNNING)
                await begun(storage)  # of the move, and of the claim with it
                tasks.start_soon(_let_go_later, storage)
        await _is_ready_again(engine, job)
        assert gate.entered == []


async def _let_go_later(storage: PlantedStorage) -> None:
    await anyio.wait_all_tasks_blocked()
    storage.let_go()


class Application:
    """An engine and a worker with a slow job, all of which gets cancelled.

    Attributes:
        begun: Set when the handler runs.
        cut_short: Whether the handler was cancelled.
    """

    def __init__(self, clock: VirtualClock, place: Any) -> None:  # noqa: ANN401
        self.begun = anyio.Event()
        self.cut_short = False
        self._clock = clock
        self._place = place

    async def run_until_begun(self) -> None:
        """Run in a scope that is cancelled when the handler runs."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self)
            await self.begun.wait()
            tasks.cancel_scope.cancel()

    async def __call__(self) -> None:
        async with (
            agents(self._place, clock=self._clock) as engine,
            Worker(engine, self.handle, grace_seconds=10),
        ):
            await running(engine)
            await anyio.sleep_forever()

    async def handle(self, _: AgentJob) -> str:
        self.begun.set()
        try:
            await self._clock.sleep(9)
        except BaseException:
            self.cut_short = True
            raise
        return "in time"


async def _ended_in_time(application: Application, place: Any, clock: VirtualClock) -> None:  # noqa: ANN401
    assert not application.cut_short
    async with agents(place, clock=clock) as engine:
        page = await engine.list_jobs()
        assert [job.result for job in page.jobs] == ["in time"]


async def test_a_cancelled_scope_around_it_gives_the_time_of_grace(
    lasting_place: NewPlace,
) -> None:
    clock = VirtualClock()
    application = Application(clock, lasting_place())
    with anyio.fail_after(SECONDS):
        await clock.run_until(application.run_until_begun)
    await _ended_in_time(application, lasting_place(), clock)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("anyio_backend")
async def test_a_natively_cancelled_task_gives_the_time_of_grace(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    application = Application(clock, lasting_place())

    async def cancelled() -> None:
        task = asyncio.create_task(application())
        await application.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with anyio.fail_after(SECONDS):
        await clock.run_until(cancelled)
    await _ended_in_time(application, lasting_place(), clock)


async def test_an_error_of_the_program_gives_the_time_of_grace(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    application = Application(clock, lasting_place())

    async def failing() -> None:
        with pytest.raises(ZeroDivisionError):
            async with (
                agents(lasting_place(), clock=clock) as engine,
                Worker(engine, application.handle, grace_seconds=10),
            ):
                await running(engine)
                await application.begun.wait()
                raise ZeroDivisionError

    with anyio.fail_after(SECONDS):
        await clock.run_until(failing)
    await _ended_in_time(application, lasting_place(), clock)
