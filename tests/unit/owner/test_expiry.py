"""Deadlines: the owner fires each once, never early, even when the clock jumps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    EngineCrashedError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEngine,
    JobStatus,
    Lifecycle,
    MemoryStorage,
    NewJob,
    StaleAttemptError,
    StorageFullError,
)
from engine.owner.commands.expire import ExpireJobs
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from engine.testing.facades import FACADES, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import Claim, NewPlace, agents, claimed_one, release, running

pytestmark = pytest.mark.anyio

A = AgentJobStatus
HOUR, YEAR = 3_600, 86_400 * 365


@pytest.mark.parametrize("facade", FACADES)
async def test_a_job_expires_by_the_real_clock(facade: type[Any], new_place: NewPlace) -> None:
    async with opened_engine(facade, new_place(), lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = await engine.create("h", deadlines={A.AWAITING_PAYMENT: timedelta(seconds=0.05)})
        assert job.deadline_at == job.created_at + timedelta(seconds=0.05)
        ended = await engine.wait(job.job_id, timeout=60)
        assert (ended.status, ended.error, ended.version) == (A.FAILED, "expired", 2)
        assert ended.updated_at >= job.deadline_at
        assert ended.deadline_at is None
        statistics = await engine.statistics()
        assert (statistics.expired, statistics.waiting) == (1, 0)


@pytest.mark.parametrize("facade", FACADES)
async def test_the_default_lifecycle_has_deadlines_for_running_jobs_alone(
    facade: type[Any],
) -> None:
    late = {JobStatus.AWAITING_PAYMENT: timedelta(1)}
    async with opened_engine(facade) as engine:
        with pytest.raises(InvalidValueError, match=r"can't apply to awaiting_payment: .* run"):
            await engine.create("hash", deadlines=late)
        with pytest.raises(InvalidValueError, match="item 1: "):
            await engine.create_many([NewJob("a"), NewJob("b", deadlines=late)])
        assert await engine.count() == 0
        soon = {JobStatus.RUNNING: timedelta(seconds=0.01)}
        job = await engine.create("hash", deadlines=soon)
        assert job.deadline_at is None
        await engine.transition(job.job_id, JobStatus.RUNNING)
        assert (await engine.wait(job.job_id, timeout=10)).error == "expired"


async def test_a_deadline_counts_anew_each_time_and_a_time_stays(new_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(new_place(), clock=clock) as engine:
        job = await running(
            engine,
            deadlines={
                A.RUNNING: timedelta(seconds=10),
                A.AWAITING_INPUT: clock() + timedelta(seconds=30),
            },
        )
        for _ in range(3):
            await clock.advance(9)
            asking = await engine.transition(job.job_id, A.AWAITING_INPUT)
            assert asking.deadline_at == job.created_at + timedelta(seconds=30)
            again = await engine.transition(job.job_id, A.RUNNING, expected_status=A.AWAITING_INPUT)
            assert again.deadline_at == clock() + timedelta(seconds=10)
        await engine.transition(job.job_id, A.AWAITING_INPUT)
        await clock.advance(3)
        assert (await engine.wait(job.job_id, timeout=5)).status is A.FAILED


async def test_a_deadline_fires_on_an_attempt_whose_late_end_is_stale(
    new_place: NewPlace,
) -> None:
    clock = VirtualClock()
    async with agents(new_place(), clock=clock) as engine:
        job = await running(engine, deadlines={A.RUNNING: timedelta(seconds=10)})
        _, token = await claimed_one(engine)
        await clock.advance(10)
        assert (await engine.wait(job.job_id, timeout=5)).error == "expired"
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, A.COMPLETED, attempt_token=token)


async def test_what_is_not_due_is_not_moved_on_whoever_asks(new_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(new_place(), clock=clock) as engine:
        later = await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(hours=1)})
        never = await engine.create("hash")
        job_ids = [later.job_id, never.job_id]
        assert await engine.core.ask(ExpireJobs(job_ids)) == []
        assert await engine.get_many(job_ids) == [later, never]


async def test_a_move_and_a_deadline_have_one_winner(new_place: NewPlace) -> None:
    moved = expired = 0
    for lead in range(-3, 3):
        clock = VirtualClock()
        async with agents(new_place(), clock=clock, new_id=lambda lead=lead: f"{lead}") as engine:
            job = await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(seconds=5)})
            await clock.advance(4)
            clock.jump(1)
            for _ in range(lead):
                await anyio.lowlevel.checkpoint()
            try:
                await engine.transition(job.job_id, A.RUNNING)
                moved += 1
            except InvalidStateTransitionError:
                expired += 1
            await clock.advance(1)
            history = await engine.history(job.job_id)
            assert len(history) == 2
            assert (await engine.statistics()).expired == (history[1].to_status is A.FAILED)
    assert moved + expired == 6


@pytest.mark.parametrize("by", [HOUR, YEAR, -HOUR, -YEAR])
async def test_a_clock_that_jumps_fires_nothing_early_twice_or_never(
    lasting_place: NewPlace, by: int
) -> None:
    """Row 18 of the reliability table, for deadlines and for the times of next attempts."""
    clock = VirtualClock()
    began = clock() + timedelta(seconds=min(by, 0))  # anew, if the clock is set back
    async with agents(lasting_place(), clock=clock) as engine:
        retried = await running(engine)
        _, token = await claimed_one(engine)
        await release(engine, retried.job_id, token, HOUR / 2, failed=True)
        jobs = [
            await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(seconds=after)})
            for after in (HOUR / 2, HOUR, 2 * HOUR, 2 * YEAR)
        ]
        absolute = {A.AWAITING_PAYMENT: clock() + timedelta(seconds=HOUR)}
        jobs.append(await engine.create("hash", deadlines=absolute))
        ends = [began + timedelta(seconds=after) for after in (HOUR / 2, HOUR, 2 * HOUR, 2 * YEAR)]
        ends.append(absolute[A.AWAITING_PAYMENT])
        claim = await Claim(engine.core).seen()
        clock.jump(by)
        for passed in (0, HOUR, HOUR, YEAR, 3 * YEAR):
            await clock.advance(passed)
            due = [job for job, end in zip(jobs, ends, strict=True) if end <= clock()]
            for job in due:
                await engine.wait(job.job_id, timeout=5)
            now = await engine.get_many([job.job_id for job in jobs])
            assert [job.status is A.FAILED for job in now] == [job in due for job in jobs]
            assert claim.is_told is (began + timedelta(seconds=HOUR / 2) <= clock())
            assert (await engine.statistics()).expired == len(due)
        assert len(due) == len(jobs)
        assert [len(await engine.history(job.job_id)) for job in jobs] == [2] * 5
        for job in await engine.get_many([job.job_id for job in jobs]):
            assert job.updated_at >= job.created_at


async def test_deadlines_that_passed_while_the_engine_was_closed_fire_at_the_start(
    lasting_place: NewPlace,
) -> None:
    clock = VirtualClock()
    deadlines = {A.AWAITING_PAYMENT: timedelta(hours=1)}
    async with agents(lasting_place(), clock=clock) as engine:
        jobs = await engine.create_many([NewJob("hash", deadlines=deadlines)] * 500)
        stays = await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(hours=3)})
    clock.jump(2 * HOUR)
    async with agents(lasting_place(), clock=clock) as engine:
        for job in jobs:
            assert (await engine.wait(job.job_id, timeout=10)).error == "expired"
        assert (await engine.get(stays.job_id)).status is A.AWAITING_PAYMENT
        assert (await engine.statistics()).expired == 500


class Failing(MemoryStorage):
    failures = 0

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageFullError("full")
        await super().commit(changes, lines)


async def test_a_deadline_that_could_not_be_kept_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, storage = VirtualClock(), Failing()
    async with agents(storage, clock=clock) as engine:
        job = await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(seconds=5)})
        storage.failures = 3
        with caplog.at_level(logging.ERROR):
            await clock.advance(5)
        assert "are tried again" in caplog.text
        assert (await engine.get(job.job_id)).status is A.AWAITING_PAYMENT
        await clock.advance(3)
        assert (await engine.wait(job.job_id, timeout=5)).error == "expired"
        assert (await engine.statistics()).expired == 1


async def test_a_deadline_may_lead_anywhere_that_the_lifecycle_says() -> None:
    lifecycle = Lifecycle(
        JobStatus,
        {
            JobStatus.AWAITING_PAYMENT: {JobStatus.RUNNING},
            JobStatus.RUNNING: {JobStatus.COMPLETED, JobStatus.FAILED},
            JobStatus.COMPLETED: set(),
            JobStatus.FAILED: set(),
        },
        initial=JobStatus.AWAITING_PAYMENT,
        running=JobStatus.RUNNING,
        success={JobStatus.COMPLETED},
        failure={JobStatus.FAILED},
        expires_to={
            JobStatus.AWAITING_PAYMENT: JobStatus.RUNNING,
            JobStatus.RUNNING: JobStatus.COMPLETED,
        },
    )
    clock = VirtualClock()
    async with JobEngine(lifecycle=lifecycle, clock=clock) as engine:
        second = timedelta(seconds=1)
        job = await engine.create(
            "hash", deadlines={JobStatus.AWAITING_PAYMENT: second, JobStatus.RUNNING: second}
        )
        await clock.advance(1)
        claim = await Claim(engine.core).seen()
        assert claim.is_told, "it is ready now"
        await clock.advance(1)
        done = await engine.wait(job.job_id, timeout=5)
        assert (done.status, done.error) == (JobStatus.COMPLETED, None)


async def test_the_longest_delay_does_no_harm(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta.max})
        assert job.deadline_at is not None
        assert job.deadline_at.year == 9999
        assert await engine.get(job.job_id) == job


async def test_a_clock_that_breaks_while_a_deadline_is_waited_for_is_told_as_a_crash() -> None:
    clock = VirtualClock()
    broken = False

    def read() -> Any:  # noqa: ANN401 - no time at all, at last
        return None if broken else clock()

    with pytest.raises(EngineCrashedError) as crash:
        async with agents(clock=read) as engine:
            await engine.create("hash", deadlines={A.AWAITING_PAYMENT: timedelta(seconds=5)})
            broken = True
            with anyio.fail_after(60), pytest.raises(EngineCrashedError):
                while True:
                    await engine.get_many([])
                    await anyio.sleep(0.01)
    assert isinstance(crash.value.__cause__, InvalidValueError)
