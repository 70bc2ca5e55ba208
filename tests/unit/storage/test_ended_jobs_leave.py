"""Ended jobs leave the owner's table, and are read back from the storage when a call names them.

The conformance suite checks for every storage that they are unchanged then. Jobs that ended
recently stay for a while; one with a large result leaves at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import pytest

from engine import (
    InvalidStateTransitionError,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Retention,
    StorageError,
)
from engine.storage import AuditLine, CheckedOut, Names
from engine.testing import VirtualClock
from engine.testing.facades import FACADES, opened_engine
from tests.proof.storages import PlainStorage
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

LARGE = "r" * 100_000
LONG = "r" * 60_000
WIDE = "漢" * 30_000
MANY = 4 * 1_048_576 // len(LONG)


class Archive(PlainStorage):
    """Records the jobs that it read back, and fails when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[str] = []
        self.error: StorageError | None = None

    async def checkout(self, names: Names) -> CheckedOut:
        if self.error is not None:
            raise self.error
        self.asked_for += chain.from_iterable(names)
        return await super().checkout(names)


@pytest.mark.parametrize("facade", FACADES)
async def test_what_is_live_is_not_asked_for_and_what_has_ended_is(facade: type[Any]) -> None:
    storage = Archive()
    async with opened_engine(facade, storage) as engine:
        live: Job = await engine.create("live", idempotency_key="live")
        job: Job = await finished(engine, LARGE)
        await engine.create("live", idempotency_key="live")
        assert await engine.get(live.job_id) == live
        assert storage.asked_for == ["live"]  # before the key was there
        assert await engine.get(job.job_id) == job
        assert await engine.get_many([job.job_id, live.job_id]) == [job, live]
        assert storage.asked_for == ["live", job.job_id, job.job_id]


async def test_unknown_jobs_are_asked_for_and_not_found() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job = await finished(engine)
        with pytest.raises(JobNotFoundError) as caught:
            await engine.get_many([job.job_id, "unheard of"])
        assert (caught.value.job_id, caught.value.item) == ("unheard of", 1)
        assert "unheard of" in storage.asked_for


async def test_a_storage_that_cannot_read_back_tells_those_who_asked() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job, live = await finished(engine, LARGE), await engine.create("live")
        storage.error = StorageError("the disk is gone")
        for call in (
            engine.get(job.job_id),
            engine.transition(job.job_id, JobStatus.RUNNING),
            engine.create("new", idempotency_key="a key"),
        ):
            with pytest.raises(StorageError, match="the disk is gone"):
                await call
        assert await engine.get(live.job_id) == live
        storage.error = None
        assert await engine.get(job.job_id) == job


@pytest.mark.parametrize("facade", FACADES)
async def test_a_job_that_has_just_ended_is_not_asked_for(facade: type[Any]) -> None:
    storage = Archive()
    async with opened_engine(facade, storage) as engine:
        job = await finished(engine)
        assert await engine.get(job.job_id) == job
        assert await engine.wait(job.job_id) == job
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        assert storage.asked_for == []


@pytest.mark.parametrize("result", [LONG, WIDE], ids=["ASCII", "wide"])
async def test_the_jobs_that_ended_first_leave_first(result: str) -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        jobs = [await finished(engine, result) for _ in range(MANY + 1)]
        for job in reversed(jobs):
            assert await engine.get(job.job_id) == job
        [*asked_for] = storage.asked_for
        assert 0 < len(asked_for) < len(jobs) // 2
        assert asked_for == [job.job_id for job in reversed(jobs[: len(asked_for)])]


async def test_a_job_that_was_just_removed_is_gone() -> None:
    clock = VirtualClock()
    rule = Retention(max_jobs=1, interval_seconds=10)
    async with JobEngine(Archive(), retention=rule, clock=clock) as engine:
        first = await engine.create("first", idempotency_key="first")
        await engine.transition(first.job_id, JobStatus.RUNNING)
        await engine.transition(first.job_id, JobStatus.COMPLETED)
        second = await finished(engine)
        await clock.advance(11)
        assert (await engine.statistics()).removed == 1
        with pytest.raises(JobNotFoundError):
            await engine.get(first.job_id)
        again = await engine.create("first", idempotency_key="first")
        assert again.job_id != first.job_id
        assert await engine.get(second.job_id) == second


async def test_after_a_removal_of_unknown_outcome_no_ended_job_is_taken_from_memory() -> None:
    class Failing(Archive):
        async def remove_ended(
            self,
            before: datetime | None,
            keep: int | None,
            limit: int,
            line: AuditLine | None = None,
        ) -> Sequence[str]:
            await super().remove_ended(before, keep, limit, line)
            raise StorageError("it says no")

    clock = VirtualClock()
    rule = Retention(max_jobs=0, interval_seconds=10)
    async with JobEngine(Failing(), retention=rule, clock=clock) as engine:
        job = await finished(engine)
        await clock.advance(11)
        with pytest.raises(JobNotFoundError):
            await engine.get(job.job_id)
