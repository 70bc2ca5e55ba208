"""Engines that are entered and left in different tasks, and closed from inside."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    EngineClosedError,
    EngineCrashedError,
    EngineNotStartedError,
    Gate,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    Retry,
    SyncJobEngine,
    WaitingJobs,
    Worker,
    WrongLoopError,
)
from tests.reliability.planted import PlantedError, PlantedStorage
from tests.systems import needs_interrupts

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])
SECONDS = 60


async def _in_a_task(call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:  # noqa: ANN401
    """Make a call in a task of its own, which has then ended."""
    return await asyncio.create_task(call(*arguments))  # type: ignore[arg-type]


async def _leave(engine: JobEngine) -> None:
    await engine.__aexit__(None, None, None)


@on_asyncio
@pytest.mark.anyio
async def test_another_task_may_leave_it() -> None:
    storage = PlantedStorage()
    engine = await _in_a_task(JobEngine(storage).__aenter__)
    job = await _in_a_task(engine.create, "hash")
    assert await engine.get(job.job_id) == job
    await _in_a_task(_leave, engine)
    assert storage.closed == 1
    with pytest.raises(EngineClosedError):
        await engine.get(job.job_id)


@on_asyncio
@pytest.mark.anyio
async def test_engines_may_be_left_in_the_order_in_which_they_were_entered() -> None:
    engines = [JobEngine() for _ in range(3)]
    for engine in engines:
        await engine.__aenter__()
    for engine in engines:
        await engine.create("hash")
        await _leave(engine)
    await anyio.lowlevel.checkpoint()


@on_asyncio
@pytest.mark.anyio
async def test_a_worker_works_on_when_the_entering_task_has_ended() -> None:
    async def handle(_job: Job) -> str:
        return "done"

    engine = await _in_a_task(JobEngine().__aenter__)
    worker = await _in_a_task(Worker(engine, handle).__aenter__)
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    assert await engine.result(job.job_id) == "done"
    await _in_a_task(worker.__aexit__, None, None, None)
    await _in_a_task(_leave, engine)


@on_asyncio
@pytest.mark.anyio
@pytest.mark.parametrize("bug", [PlantedError, SystemExit])
async def test_the_next_call_and_the_exit_tell_of_a_crash(bug: type[BaseException]) -> None:
    storage = PlantedStorage()
    engine = await _in_a_task(JobEngine(storage).__aenter__)
    storage.plant(bug())
    with pytest.raises(EngineCrashedError):
        await engine.create("hash")
    with pytest.raises(EngineCrashedError):
        await engine.count()
    with pytest.raises(EngineCrashedError if bug is PlantedError else bug):
        await _leave(engine)


@on_asyncio
@pytest.mark.anyio
async def test_an_interrupt_cancels_the_body_and_is_raised_at_its_end() -> None:
    storage, task = PlantedStorage(), asyncio.current_task()
    assert task is not None
    with pytest.raises(SystemExit):
        async with JobEngine(storage) as engine:
            storage.plant(SystemExit())
            crashing = asyncio.create_task(engine.create("hash"))
            await anyio.sleep_forever()
    assert task.cancelling() == 0
    with pytest.raises(EngineCrashedError):
        await crashing
    await anyio.lowlevel.checkpoint()


class StopError(Exception):
    """A program's own."""


@needs_interrupts
@on_asyncio
@pytest.mark.anyio
async def test_without_a_body_an_interrupt_ends_all_with_the_time_of_grace(tmp_path: Path) -> None:
    """Startup and shutdown callbacks: there is no task that an interrupt could cancel."""
    came = anyio.Event()

    def stop(*_: object) -> None:
        came.set()
        raise StopError

    async def handle(job: Job) -> str:
        if job.input == "beside":
            await came.wait()
            await anyio.wait_all_tasks_blocked()
            return "done"
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("no signal came")

    former = signal.signal(signal.SIGTERM, stop)
    try:
        engine = await _in_a_task(JobEngine(tmp_path / "jobs.db").__aenter__)
        for given in ("beside", "signalled"):
            await _in_a_task(Worker(engine, {given: handle}).__aenter__)
        for given in ("beside", "signalled"):
            job = await engine.create("hash", kind=given, input=given)
            await engine.transition(job.job_id, JobStatus.RUNNING)
        with pytest.raises(EngineClosedError):
            await engine.wait(job.job_id)
        with pytest.raises(StopError):
            await _in_a_task(_leave, engine)
    finally:
        signal.signal(signal.SIGTERM, former)
    async with JobEngine(tmp_path / "jobs.db") as engine:
        jobs = {each.input: each for each in (await engine.list_jobs()).jobs}
        assert (jobs["beside"].status, jobs["beside"].result) == (JobStatus.COMPLETED, "done")
        assert (jobs["signalled"].status, jobs["signalled"].attempt) == (JobStatus.RUNNING, 1)
        assert not engine.core.state.ready_queue.orphans, "no attempt died"


@on_asyncio
@pytest.mark.anyio
async def test_a_native_cancellation_at_the_end_waits_until_all_is_closed() -> None:
    storage = PlantedStorage()
    engine = await JobEngine(storage).__aenter__()
    storage.hold()
    creating = asyncio.create_task(engine.create("accepted"))
    await anyio.wait_all_tasks_blocked()
    leaving = asyncio.create_task(_leave(engine))
    await anyio.wait_all_tasks_blocked()
    leaving.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not leaving.done()
    storage.let_go()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await creating).input_hash == "accepted"
    assert storage.closed == 1


@on_trio
@pytest.mark.anyio
async def test_on_trio_another_task_is_refused() -> None:
    async with JobEngine() as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_expect_refusal, engine, "another task")
        await engine.create("it works on")


@on_trio
@pytest.mark.anyio
async def test_on_trio_the_engine_that_was_entered_first_is_not_left_first() -> None:
    async with JobEngine() as first:
        async with JobEngine() as second:
            await _expect_refusal(first, "last has to be left first")
            await second.create("it works on")
        await first.create("this one, too")


async def _expect_refusal(engine: JobEngine, words: str) -> None:
    with pytest.raises(WrongLoopError, match=words):
        await _leave(engine)


def test_a_plain_with_of_an_awaited_engine_says_what_to_use() -> None:
    engine: Any = JobEngine()
    with pytest.raises(InvalidValueError, match="use `async with JobEngine"), engine:
        raise AssertionError("it was entered")
    with ExitStack() as stack, pytest.raises(InvalidValueError, match="with SyncJobEngine"):
        stack.enter_context(engine)


@pytest.mark.anyio
async def test_an_async_with_of_a_blocking_engine_says_what_to_use() -> None:
    engine: Any = SyncJobEngine()
    with pytest.raises(InvalidValueError, match="use `with SyncJobEngine"):
        async with engine:
            raise AssertionError("it was entered")
    await anyio.to_thread.run_sync(engine.close)


@pytest.mark.anyio
async def test_an_engine_that_was_not_entered_can_not_be_left() -> None:
    with pytest.raises(EngineNotStartedError):
        await _leave(JobEngine())


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["worker", "engine"])
@pytest.mark.parametrize("where", ["handler", "task of the handler", "thread"])
async def test_a_handler_that_closes_what_runs_it_fails_its_job(what: str, where: str) -> None:
    async def close(_job: Job | None = None) -> None:
        closes: Any = worker if what == "worker" else engine
        await closes.__aexit__(None, None, None)

    async def close_in_task(_job: Job) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close)

    handler: Any = {
        "handler": close,
        "task of the handler": close_in_task,
        "thread": lambda job: close(job),  # noqa: PLW0108 - to be called in a thread
    }[where]
    with anyio.fail_after(SECONDS):
        async with (
            JobEngine() as engine,
            Worker(engine, handler, retry=Retry(max_attempts=1)) as worker,
        ):
            job = await engine.create("hash")
            await engine.transition(job.job_id, JobStatus.RUNNING)
            error = (await engine.wait(job.job_id)).error or ""
    assert f"can't close the {what} that runs it" in error


@pytest.mark.parametrize("what", ["worker", "engine"])
def test_a_handler_of_threads_that_closes_what_runs_it_fails_its_job(what: str) -> None:
    def close(_job: Job) -> None:
        if what == "worker":
            worker.__exit__(None, None, None)
        else:
            engine.close()

    once = Retry(max_attempts=1)
    with SyncJobEngine() as engine, Worker(engine, close, retry=once) as worker:
        job = engine.create("hash")
        engine.transition(job.job_id, JobStatus.RUNNING)
        error = engine.wait(job.job_id, timeout=SECONDS).error or ""
    assert f"can't close the {what} that runs it" in error


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["gate", "engine"])
async def test_a_check_that_closes_what_runs_it_fails_and_runs_again(what: str) -> None:
    told = list[str]()

    async def check(jobs: WaitingJobs) -> list[Job]:
        if told:
            return [*jobs]
        try:
            closes: Any = gate if what == "gate" else engine
            await closes.__aexit__(None, None, None)
        except WrongLoopError as error:
            told.append(str(error))
            raise
        return []

    with anyio.fail_after(SECONDS):
        async with (
            JobEngine() as engine,
            Gate(engine, check, interval_seconds=0.001) as gate,
        ):
            job = await engine.create("hash")
            await engine.wait(job.job_id, until=[JobStatus.RUNNING])
    assert f"can't close the {what} that runs it" in told[0]


@pytest.mark.anyio
async def test_a_task_that_a_handler_left_behind_may_close_its_worker() -> None:
    closed, ended = anyio.Event(), anyio.Event()

    async def close() -> None:
        await ended.wait()
        await worker.__aexit__(None, None, None)
        closed.set()

    async def handle(_job: Job) -> None:
        tasks.start_soon(close)

    with anyio.fail_after(SECONDS):
        async with JobEngine() as engine, anyio.create_task_group() as tasks:
            worker = await Worker(engine, handle).__aenter__()
            job = await engine.create("hash")
            await engine.transition(job.job_id, JobStatus.RUNNING)
            await engine.wait(job.job_id)
            ended.set()
            await closed.wait()
