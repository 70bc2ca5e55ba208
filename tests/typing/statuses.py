"""A program with typed statuses. Type checkers check it; nothing runs it.

Each line with a ``type: ignore`` is a mistake that they must find: they report an unused ignore.
"""

from enum import StrEnum
from typing import assert_type

from engine import (
    AGENT_JOB_LIFECYCLE,
    ORDER_LIFECYCLE,
    AgentJobStatus,
    Job,
    JobEngine,
    JobPage,
    JobStatus,
    Lifecycle,
    MemoryStorage,
    Move,
    OrderStatus,
    Outcome,
    Statistics,
    SyncJobEngine,
    Transition,
)


class Print(StrEnum):
    """The statuses of a printer's jobs."""

    QUEUED = "queued"
    PRINTING = "printing"
    PRINTED = "printed"


PRINT_LIFECYCLE = Lifecycle(
    Print,
    {Print.QUEUED: {Print.PRINTING}, Print.PRINTING: {Print.PRINTED}, Print.PRINTED: set()},
    initial=Print.QUEUED,
    running=Print.PRINTING,
    success={Print.PRINTED},
    failure=set(),
)
assert_type(PRINT_LIFECYCLE, Lifecycle[Print])
assert_type(PRINT_LIFECYCLE.initial, Print)
assert_type(PRINT_LIFECYCLE.births, tuple[Print, ...])
assert_type(ORDER_LIFECYCLE, Lifecycle[OrderStatus])
assert_type(ORDER_LIFECYCLE.exhausted_to, OrderStatus | None)
assert_type(ORDER_LIFECYCLE.outcomes[OrderStatus.EXPIRED], Outcome)


async def awaited_by_default() -> None:
    async with JobEngine() as engine:
        assert_type(engine, JobEngine[JobStatus])
        job = await engine.create("hash")
        assert_type(job, Job)
        assert_type(job.status, JobStatus)
        assert_type(await engine.transition(job.job_id, JobStatus.RUNNING), Job)
        assert_type(await engine.get_many([job.job_id]), list[Job])
        assert_type(await engine.list_jobs(JobStatus.RUNNING), JobPage)
        assert_type(await engine.history(job.job_id), list[Transition])
        assert_type((await engine.statistics()).jobs, dict[JobStatus, int])
        await engine.transition(job.job_id, Print.PRINTING)  # type: ignore[arg-type]
        await engine.count(AgentJobStatus.RUNNING)  # type: ignore[arg-type]
        await engine.list_jobs(Print.QUEUED)  # type: ignore[arg-type]
        await engine.transition_many([Move(job.job_id, Print.PRINTING)])  # type: ignore[arg-type]
        await engine.create("hash", timeout=1)  # type: ignore[call-arg]


async def awaited_with_a_lifecycle() -> None:
    async with JobEngine(MemoryStorage(), lifecycle=PRINT_LIFECYCLE) as engine:
        assert_type(engine, JobEngine[Print])
        job = await engine.create("hash")
        assert_type(job, Job[Print])
        assert_type(job.status, Print)
        assert_type(await engine.transition(job.job_id, Print.PRINTING), Job[Print])
        moves = [Move(job.job_id, Print.PRINTED)]
        assert_type(await engine.transition_many(moves), list[Job[Print]])
        assert_type(await engine.list_jobs(), JobPage[Print])
        assert_type(await engine.history(job.job_id), list[Transition[Print]])
        assert_type(await engine.statistics(), Statistics[Print])
        await engine.transition(job.job_id, JobStatus.RUNNING)  # type: ignore[arg-type]
        await engine.count(JobStatus.RUNNING)  # type: ignore[arg-type]
        wrong: Job[JobStatus] = job  # type: ignore[assignment]
        assert_type(wrong.status, JobStatus)


def blocking_by_default() -> None:
    with SyncJobEngine() as engine:
        assert_type(engine, SyncJobEngine[JobStatus])
        job = engine.create("hash", timeout=1)
        assert_type(job, Job)
        assert_type(engine.transition(job.job_id, JobStatus.RUNNING), Job)
        assert_type(engine.count(JobStatus.RUNNING), int)
        engine.transition(job.job_id, Print.PRINTING)  # type: ignore[arg-type]
        engine.count(Print.PRINTING)  # type: ignore[arg-type]


def blocking_with_a_lifecycle() -> None:
    with SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        assert_type(engine, SyncJobEngine[AgentJobStatus])
        job = engine.create("hash")
        assert_type(job, Job[AgentJobStatus])
        assert_type(engine.transition(job.job_id, AgentJobStatus.FAILED), Job[AgentJobStatus])
        assert_type(engine.statistics().jobs, dict[AgentJobStatus, int])
        engine.transition(job.job_id, JobStatus.FAILED)  # type: ignore[arg-type]
        engine.transition_many([Move(job.job_id, JobStatus.FAILED)])  # type: ignore[arg-type]


def wrong_lifecycles() -> None:
    awaited: JobEngine[Print] = JobEngine()  # type: ignore[assignment]
    blocking: SyncJobEngine[Print] = SyncJobEngine()  # type: ignore[assignment]
    assert_type((awaited, blocking), tuple[JobEngine[Print], SyncJobEngine[Print]])
    PRINT_LIFECYCLE.is_final(JobStatus.RUNNING)  # type: ignore[arg-type]
    JobEngine(lifecycle="paid")  # type: ignore[call-overload]
