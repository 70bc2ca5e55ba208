"""The throughput, as an operator asks for it: how many jobs came and ended lately."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    InvalidValueError,
    JobEngine,
    MemoryStorage,
    NewJob,
    StorageError,
    StorageFullError,
)
from engine import OrderStatus as S
from engine.operating import desk_at
from engine.operations import EngineDesk, overviews
from engine.owner.commands.throughput import CountThroughput
from engine.storage import throughput
from engine.storage.locations import Location
from engine.storage.places import place_at
from tests.proof.shared_storage import Place, PlainShared
from tests.proof.storages import PlainStorage
from tests.tries import thorough

pytestmark = pytest.mark.anyio

SOME_TIME = datetime(2026, 11, 30, 3, 7, 59, tzinfo=UTC)
NOTHING = {"created": 0, "succeeded": 0, "failed": 0, "given_up": 0}
ONE_OF_EACH = {"created": 0, "succeeded": 1, "failed": 1, "given_up": 1}


class Clock:
    def __init__(self) -> None:
        self.now = SOME_TIME

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "plain", *thorough("file", "shared")])
def engine(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> JobEngine[S]:
    places: dict[str, Callable[[], Location]] = {
        "memory": MemoryStorage,
        "plain": PlainStorage,
        "file": lambda: tmp_path / "jobs.db",
        "shared": lambda: PlainShared(Place(), 1),
    }
    place = places[request.param]()
    return JobEngine(place, lifecycle=ORDER_LIFECYCLE, clock=clock)


async def _told(engine: JobEngine[S], **arguments: object) -> Any:  # noqa: ANN401 - JSON
    answer = await EngineDesk(engine.core).do("throughput", arguments)
    assert json.loads(json.dumps(answer)) == answer
    return answer


async def test_jobs_that_came_and_ended_are_told_by_the_minute(
    engine: JobEngine[S], clock: Clock
) -> None:
    async with engine:
        assert (await _told(engine))["periods"] == []
        made = await engine.create_many(NewJob(start=True) for _ in range(4))
        ids = [job.job_id for job in made]
        clock.now += timedelta(minutes=1)
        await engine.transition(ids[0], S.COMPLETED)
        await engine.transition(ids[1], S.FAILED)
        await engine.cancel(ids[2])
        assert await _told(engine) == {
            "since": "2026-11-30T02:09:00.000000Z",
            "until": "2026-11-30T03:08:59.000000Z",
            "every": 1,
            "periods": [
                {"at": "2026-11-30T03:07:00.000000Z", **NOTHING, "created": 4},
                {"at": "2026-11-30T03:08:00.000000Z", **ONE_OF_EACH},
            ],
            "all_counted": True,
            "can_count": True,
        }
        clock.now += timedelta(minutes=59)
        assert [each["created"] for each in (await _told(engine))["periods"]] == [0]
        clock.now += timedelta(minutes=1)
        assert (await _told(engine))["periods"] == []
        day = await _told(engine, minutes=1_440, every=15)
        assert day["periods"] == [
            {"at": "2026-11-30T03:00:00.000000Z", **ONE_OF_EACH, "created": 4}
        ]
        assert day["since"] == "2026-11-29T04:15:00.000000Z"


@pytest.mark.parametrize(
    "wrong", [{"minutes": 0}, {"minutes": 1_441}, {"every": 0}, {"every": 61}, {"minutes": "x"}]
)
async def test_a_wrong_length_is_refused(wrong: dict[str, object]) -> None:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE) as engine:
        with pytest.raises(InvalidValueError):
            await _told(engine, **wrong)


async def test_removed_jobs_stay_counted(engine: JobEngine[S]) -> None:
    async with engine:
        job = await engine.create(start=True)
        await engine.transition(job.job_id, S.COMPLETED)
        assert await engine.prune(keep=0) == 1
        [told] = (await _told(engine))["periods"]
        assert (told["created"], told["succeeded"]) == (1, 1)


async def test_one_call_counts_so_many_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.storage.memory.STEP_TRANSITIONS", 2)
    monkeypatch.setattr(overviews, "_COUNTING_MESSAGES", 3)
    async with JobEngine(lifecycle=ORDER_LIFECYCLE) as engine:
        await engine.create_many(NewJob() for _ in range(7))
        found = [await _told(engine) for _ in range(2)]
        created = [sum(each["created"] for each in told["periods"]) for told in found]
        assert created == [6, 7]
        assert [told["all_counted"] for told in found] == [False, True]
        assert [told["can_count"] for told in found] == [True, True]


async def test_others_are_answered_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.storage.memory.STEP_TRANSITIONS", 2)
    async with JobEngine(lifecycle=ORDER_LIFECYCLE) as engine:
        await engine.create_many(NewJob() for _ in range(5))
        has_more = list[bool]()
        for _ in range(4):
            has_more.append(await engine.core.ask(CountThroughput()))
            await engine.create()
        assert has_more == [True, True, True, False]


class FullStorage(MemoryStorage):
    """Can't write the counts after the first ones."""

    error: StorageError | None = None

    async def count_throughput(self) -> bool:
        if self.error is not None:
            raise self.error
        return await super().count_throughput()


async def test_a_full_disk_leaves_what_was_counted() -> None:
    storage = FullStorage()
    async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
        await engine.create()
        await _told(engine)
        storage.error = StorageFullError("the disk is full")
        await engine.create()
        told = await _told(engine)
        assert [each["created"] for each in told["periods"]] == [1]
        assert (told["all_counted"], told["can_count"]) == (False, False)
        storage.error = None
        assert sum(each["created"] for each in (await _told(engine))["periods"]) == 2


async def test_a_place_that_no_engine_has_is_counted_too(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        await engine.create()
    for _ in range(2):
        async with desk_at(place_at(str(path))) as desk:
            told = await desk.do("throughput", {})
            assert sum(each["created"] for each in told["periods"]) == 1


def test_a_look_of_a_day_is_kept() -> None:
    day = timedelta(minutes=overviews._DAY_MINUTES)  # noqa: SLF001
    assert day < throughput.KEPT_SPAN
