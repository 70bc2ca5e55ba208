"""The end of workers and their engines: each is left as it was entered, and once."""

from __future__ import annotations

import asyncio

import anyio
import anyio.to_thread
import pytest

from engine import (
    EngineNotStartedError,
    InvalidValueError,
    JobEngine,
    SyncJobEngine,
    Worker,
    WrongLoopError,
)
from tests.unit.claiming import AgentJob, NewPlace, agents, running
from tests.unit.worker.at_work import COMPLETED, RUNNING, SECONDS, Turnstile

pytestmark = pytest.mark.anyio


async def _handle(_: AgentJob) -> None:
    pass


async def test_a_worker_that_was_not_entered_can_not_be_left() -> None:
    async with JobEngine() as engine:
        worker = Worker(engine, _handle)
        with pytest.raises(EngineNotStartedError, match="the worker has not started"):
            await worker.__aexit__(None, None, None)
        with pytest.raises(EngineNotStartedError):
            worker.__exit__(None, None, None)
    with SyncJobEngine(may_block_event_loop=True) as blocking:
        worker = Worker(blocking, _handle)
        with pytest.raises(EngineNotStartedError):
            worker.__exit__(None, None, None)


async def test_a_worker_is_left_as_it_was_entered_and_once() -> None:
    async with JobEngine() as engine:
        worker = Worker(engine, _handle)
        async with worker:
            with pytest.raises(InvalidValueError, match="async with"):
                worker.__exit__(None, None, None)
        await worker.__aexit__(None, None, None)
    await worker.__aexit__(None, None, None)
    with SyncJobEngine(may_block_event_loop=True) as blocking:
        threaded = Worker(blocking, _handle)
        with threaded, pytest.raises(InvalidValueError, match="`with`"):
            await threaded.__aexit__(None, None, None)
        threaded.__exit__(None, None, None)


async def test_a_worker_is_left_on_its_own_event_loop() -> None:
    async with JobEngine() as engine, Worker(engine, _handle) as worker:

        def elsewhere() -> None:
            with pytest.raises(WrongLoopError):
                anyio.run(worker.__aexit__, None, None, None)

        await anyio.to_thread.run_sync(elsewhere)


async def test_an_engine_may_be_left_again() -> None:
    async with JobEngine() as engine:
        pass
    await engine.__aexit__(None, None, None)


@pytest.mark.parametrize("grace_seconds", [0, SECONDS])
async def test_an_engine_closes_the_workers_that_nobody_has_left(
    lasting_place: NewPlace, grace_seconds: float
) -> None:
    gate = Turnstile()
    async with agents(lasting_place()) as engine:
        await Worker(engine, gate, grace_seconds=grace_seconds).__aenter__()
        job = await running(engine)
        await gate.until(1)
        if grace_seconds:
            gate.open()
    async with agents(lasting_place()) as engine:
        assert not engine.core.state.ready_queue.orphans, "no attempt died"
        now = await engine.get(job.job_id)
        assert now.status is (COMPLETED if grace_seconds else RUNNING)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("anyio_backend")
async def test_a_native_cancellation_does_not_cut_the_time_of_grace_short() -> None:
    gate = Turnstile()
    async with agents() as engine:
        worker = await Worker(engine, gate, grace_seconds=SECONDS).__aenter__()
        job = await running(engine)
        await gate.until(1)
        leaving = asyncio.create_task(worker.__aexit__(None, None, None))
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            leaving.cancel()
        await anyio.wait_all_tasks_blocked()
        assert not leaving.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (await engine.get(job.job_id)).status is COMPLETED
