"""The awaited engine alone: its start and end, and the effect of a cancelled caller."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import anyio
import pytest

from engine import (
    EngineClosedError,
    EngineNotStartedError,
    EngineStartedError,
    JobEngine,
    JobStatus,
)
from engine.storage import Opened
from tests.reliability.planted import PlantedStorage, begun

pytestmark = pytest.mark.anyio


async def test_the_bodys_own_error_comes_out_as_it_is() -> None:
    error = ValueError("the application's")
    with pytest.raises(ValueError, match="the application's") as caught:
        async with JobEngine():
            raise error
    assert caught.value is error


async def test_a_call_refused_in_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with JobEngine() as engine:
            await engine.get("unheard of")


async def test_it_starts_once() -> None:
    engine = JobEngine()
    async with engine:
        with pytest.raises(EngineStartedError):
            await engine.__aenter__()
        await engine.create("hash")
    with pytest.raises(EngineStartedError):
        await engine.__aenter__()
    with pytest.raises(EngineClosedError):
        await engine.count()


async def test_an_engine_that_could_not_start_says_so() -> None:
    engine = JobEngine(clock=lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="clock"):
        await engine.__aenter__()
    with pytest.raises(EngineNotStartedError):
        await engine.count()


async def test_what_was_accepted_is_answered_when_it_closes() -> None:
    storage, jobs = PlantedStorage(), []

    async def create(input_hash: str) -> None:
        jobs.append((await engine.create(input_hash)).input_hash)

    async with anyio.create_task_group() as tasks, JobEngine(storage) as engine:
        storage.hold()
        for number in range(10):
            tasks.start_soon(create, str(number))
        await begun(storage)
        await anyio.wait_all_tasks_blocked()
        storage.let_go()
    assert sorted(jobs) == [str(number) for number in range(10)]


async def test_a_cancellation_at_the_end_waits_for_what_was_accepted() -> None:
    storage, jobs = PlantedStorage(), []

    async def create() -> None:
        jobs.append(await engine.create("hash"))

    async def close_when_held(scope: anyio.CancelScope) -> None:
        await begun(storage)
        scope.cancel()
        storage.let_go()

    storage.hold()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with JobEngine(storage) as engine:
                tasks.start_soon(create)
                tasks.start_soon(close_when_held, scope)
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert len(jobs) == 1
    assert storage.closed == 1


SCOPES: dict[str, Callable[[], AbstractContextManager[anyio.CancelScope]]] = {
    "cancelled": anyio.CancelScope,
    "timed out": lambda: anyio.move_on_after(0),
}


@pytest.mark.parametrize("how", SCOPES)
async def test_a_caller_that_goes_away_leaves_its_change_whole(how: str) -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine:
        job = await engine.create("hash")
        storage.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "held")
            await begun(storage)
            with SCOPES[how]() as scope:
                scope.cancel()
                await engine.transition(job.job_id, JobStatus.RUNNING)
            assert scope.cancelled_caught
            storage.let_go()
        # The message was in the inbox before the caller was cancelled.
        running = await engine.get(job.job_id)
        assert (running.status, running.version) == (JobStatus.RUNNING, 2)
        assert len(await engine.history(job.job_id)) == 2


async def test_a_cancelled_start_closes_the_storage() -> None:
    class Slow(PlantedStorage):
        async def open(
            self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
        ) -> Opened:
            await anyio.sleep_forever()
            return await super().open(outcomes, renamed, running)

    storage = Slow()
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with JobEngine(storage):
            pytest.fail("it has started")
    assert scope.cancelled_caught
    assert storage.closed == 1


async def test_engines_live_side_by_side() -> None:
    async with JobEngine() as one, JobEngine() as other:
        job = await one.create("hash")
        assert await one.count() == 1
        assert await other.count() == 0
        with pytest.raises(LookupError):
            await other.get(job.job_id)
