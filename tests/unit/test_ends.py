"""The end of an engine, and its remains, when something else fails at the same time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    CommitCrashedError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    InvalidStateTransitionError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    LifecycleError,
    MemoryStorage,
    OutcomeUnknownError,
    StorageError,
    SyncJobEngine,
    VersionConflictError,
)
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.reliability.planted import PlantedStorage


@pytest.mark.anyio
async def test_the_bodys_own_error_goes_before_a_cancellation() -> None:
    with anyio.CancelScope() as scope, pytest.raises(ValueError, match="cleaning up"):
        async with JobEngine():
            try:
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                raise ValueError("cleaning up failed")


@pytest.mark.anyio
async def test_a_cancelled_body_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        async with JobEngine():
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


class Stray(MemoryStorage):
    """Raises a cancellation of its own, from the second commit on."""

    commits = 0

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.commits += 1
        if self.commits > 1:
            raise asyncio.CancelledError
        await super().commit(changes, lines)


def test_a_stray_cancellation_is_a_crash_and_not_silent() -> None:
    told: list[EngineError] = []

    async def service() -> None:
        async with JobEngine(Stray()) as engine:
            await engine.create("fine")
            with pytest.raises(CommitCrashedError) as caught:
                await engine.create("stray")
            told.append(caught.value)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service())

    with pytest.raises(ExceptionGroup) as group:
        asyncio.run(main())
    assert group.group_contains(EngineCrashedError)
    assert isinstance(told[0].__cause__, asyncio.CancelledError)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [OutcomeUnknownError, EngineError])
async def test_a_storage_may_only_raise_what_it_says_it_does(kind: type[EngineError]) -> None:
    storage = PlantedStorage()
    storage.plant(kind("not a StorageError"))
    with pytest.raises(EngineCrashedError) as ended:
        async with JobEngine(storage) as engine:
            with pytest.raises(CommitCrashedError):
                await engine.create("hash")
    assert type(ended.value.__cause__) is kind


@pytest.mark.anyio
async def test_two_engines_do_not_use_one_storage_at_a_time() -> None:
    storage = MemoryStorage()
    async with JobEngine(storage) as engine:
        job = await engine.create("hash")
        for _ in range(2):
            with pytest.raises(StorageError, match="close that engine first"):
                async with JobEngine(storage):
                    pytest.fail("it has started")
        await engine.transition(job.job_id, JobStatus.RUNNING)
    async with JobEngine(storage) as engine:
        assert (await engine.get(job.job_id)).version == 2


@pytest.mark.anyio
async def test_a_storage_is_not_opened_with_another_lifecycle() -> None:
    storage = MemoryStorage()
    async with JobEngine(storage, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = await engine.create("hash")
        await engine.transition(job.job_id, AgentJobStatus.RUNNING)
        await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
    with pytest.raises(LifecycleError, match="awaiting_input"):
        async with JobEngine(storage):
            pytest.fail("it has started")
    with pytest.raises(LifecycleError, match="awaiting_input"):
        SyncJobEngine(storage)
    async with JobEngine(storage, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        assert (await engine.get(job.job_id)).status is AgentJobStatus.AWAITING_INPUT


def test_a_closed_engine_is_not_entered() -> None:
    engine = SyncJobEngine()
    engine.close()
    with pytest.raises(EngineClosedError), engine:
        pytest.fail("it was entered")


def test_an_error_of_closing_does_not_hide_the_bodys_own() -> None:
    storage = PlantedStorage()
    with pytest.raises(KeyError, match="the body's"), SyncJobEngine(storage):
        storage.plant(StorageError("it can't be closed"), "aclose")
        raise KeyError("the body's")


def test_an_exit_out_of_a_callback_does_not_end_the_loop_of_all_engines() -> None:
    class Exits(MemoryStorage):
        async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
            asyncio.get_running_loop().call_soon(self._exit)
            await super().commit(changes, lines)

        def _exit(self) -> None:
            raise SystemExit

    with SyncJobEngine() as other, SyncJobEngine(Exits()) as engine:
        for number in range(3):
            engine.create(f"hash {number}", timeout=30)
            other.create(f"hash {number}", timeout=30)
        assert engine.count(timeout=30) == other.count(timeout=30) == 3


REFUSED = {InvalidStateTransitionError, JobNotFoundError, VersionConflictError}


@pytest.mark.anyio
async def test_refused_calls_leave_no_garbage_in_circles() -> None:
    async with JobEngine() as engine:
        job = await engine.create("hash")

        async def refused(call: Callable[[], Awaitable[object]], error: type[EngineError]) -> None:
            try:
                await call()
            except error:
                return
            pytest.fail("not refused")

        async def refuse_all() -> None:
            await refused(
                lambda: engine.transition(job.job_id, JobStatus.FAILED), InvalidStateTransitionError
            )
            await refused(lambda: engine.get("unheard of"), JobNotFoundError)
            await refused(
                lambda: engine.transition(job.job_id, JobStatus.RUNNING, expected_version=9),
                VersionConflictError,
            )

        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await refuse_all()
            left = [kind for kind in map(type, gc.get_objects()) if issubclass(kind, EngineError)]
        finally:
            gc.enable()
        assert REFUSED.isdisjoint(left)


@pytest.mark.anyio
async def test_long_results_that_wait_count_for_more() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_waiting=1_000) as engine:
        jobs = [await engine.create(str(number)) for number in range(100)]
        for job in jobs:
            await engine.transition(job.job_id, JobStatus.RUNNING)
        told: list[str] = []

        async def complete(job_id: str) -> None:
            try:
                await engine.transition(job_id, JobStatus.COMPLETED, result="x" * 409_600)
            except EngineError as error:
                told.append(type(error).__name__)

        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(complete, job.job_id)
        # Each of them weighs 101: ten are enough.
        assert told == ["OverloadedError"] * 90
        assert await engine.count(JobStatus.COMPLETED) == 10
