"""The inbox admits messages up to its limit, and every admitted message is answered."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from engine import Job, JobEngine, JobStatus, Move, NewJob, OverloadedError, Worker
from engine.owner.commands.expire import ExpireJobs
from engine.owner.round import Round
from tests.reliability.planted import PlantedStorage, begun

pytestmark = pytest.mark.anyio

JOBS = 300


async def test_outcomes_past_the_limit_of_callers_are_kept(tmp_path: Path) -> None:
    """More handlers end together than calls may wait, in rounds of five."""
    at_work, all_begun = 0, anyio.Event()

    async def handle(job: Job) -> str:
        nonlocal at_work
        at_work += 1
        if at_work == JOBS:
            all_begun.set()
        await all_begun.wait()
        return job.input_hash

    place = tmp_path / "jobs.db"
    with anyio.fail_after(60):  # which a lost round would take for ever
        results = await _results(place, handle, all_begun)
    assert results == [str(number) for number in range(JOBS)]


async def _results(
    place: Path, handle: Callable[[Job], Awaitable[str]], all_begun: anyio.Event
) -> list[str | None]:
    async with JobEngine(place, max_waiting=20, max_batch=5) as engine:
        async with Worker(engine, handle, concurrency=JOBS):
            jobs = await engine.create_many(NewJob(str(number)) for number in range(JOBS))
            await engine.transition_many(Move(job.job_id, JobStatus.RUNNING) for job in jobs)
            await all_begun.wait()
        return [await engine.result(job.job_id) for job in jobs]


async def test_the_channel_takes_every_internal_message_and_each_is_answered() -> None:
    storage, answered = PlantedStorage(), list[int]()
    async with JobEngine(storage, max_waiting=1, max_batch=1) as engine:
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "held")
            await begun(storage)
            for number in range(100):
                notify = partial(answered.append, number)
                engine.core.inbox.put(ExpireJobs(()), notify, internal=True)
            with pytest.raises(OverloadedError, match="about 100 jobs wait, and the limit is 1"):
                await engine.create("refused")
            storage.let_go()
        await anyio.wait_all_tasks_blocked()
        await engine.create("there is room again")
    assert answered == list(range(100))


async def test_jobs_are_counted_not_calls() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_waiting=5) as engine:
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "held")
            await begun(storage)
            tasks.start_soon(engine.create_many, [NewJob("hash")] * 5)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(OverloadedError, match="about 5 jobs wait, and the limit is 5"):
                await engine.create("refused")
            storage.let_go()


def _rounds() -> list[Round]:
    return [each for each in gc.get_objects() if isinstance(each, Round) and len(each)]


@pytest.mark.parametrize("place", ["memory", "file"])
async def test_an_idle_engine_holds_no_round(place: str, tmp_path: Path) -> None:
    others = _rounds()  # of engines that other tests have left as they were
    async with JobEngine(None if place == "memory" else tmp_path / "jobs.db") as engine:
        job = await engine.create("hash", input="x" * 200_000)
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(job.job_id, JobStatus.COMPLETED, result="y" * 1_000_000)
        await engine.get(job.job_id)
        await anyio.wait_all_tasks_blocked()
        assert [each for each in _rounds() if each not in others] == []
