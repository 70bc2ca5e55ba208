"""A job and its follow-ups leave together, once all of them have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine import ORDER_LIFECYCLE, JobEngine, JobNotFoundError, Retention
from engine import OrderStatus as S
from engine.owner.commands.remove import RemoveEnded
from engine.storage.locations import Location
from tests.unit.claiming import NewPlace
from tests.unit.follow_ups.conftest import RULES
from tests.unit.follow_ups.families import OrderJob, ended, only

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def _engine(place: Location, clock: Clock) -> JobEngine[S]:
    return JobEngine(place, lifecycle=ORDER_LIFECYCLE, follow_ups=RULES, clock=clock)


async def _removed(
    engine: JobEngine[S], age: timedelta | None = None, keep: int | None = None
) -> set[str]:
    """Remove jobs until none is left to remove; return their ids."""
    before = {job.job_id for job in (await engine.list_jobs()).jobs}
    while await engine.core.ask(RemoveEnded(Retention(max_age=age, max_jobs=keep), 2)):
        pass
    return before - {job.job_id for job in (await engine.list_jobs()).jobs}


async def _family(engine: JobEngine[S]) -> list[OrderJob]:
    """Return a job with its follow-up, and that one's, which goes on."""
    job = await ended(engine)
    settle = await only(engine, job)
    await engine.transition(settle.job_id, S.COMPLETED)
    return [job, settle, await only(engine, settle)]


def _ids(jobs: list[OrderJob]) -> set[str]:
    return {job.job_id for job in jobs}


async def test_by_age_they_leave_together(place: NewPlace) -> None:
    clock = Clock()
    async with _engine(place(), clock) as engine:
        first, second = await _family(engine), await _family(engine)
        refunded = await ended(engine, S.CANCELLED)
        await engine.remove_rule("refund")
        alone = await ended(engine, S.CANCELLED)
        clock.now += 2 * HOUR
        assert await _removed(engine, HOUR) == {alone.job_id}
        await engine.transition(first[-1].job_id, S.FAILED)
        assert await _removed(engine, HOUR) == set()
        clock.now += 2 * HOUR
        assert await _removed(engine, HOUR) == _ids(first)
        for job in first:
            with pytest.raises(JobNotFoundError):
                await engine.get(job.job_id)
        assert [each.kind for each in await engine.follow_ups(refunded.job_id)] == ["refund"]
        await engine.transition(second[-1].job_id, S.COMPLETED)
        clock.now += 2 * HOUR
        assert await _removed(engine, HOUR) == _ids(second)
        assert await engine.count() == 2


async def test_by_number_the_oldest_families_leave(place: NewPlace) -> None:
    clock = Clock()
    async with _engine(place(), clock) as engine:
        families = []
        for _ in range(3):
            clock.now += HOUR
            families.append(await _family(engine))
        assert await _removed(engine, keep=0) == set()
        for family in families[1:]:
            await engine.transition(family[-1].job_id, S.COMPLETED)
        # 8 have ended, 2 of them in a family that goes on.
        assert await _removed(engine, keep=5) == _ids(families[1])
        await engine.transition(families[0][-1].job_id, S.COMPLETED)
        assert len(await _removed(engine, keep=5)) == 3
        assert await engine.count() == 3


async def test_one_by_hand_keeps_its_family(place: NewPlace) -> None:
    async with _engine(place(), Clock()) as engine:
        family = await _family(engine)
        await engine.transition(family[-1].job_id, S.COMPLETED)
        by_hand = await engine.follow_up(family[0].job_id, "refund")
        assert await _removed(engine, keep=0) == set()
        await engine.transition(by_hand.job_id, S.COMPLETED)
        assert await _removed(engine, keep=0) == {*_ids(family), by_hand.job_id}


async def test_a_clock_that_was_set_back_keeps_no_family(new_place: NewPlace) -> None:
    clock = Clock()
    async with _engine(new_place(), clock) as engine:
        await engine.remove_rule("settle")
        job = await ended(engine)
        clock.now -= HOUR
        refund = await engine.follow_up(job.job_id, "refund")
        assert await _removed(engine, keep=0) == set()  # which has seen the end of the job
        await engine.transition(refund.job_id, S.COMPLETED)
        assert await _removed(engine, keep=0) == {job.job_id, refund.job_id}
