"""Waiting for a job and for its result: no polling, any number of callers, no leaks."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from engine import (
    AgentJobStatus,
    CallTimeoutError,
    EngineClosedError,
    EngineCrashedError,
    InvalidValueError,
    JobEngine,
    JobFailedError,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    SyncJobEngine,
)
from engine.storage import JobFilter, StoredCount
from engine.testing.facades import Engine
from engine.testing.virtual_clock import VirtualClock
from tests.reliability.planted import SECONDS_AGAINST_HANGS, PlantedStorage, begun
from tests.unit.claiming import NewPlace, agents, claimed_one, release, running
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

RUNNING, COMPLETED, FAILED = (
    *(AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED, AgentJobStatus.FAILED),
)


async def test_a_job_that_has_ended_is_waited_for_no_longer(engine: Engine) -> None:
    job = await finished(engine)
    assert await engine.wait(job.job_id, timeout=60) == job
    assert await engine.wait(job.job_id, until=[JobStatus.RUNNING], timeout=60) == job
    assert await engine.result(job.job_id, timeout=60) == "done"


async def test_what_cannot_be_waited_for_is_refused(engine: Engine) -> None:
    job = await engine.create("hash")
    with pytest.raises(JobNotFoundError) as unknown:
        await engine.wait("unheard of")
    assert unknown.value.item is None
    for wrong in (
        {"until": ["unheard of"]},
        {"until": "running"},
        {"until": 5},
        {"timeout": -1},
        {"timeout": "1"},
    ):
        with pytest.raises(InvalidValueError):
            await engine.wait(job.job_id, **wrong)
    problem = r"^until must be a collection of statuses, such as \['running'\], not <JobStatus"
    with pytest.raises(InvalidValueError, match=problem):
        await engine.wait(job.job_id, until=JobStatus.RUNNING)
    with pytest.raises(CallTimeoutError) as late:
        await engine.wait(job.job_id, timeout=0.01)
    assert late.value.timeout == 0.01
    with pytest.raises(CallTimeoutError):
        await engine.result(job.job_id, timeout=0.01)
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        while (await engine.statistics()).watchers:  # a thread's call ends before its task does
            pass


async def _waits(engine: JobEngine[Any], job_id: str, into: list[Any], **how: Any) -> None:  # noqa: ANN401
    try:
        into.append(await engine.wait(job_id, **how))
    except Exception as error:  # noqa: BLE001 - the test expects it
        into.append(error)


async def test_any_number_wait_for_one_job(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job, other = await running(engine), await running(engine)
        ended: list[Any] = []
        asking: list[Any] = []
        none: list[Any] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(_waits, engine, job.job_id, ended)
            until = {AgentJobStatus.AWAITING_INPUT}
            tasks.start_soon(lambda: _waits(engine, job.job_id, asking, until=until))
            tasks.start_soon(_waits, engine, other.job_id, none)
            await anyio.wait_all_tasks_blocked()
            assert (await engine.statistics()).watchers == 202
            asked = await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
            await anyio.wait_all_tasks_blocked()
            assert (asking, ended) == ([asked], [])
            await engine.transition(job.job_id, RUNNING, expected_version=asked.version)
            done = await engine.transition(job.job_id, COMPLETED, result="yes")
            await anyio.wait_all_tasks_blocked()
            assert ended == [done] * 200
            assert (await engine.statistics()).watchers == 1
            tasks.cancel_scope.cancel()
        assert none == []
        assert (await engine.statistics()).watchers == 0, "who is cancelled leaves nothing"


async def test_claims_and_retries_wake_nobody() -> None:
    async with agents() as engine:
        job = await running(engine)
        seen: list[Any] = []
        async with anyio.create_task_group() as tasks:
            until = {AgentJobStatus.AWAITING_PAYMENT}
            tasks.start_soon(lambda: _waits(engine, job.job_id, seen, until=until))
            await anyio.wait_all_tasks_blocked()
            _, token = await claimed_one(engine)
            await release(engine, job.job_id, token, failed=True)
            await anyio.wait_all_tasks_blocked()
            assert not seen
            ended = await engine.cancel(job.job_id)
        assert seen == [ended]


async def test_a_time_limit_is_of_the_engines_time() -> None:
    clock = VirtualClock()
    async with agents(clock=clock) as engine:
        job = await engine.create("hash")
        with pytest.raises(CallTimeoutError, match="is still awaiting_payment after 3600 s"):
            await clock.run_until(engine.wait(job.job_id, timeout=3_600))
        assert (clock() - job.created_at).total_seconds() == 3_600
        seen: list[Any] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: _waits(engine, job.job_id, seen, timeout=60))
            await anyio.wait_all_tasks_blocked()
            clock.jump(86_400 * 365)
            await clock.advance(59)
            assert seen == []
            ended = await engine.cancel(job.job_id)
        assert seen == [ended]


async def test_waiters_are_told_when_the_engine_ends(new_place: NewPlace) -> None:
    seen: list[Any] = []
    async with anyio.create_task_group() as tasks, agents(new_place()) as engine:
        job = await engine.create("hash")
        for _ in range(3):
            tasks.start_soon(_waits, engine, job.job_id, seen)
        await anyio.wait_all_tasks_blocked()
    assert [type(error) for error in seen] == [EngineClosedError] * 3
    with pytest.raises(EngineClosedError):
        await engine.wait(job.job_id)


class Crashing(MemoryStorage):
    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        raise KeyError(f"planted in the count of {jobs}, up to {at_most}, behind {after}")


async def test_waiters_are_told_when_the_engine_crashes() -> None:
    seen: list[Any] = []
    with pytest.raises(EngineCrashedError):
        async with agents(Crashing()) as engine:
            job = await engine.create("hash")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_waits, engine, job.job_id, seen)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(EngineCrashedError):
                    await engine.count()
    assert [type(error.__cause__) for error in seen] == [KeyError]


def test_threads_wait_and_are_told() -> None:
    engine = SyncJobEngine()
    jobs = [engine.create("hash") for _ in range(2)]
    seen: list[Any] = []

    def wait(job_id: str) -> None:
        try:
            seen.append(engine.wait(job_id, timeout=60).status)
        except EngineClosedError as error:
            seen.append(type(error))

    threads = [threading.Thread(target=wait, args=[job.job_id]) for job in jobs for _ in range(5)]
    for thread in threads:
        thread.start()
    while engine.statistics().watchers < len(threads):
        pass
    engine.transition(jobs[0].job_id, JobStatus.RUNNING)
    engine.transition(jobs[0].job_id, JobStatus.COMPLETED)
    for thread in threads[:5]:
        thread.join(10)
    assert seen == [JobStatus.COMPLETED] * 5
    engine.close()
    for thread in threads[5:]:
        thread.join(10)
    assert seen[5:] == [EngineClosedError] * 5


class Report(BaseModel):
    pages: int


async def _ended(engine: Engine, **outcome: str) -> str:
    job = await engine.create("hash")
    await engine.transition(job.job_id, JobStatus.RUNNING)
    end = JobStatus.FAILED if "error" in outcome else JobStatus.COMPLETED
    await engine.transition(job.job_id, end, **outcome)
    return str(job.job_id)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ('{"pages": 3}', Report, Report(pages=3)),
        ("[1, 2]", list[int], [1, 2]),
        ("[1, 2]", str, "[1, 2]"),
        ("3", int, 3),
        ('{"a": null}', dict[str, Any], {"a": None}),
    ],
    ids=str,
)
async def test_a_result_has_the_type_that_is_asked_for(
    engine: Engine,
    text: str,
    kind: Any,  # noqa: ANN401 - as in `result`
    expected: object,
) -> None:
    assert await engine.result(await _ended(engine, result=text), kind) == expected


async def test_a_result_that_does_not_fit_or_is_none_is_told(engine: Engine) -> None:
    job_id = await _ended(engine, result='{"pages": "many"}')
    for kind in (Report, list[int], object()):
        with pytest.raises(InvalidValueError) as wrong:
            await engine.result(job_id, kind)
        assert wrong.value.field == "kind"
    nothing = await _ended(engine)
    assert await engine.result(nothing) is None
    with pytest.raises(InvalidValueError):
        await engine.result(nothing, str)
    with pytest.raises(JobFailedError, match="as failed, without a result: no paper") as failed:
        await engine.result(await _ended(engine, error="no paper"), Report)
    assert (failed.value.status, failed.value.error) == ("failed", "no paper")


@pytest.mark.parametrize("call", ["wait", "result"])
async def test_the_reading_of_the_job_is_a_part_of_the_time(call: str) -> None:
    storage = PlantedStorage()
    async with JobEngine(storage) as engine, anyio.create_task_group() as tasks:
        job = await engine.create("work")
        storage.hold()
        tasks.start_soon(engine.create, "held")
        await begun(storage)
        with pytest.raises(CallTimeoutError) as late, anyio.fail_after(SECONDS_AGAINST_HANGS):
            await getattr(engine, call)(job.job_id, timeout=0.01)
        assert not storage.is_let_go
        assert late.value.timeout == 0.01
        storage.let_go()
        assert (await engine.statistics()).watchers == 0


async def test_no_time_to_wait_is_enough_to_look(engine: Engine) -> None:
    job = await engine.create("work")
    with pytest.raises(CallTimeoutError):
        await engine.wait(job.job_id, timeout=0)
    assert await engine.wait(job.job_id, until=[job.status], timeout=0) == job
