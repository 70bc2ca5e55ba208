"""Make jobs that have follow-ups, and look at these."""

from __future__ import annotations

from typing import Any, TypeAlias

from engine import Job
from engine import OrderStatus as S
from engine.testing.facades import Engine

OrderJob: TypeAlias = Job[S]


async def started(engine: Engine, **how: Any) -> OrderJob:  # noqa: ANN401 - of `create`
    """Return a job that was created and then started."""
    job: OrderJob = (await engine.start((await engine.create(**how)).job_id)).job
    return job


async def ended(engine: Engine, status: S = S.COMPLETED, **how: Any) -> OrderJob:  # noqa: ANN401 - of `create`
    """Return a job that has been running and has ended."""
    job: OrderJob = await engine.transition((await started(engine, **how)).job_id, status)
    return job


async def kinds(engine: Engine, job: OrderJob) -> list[str]:
    """Return the kinds of a job's follow-ups."""
    return [each.kind for each in await engine.follow_ups(job.job_id)]


async def only(engine: Engine, job: OrderJob) -> OrderJob:
    """Return the one follow-up of a job."""
    [found] = await engine.follow_ups(job.job_id)
    follow_up: OrderJob = found
    return follow_up


async def numbers(engine: Engine) -> list[int]:
    """Return the numbers of all transitions."""
    jobs = (await engine.list_jobs(limit=1_000)).jobs
    return sorted([line.sequence for job in jobs for line in await engine.history(job.job_id)])
