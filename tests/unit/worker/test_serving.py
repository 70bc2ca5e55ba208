"""Serving: waiting for a signal to stop ends without one, too, when there is nothing to serve."""

from __future__ import annotations

import threading

import anyio
import pytest

from engine import EngineCrashedError, JobEngine, SyncJobEngine, Worker
from tests.reliability.planted import PlantedError, PlantedStorage
from tests.unit.claiming import AgentJob
from tests.unit.worker.at_work import SECONDS

pytestmark = pytest.mark.anyio


async def _handle(_: AgentJob) -> None:
    pass


async def test_serving_ends_by_a_crash_of_the_engine() -> None:
    storage = PlantedStorage()

    async def crash() -> None:
        storage.plant(PlantedError())
        with pytest.raises(EngineCrashedError):
            await engine.create("hash")

    with anyio.fail_after(SECONDS), pytest.raises(EngineCrashedError):
        async with JobEngine(storage) as engine, Worker(engine, _handle) as worker:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(crash)
                    await worker.serve()
            except* EngineCrashedError as group:
                raise group.exceptions[0] from None


async def test_serving_ends_when_another_task_leaves_the_worker() -> None:
    async with JobEngine() as engine:
        worker = await Worker(engine, _handle).__aenter__()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.serve)
                await anyio.wait_all_tasks_blocked()
                await worker.__aexit__(None, None, None)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_serving_threads_ends_by_a_crash_of_the_engine(when: str) -> None:
    storage = PlantedStorage()

    def crash() -> None:
        storage.plant(PlantedError())
        with pytest.raises(EngineCrashedError):
            engine.create("hash")

    crashing = threading.Thread(target=crash)
    with (
        pytest.raises(EngineCrashedError),
        SyncJobEngine(storage) as engine,
        Worker(engine, _handle) as worker,
    ):
        crashing.start()
        if when == "before":
            crashing.join()
        worker.serve_blocking()
    crashing.join()
