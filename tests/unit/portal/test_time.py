"""Real time: the event loop counts seconds, the clock gives moments, even when it jumps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from engine.domain.exceptions import InvalidValueError
from engine.portal.time import LOOK_AGAIN_SECONDS, SystemTime, Time, time_of, utc_now

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
SECONDS_AGAINST_HANGS = 60


class SetClock:
    """Returns the time that it is set to, and counts its readings."""

    def __init__(self) -> None:
        self.time = NOON
        self.looks = 0
        self.on_look: Callable[[], None] = lambda: None

    def __call__(self) -> datetime:
        self.looks += 1
        self.on_look()
        return self.time


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_now_is_what_the_clock_tells_in_utc(clock: SetClock) -> None:
    clock.time = datetime.fromisoformat("2026-03-01T13:00:00+01:00")
    assert SystemTime(clock).now() == NOON
    assert SystemTime(clock).now().tzinfo is UTC
    clock.time = datetime(2026, 3, 1)  # noqa: DTZ001 - the fault of the value
    with pytest.raises(InvalidValueError, match="clock must return an aware datetime"):
        SystemTime(clock).now()


def test_the_time_of_a_clock_is_the_clock_itself_when_it_has_all_the_calls(clock: SetClock) -> None:
    assert isinstance(time_of(clock), SystemTime)
    assert isinstance(time_of(utc_now), Time)

    class Own(SystemTime):
        def __call__(self) -> datetime:
            return NOON

    own = Own(clock)
    assert time_of(own) is own


async def test_seconds_pass_though_the_clock_stands_still(clock: SetClock) -> None:
    began = anyio.current_time()
    await SystemTime(clock).sleep(0.05)
    assert 0.049 < anyio.current_time() - began < SECONDS_AGAINST_HANGS
    await SystemTime(clock).sleep(-1)
    assert clock.looks == 0


async def test_a_wait_is_over_at_its_moment_and_not_before() -> None:
    at = utc_now() + timedelta(seconds=0.05)
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        await SystemTime(utc_now).wait_until(at, anyio.Event())
    assert utc_now() >= at


@pytest.mark.parametrize("at", [NOON, NOON - YEAR])
async def test_a_wait_for_what_has_come_is_over_and_can_be_cancelled(
    clock: SetClock, at: datetime
) -> None:
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        await SystemTime(clock).wait_until(at, anyio.Event())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await SystemTime(clock).wait_until(at, anyio.Event())
    assert scope.cancelled_caught


@pytest.mark.parametrize("at", [None, NOON + YEAR, NOON])
async def test_an_event_ends_a_wait(clock: SetClock, at: datetime | None) -> None:
    earlier = anyio.Event()
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with anyio.create_task_group() as group:
            group.start_soon(SystemTime(clock).wait_until, at, earlier)
            await anyio.wait_all_tasks_blocked()
            earlier.set()
        await SystemTime(clock).wait_until(at, earlier)  # it is set already


async def test_a_wait_without_a_moment_looks_at_no_clock(clock: SetClock) -> None:
    with anyio.move_on_after(0.05) as scope:
        await SystemTime(clock).wait_until(None, anyio.Event())
    assert scope.cancelled_caught
    assert clock.looks == 0


@pytest.mark.thorough
@pytest.mark.parametrize("by", [timedelta(hours=1), YEAR])
async def test_a_jump_over_the_moment_is_met_at_the_next_look(
    clock: SetClock, by: timedelta
) -> None:
    def jump() -> None:
        if clock.looks == 2:
            clock.time += by

    clock.on_look = jump
    began = anyio.current_time()
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        await SystemTime(clock).wait_until(NOON + by, anyio.Event())
    assert clock.looks == 2
    assert anyio.current_time() - began >= LOOK_AGAIN_SECONDS - 0.01


@pytest.mark.thorough
async def test_a_jump_back_makes_nothing_early(clock: SetClock) -> None:
    looks: list[datetime] = []

    def jump() -> None:
        looks.append(clock.time)
        clock.time = {1: NOON - YEAR, 2: NOON + YEAR}.get(clock.looks, clock.time)

    clock.on_look = jump
    clock.time = NOON - timedelta(milliseconds=1)
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        await SystemTime(clock).wait_until(NOON, anyio.Event())
    assert looks == [NOON - timedelta(milliseconds=1), NOON - YEAR]


async def test_a_clock_that_is_set_back_to_before_a_begin_ends_a_wait(clock: SetClock) -> None:
    def jump() -> None:
        clock.time -= YEAR * (clock.looks == 2)

    clock.on_look = jump
    at, begins = clock.time + timedelta(seconds=0.02), iter([None, NOON])
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        await SystemTime(clock).wait_until(at, anyio.Event(), lambda: next(begins))
        assert clock.looks == 2
        await SystemTime(clock).wait_until(
            at, anyio.Event(), lambda: NOON
        )  # it is set back already
    with anyio.move_on_after(0.05) as scope:
        await SystemTime(clock).wait_until(at, anyio.Event(), lambda: clock.time)
    assert scope.cancelled_caught


async def test_a_clock_that_stands_still_before_the_moment_burns_no_time(clock: SetClock) -> None:
    began = anyio.current_time()
    with anyio.fail_after(SECONDS_AGAINST_HANGS), anyio.CancelScope() as scope:
        clock.on_look = lambda: scope.cancel() if clock.looks == 50 else None
        await SystemTime(clock).wait_until(NOON + timedelta(microseconds=1), anyio.Event())
    assert scope.cancelled_caught
    assert anyio.current_time() - began > 0.045, "more than a look in a millisecond"


async def test_a_limit_cancels_a_scope_by_seconds(clock: SetClock) -> None:
    system = SystemTime(clock)
    for is_entered in (True, False):
        with anyio.fail_after(SECONDS_AGAINST_HANGS), anyio.CancelScope() as scope:
            if is_entered:
                system.limit(scope, 3_600)
            began = anyio.current_time()
            system.limit(scope, 0.02)
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() - began > 0.019
    assert clock.looks == 0
    with anyio.CancelScope() as scope:
        system.limit(scope, -1)
        await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_a_mark_of_work_is_nothing_to_real_time(clock: SetClock) -> None:
    with SystemTime(clock).at_work():
        assert clock.looks == 0
