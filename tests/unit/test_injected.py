"""The caller's clock and id source: their freedom, and the promises that they can't break.

Row 18 of the reliability table: the clock jumps, an hour and a year, both ways.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine import (
    DuplicateJobIdError,
    EngineCrashedError,
    InvalidValueError,
    Job,
    JobStatus,
    NewJob,
)
from engine.testing.facades import FACADES, opened_engine
from tests.reliability.planted import PlantedStorage

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("facade", FACADES)]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JUMPS = [
    timedelta(hours=1),
    timedelta(hours=-1),
    timedelta(days=365),
    timedelta(days=-365),
    timedelta(0),
]


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: Any = NOON

    def __call__(self) -> Any:  # noqa: ANN401 - tests let it tell nonsense
        return self.now


async def test_all_times_are_the_clocks(facade: type[Any]) -> None:
    clock = SetClock()
    async with opened_engine(facade, clock=clock) as engine:
        job = await engine.create("hash")
        clock.now = NOON + timedelta(seconds=1)
        running = await engine.transition(job.job_id, JobStatus.RUNNING)
        assert (job.created_at, job.updated_at) == (NOON, NOON)
        assert (running.created_at, running.updated_at) == (NOON, clock.now)
        assert [line.at for line in await engine.history(job.job_id)] == [NOON, clock.now]


async def test_times_are_utc_whatever_the_clocks_zone(facade: type[Any]) -> None:
    clock = SetClock()
    clock.now = NOON.astimezone(timezone(timedelta(hours=-5)))
    async with opened_engine(facade, clock=clock) as engine:
        job = await engine.create("hash")
        assert job.created_at == NOON
        assert job.created_at.tzinfo is UTC
        assert (await engine.history(job.job_id))[0].at.tzinfo is UTC


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("back", JUMPS, ids=str)
async def test_a_clock_that_jumps_turns_nothing_back_and_loses_nothing(
    facade: type[Any], jump: timedelta, back: timedelta
) -> None:
    clock = SetClock()
    async with opened_engine(facade, clock=clock) as engine:
        seen: list[Job] = [await engine.create("hash", idempotency_key="key")]
        job_id = seen[0].job_id
        clock.now += jump
        seen.append(await engine.transition(job_id, JobStatus.RUNNING))
        late = await engine.create("late")
        clock.now += back
        seen.append(await engine.transition(job_id, JobStatus.COMPLETED, result="x"))
        assert await engine.create("hash", idempotency_key="key") == seen[-1]
        assert {job.created_at for job in seen} == {NOON}
        times = [job.updated_at for job in seen]
        assert times == sorted(times)
        assert times == [NOON, max(NOON, NOON + jump), max(NOON, NOON + jump, clock.now)]
        assert [line.at for line in await engine.history(job_id)] == times
        assert [line.sequence for line in await engine.history(job_id)] == [1, 2, 4]
        assert (await engine.list_jobs()).jobs == (seen[-1], late), "in the order of creation"
        assert (late.created_at, late.updated_at) == (NOON + jump, NOON + jump)


NONSENSE = {"naive": datetime(2026, 3, 1), "number": 5, "nothing": None}  # noqa: DTZ001 - the refused value


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_an_engine_does_not_start_with_a_clock_that_tells_no_time(
    facade: type[Any], nonsense: str
) -> None:
    storage = PlantedStorage()
    with pytest.raises(InvalidValueError, match=r"^clock must return an aware datetime"):
        async with opened_engine(facade, storage, clock=lambda: NONSENSE[nonsense]):
            pytest.fail("it has started")
    assert storage.closed == 0  # nor was it opened


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_clock_that_breaks_later_is_a_crash_with_its_cause(
    facade: type[Any], nonsense: str
) -> None:
    clock = SetClock()
    with pytest.raises(EngineCrashedError) as crash:
        async with opened_engine(facade, clock=clock) as engine:
            job = await engine.create("hash")
            clock.now = NONSENSE[nonsense]
            assert await engine.get(job.job_id) == job
            for _ in range(2):
                with pytest.raises(EngineCrashedError) as caught:
                    await engine.create("hash")
                assert isinstance(caught.value.__cause__, InvalidValueError)
    assert isinstance(crash.value.__cause__, InvalidValueError)


async def test_ids_are_the_sources(facade: type[Any]) -> None:
    ids = iter(["one", "two", "three"])
    async with opened_engine(facade, new_id=lambda: next(ids)) as engine:
        assert (await engine.create("hash")).job_id == "one"
        jobs = await engine.create_many([NewJob("hash")] * 2)
        assert [job.job_id for job in jobs] == ["two", "three"]
        assert (await engine.get("one")).blockchain_identifier == "mock_bc_one"


@pytest.mark.parametrize(
    "end", [[], [JobStatus.RUNNING, JobStatus.COMPLETED]], ids=["live", "ended"]
)
async def test_an_id_that_is_taken_is_refused_and_nothing_is_overwritten(
    facade: type[Any], end: list[JobStatus]
) -> None:
    async with opened_engine(facade, new_id=lambda: "same") as engine:
        job = await engine.create("hash")
        for status in end:
            job = await engine.transition("same", status)
        with pytest.raises(DuplicateJobIdError) as caught:
            await engine.create("other")
        assert (caught.value.job_id, caught.value.item) == ("same", None)
        with pytest.raises(DuplicateJobIdError) as caught:
            await engine.create_many([NewJob("other")])
        assert (caught.value.job_id, caught.value.item) == ("same", 0)
        assert await engine.get("same") == job
        assert await engine.count() == 1
        assert len(await engine.history("same")) == 1 + len(end)
        assert (await engine.statistics()).last_sequence == 1 + len(end)


async def test_an_id_that_is_taken_in_the_same_call_undoes_the_call(facade: type[Any]) -> None:
    ids = iter(["one", "two", "one", "three"])
    async with opened_engine(facade, new_id=lambda: next(ids)) as engine:
        with pytest.raises(DuplicateJobIdError) as caught:
            await engine.create_many([NewJob("hash")] * 3)
        assert (caught.value.job_id, caught.value.item) == ("one", 2)
        assert await engine.count() == 0
        assert (await engine.create("hash")).job_id == "three"


@pytest.mark.parametrize("nonsense", [None, 5, "", "x" * 257, "\0", "\ud800", b"id"], ids=repr)
async def test_an_id_that_cannot_be_one_is_refused(facade: type[Any], nonsense: object) -> None:
    async with opened_engine(facade, new_id=lambda: nonsense) as engine:
        with pytest.raises(InvalidValueError, match=r"^job_id "):
            await engine.create("hash")
        with pytest.raises(InvalidValueError, match=r"^item 0: job_id "):
            await engine.create_many([NewJob("hash")])
        assert await engine.count() == 0


async def test_a_source_that_raises_is_its_callers_matter(facade: type[Any]) -> None:
    ids: Iterator[str] = iter(["one"])
    async with opened_engine(facade, new_id=ids.__next__) as engine:
        await engine.create("hash")
        with pytest.raises((StopIteration, RuntimeError)):
            await engine.create("hash")
        assert await engine.count() == 1
