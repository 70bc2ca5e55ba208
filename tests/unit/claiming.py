"""Claim, release and end jobs by messages, as a worker does, without a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import anyio

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, JobEngine, Retry
from engine.domain.deaths import DeathRule
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.release import Failed, ReleaseJob
from engine.owner.core import Core
from engine.owner.free_places import FreePlaces, KindPlaces
from engine.storage.locations import Location
from engine.storage.record import NO_ACT, Act, Record

AgentJob: TypeAlias = Job[AgentJobStatus]
NewPlace: TypeAlias = Callable[[], Location]
"""Returns a storage: the same place each time, if the jobs outlive their engine."""

EXACT: Final = Retry(first_delay_seconds=10, factor=2, jitter=0)
"""The delays of claims: a suspect rests for 10 s, after a second death for 20 s."""


def agents(place: Location | None = None, **how: Any) -> JobEngine[AgentJobStatus]:  # noqa: ANN401
    """Return an engine with the lifecycle of five statuses."""
    return JobEngine(place, lifecycle=AGENT_JOB_LIFECYCLE, **how)


class Claim:
    """A claim on its way, or waiting."""

    def __init__(
        self,
        core: Core[Any],
        limit: int = 1,
        *,
        kinds: Mapping[str, int] | None = None,
        max_deaths: int = 3,
        idempotent: bool = True,
        retry: Retry = EXACT,
        by: Act = NO_ACT,
    ) -> None:
        self._told = anyio.Event()
        rule = DeathRule(max_deaths, idempotent, retry)
        free = {"default": limit} if kinds is None else kinds
        self.places = FreePlaces(limit, {kind: KindPlaces(free[kind], rule) for kind in free}, by)
        self.message = ClaimJobs(self.places, self._told.set)
        self._seen = core.inbox.put(self.message)

    @property
    def is_told(self) -> bool:
        return self._told.is_set()

    async def seen(self) -> Claim:
        """Wait until the owner has decided it: it is then answered, or waits."""
        with anyio.fail_after(60):
            await self._seen.wait()
        return self

    async def records(self) -> Sequence[Record]:
        """Wait for its answer."""
        with anyio.fail_after(60):
            await self._told.wait()
        return self.message.outcome()


async def claimed(engine: JobEngine[Any], limit: int = 1, **how: Any) -> Sequence[Record]:  # noqa: ANN401
    """Claim ready jobs, and return them, each with a new attempt."""
    return await Claim(engine.core, limit, **how).records()


async def claimed_one(engine: JobEngine[Any], **how: Any) -> tuple[str, str]:  # noqa: ANN401
    """Claim a ready job, and return its id and the token of its new attempt."""
    [record] = await claimed(engine, **how)
    return record.job_id, token_of(record)


def token_of(record: Record) -> str:
    token = record.execution.token
    assert token is not None
    return token


async def running(engine: JobEngine[AgentJobStatus], **given: Any) -> AgentJob:  # noqa: ANN401
    """Return a new ready job."""
    job = await engine.create("hash", **given)
    return await engine.transition(job.job_id, AgentJobStatus.RUNNING)


async def release(
    engine: JobEngine[Any], job_id: str, token: str, delay_seconds: float = 0, *, failed: bool
) -> None:
    """Release a job, as its attempt."""
    why = Failed("no paper") if failed else None
    await engine.core.ask(ReleaseJob(job_id, token, delay_seconds, why))
