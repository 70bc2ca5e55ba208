"""A worker under odd conditions: cancelled programs, overload, broken logs, wrong places."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    EngineNotStartedError,
    EngineStartedError,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    OverloadedError,
    Retry,
    Transition,
    Worker,
    WrongLoopError,
)

pytestmark = pytest.mark.anyio


async def done(job: Job) -> str:
    return f"did {job.input_hash}"


async def test_an_outcome_gets_through_while_callers_insist() -> None:
    release = anyio.Event()

    async def wait(_job: Job) -> str:
        await release.wait()
        return "done"

    async with JobEngine(max_waiting=5) as engine, Worker(engine, wait):
        job = await engine.create("work")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        refused = anyio.Event()

        async def insist() -> None:
            while True:
                try:
                    await engine.create("more")
                except OverloadedError:
                    refused.set()
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(insist)
            await refused.wait()
            release.set()
            while (await _read(engine, job)).status is not JobStatus.COMPLETED:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


async def _read(engine: JobEngine, job: Job) -> Job:
    while True:
        try:
            return await engine.get(job.job_id)
        except OverloadedError:
            await anyio.lowlevel.checkpoint()


async def test_time_runs_out_while_a_cancelled_program_gives_its_grace() -> None:
    begun = anyio.Event()
    ended: list[str] = []

    async def wait(job: Job[AgentJobStatus]) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(job.job_id)

    with anyio.CancelScope() as program:
        async with (
            JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine,
            Worker(engine, wait, grace_seconds=600),
        ):
            soon = {AgentJobStatus.RUNNING: timedelta(seconds=0.1)}
            job = await engine.create("work", deadlines=soon)
            await engine.transition(job.job_id, AgentJobStatus.RUNNING)
            await begun.wait()
            program.cancel()
            await anyio.lowlevel.checkpoint()
    assert ended == [job.job_id], "or else the grace of ten minutes had been waited for"


class Broken(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError(f"planted, at {record.msg}")


@pytest.fixture
def broken_log() -> Iterator[None]:
    log, broken = logging.getLogger("engine.worker"), Broken()
    log.addFilter(broken)
    yield
    log.removeFilter(broken)


@pytest.mark.usefixtures("broken_log")
async def test_a_log_that_fails_holds_no_job() -> None:
    async def fail(_job: Job) -> None:
        raise ConnectionError("planted")

    retry = Retry(max_attempts=2, first_delay_seconds=0.001)
    async with JobEngine() as engine, Worker(engine, fail, concurrency=1, retry=retry):
        for _ in range(2):
            job = await engine.create("work")
            await engine.transition(job.job_id, JobStatus.RUNNING)
            assert (await engine.wait(job.job_id)).status is JobStatus.FAILED


@pytest.mark.parametrize("raised", [ValueError, SystemExit, anyio.get_cancelled_exc_class])
async def test_what_a_hook_raises_ends_nothing(raised: Any) -> None:  # noqa: ANN401
    if raised is anyio.get_cancelled_exc_class:
        raised = anyio.get_cancelled_exc_class()
        if raised.__module__.startswith("trio"):
            pytest.skip("trio lets nobody make one")

    def hook(_transition: Transition) -> None:
        raise raised

    async with JobEngine(on_transition=hook) as engine, Worker(engine, done):
        job = await engine.create("work")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        assert await engine.result(job.job_id) == "did work"


async def test_a_worker_of_another_event_loop_is_refused() -> None:
    async with JobEngine() as engine:

        def elsewhere() -> None:
            async def enter() -> None:
                async with Worker(engine, done):
                    raise AssertionError("it began")

            with pytest.raises(WrongLoopError):
                anyio.run(enter)

        await anyio.to_thread.run_sync(elsewhere)
        job = await engine.create("work")
        assert await engine.get(job.job_id) == job


async def test_a_worker_that_did_not_begin_may_begin_later_and_once() -> None:
    engine = JobEngine()
    worker = Worker(engine, done)
    with pytest.raises(EngineNotStartedError, match="worker"):
        await worker.serve()
    with pytest.raises(EngineNotStartedError, match="worker"):
        worker.serve_blocking()
    with pytest.raises(EngineNotStartedError, match="engine"):
        await worker.__aenter__()
    async with engine:
        async with worker:
            with pytest.raises(InvalidValueError, match="await `serve`"):
                worker.serve_blocking()
        with pytest.raises(EngineStartedError, match="worker"):
            await worker.__aenter__()


@pytest.mark.parametrize(
    "wrong", [{"idempotent": "no"}, {"processes": 2}, {"middleware": print}, {"middleware": ["x"]}]
)
async def test_what_a_worker_can_not_use_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        Worker(JobEngine(), done, **wrong)


async def test_what_can_not_be_kept_is_not_tried_again() -> None:
    async def odd(_job: Job) -> object:
        return object()

    async with JobEngine() as engine, Worker(engine, odd):
        job = await engine.create("work")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        job = await engine.wait(job.job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
