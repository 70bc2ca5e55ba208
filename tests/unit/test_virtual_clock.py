"""The virtual clock: time passes in order, as far as wanted, and only while all are blocked."""

import gc
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import inf
from threading import Event as ThreadEvent
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from engine.domain.exceptions import InvalidValueError
from engine.portal.time import time_of
from engine.testing.virtual_clock import StandstillError, VirtualClock
from tests.tries import rounds

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)
REAL_SECONDS = 60  # far above the real time of these tests, far below the virtual time


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(patience_seconds=0.1)


class Diary:
    """The tasks that were woken, with the seconds since the start by the clock's calendar."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.lines: list[tuple[str, float]] = []

    async def after(self, name: str, wait: Callable[..., Awaitable[None]], *how: Any) -> None:  # noqa: ANN401 - arguments of a wait
        await wait(*how)
        self.lines.append((name, (self._clock() - START).total_seconds()))


def due_count(clock: VirtualClock) -> int:
    gc.collect()
    return len(clock._due)  # noqa: SLF001 - the only way to see leaks


def test_it_is_a_clock_and_the_time_of_it(clock: VirtualClock) -> None:
    assert clock() == clock.now() == START
    assert clock().tzinfo is UTC
    assert time_of(clock) is clock
    assert VirtualClock(datetime.fromisoformat("2026-01-01T01:00:00+01:00"))() == START
    with pytest.raises(InvalidValueError):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - the fault of the value


async def test_time_passes_as_far_as_it_is_told(clock: VirtualClock) -> None:
    await clock.advance(0.5)
    await clock.advance(HOUR)
    await clock.advance(0)
    assert clock() == START + timedelta(hours=1, seconds=0.5)
    with pytest.raises(InvalidValueError, match="by must be 0 or more"):
        await clock.advance(-1)


async def test_all_that_falls_due_on_the_way_is_woken_in_its_order(clock: VirtualClock) -> None:
    diary = Diary(clock)
    never = anyio.Event()

    async def limited() -> None:
        with anyio.CancelScope() as scope:
            clock.limit(scope, 15)
            await anyio.sleep_forever()

    async def again() -> None:
        await clock.sleep(12)
        await diary.after("slept again", clock.sleep, 5)

    async with anyio.create_task_group() as group:
        group.start_soon(again)
        group.start_soon(diary.after, "late", clock.sleep, 30.001)
        group.start_soon(diary.after, "slept", clock.sleep, 20)
        group.start_soon(diary.after, "limited", limited)
        at = START + timedelta(seconds=10)
        group.start_soon(diary.after, "until", clock.wait_until, at, never)
        group.start_soon(diary.after, "at the end", clock.sleep, 30)
        await clock.advance(30)
        assert diary.lines == [
            *(("until", 10), ("limited", 15), ("slept again", 17), ("slept", 20)),
            ("at the end", 30),
        ]
        assert clock() == START + timedelta(seconds=30)
        await clock.advance(1)
    assert diary.lines[5:] == [("late", 30.001)]
    assert due_count(clock) == 0


async def test_tasks_are_blocked_again_before_time_goes_on(clock: VirtualClock) -> None:
    seen: list[datetime] = []

    async def busy() -> None:
        await clock.sleep(1)
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        seen.append(clock())

    async with anyio.create_task_group() as group:
        group.start_soon(busy)
        group.start_soon(clock.sleep, 2)
        await clock.advance(3)
        assert seen == [START + timedelta(seconds=1)]


async def test_waits_for_nothing_let_others_run_and_are_over(clock: VirtualClock) -> None:
    with anyio.fail_after(REAL_SECONDS):
        await clock.sleep(0)
        await clock.sleep(-1)
        await clock.wait_until(START, anyio.Event())
        await clock.wait_until(START - YEAR, anyio.Event())
    for wait in (clock.sleep(0), clock.wait_until(START, anyio.Event())):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await wait
        assert scope.cancelled_caught


@pytest.mark.parametrize("at", [None, START + HOUR])
async def test_an_event_ends_a_wait(clock: VirtualClock, at: datetime | None) -> None:
    diary, earlier = Diary(clock), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(diary.after, "until", clock.wait_until, at, earlier)
        await clock.advance(60)
        assert diary.lines == []
        earlier.set()
    assert diary.lines == [("until", 60)]
    assert due_count(clock) == 0


async def test_a_jump_back_to_before_a_begin_ends_a_wait(clock: VirtualClock) -> None:
    diary, never = Diary(clock), anyio.Event()
    begin: list[datetime | None] = [None]
    async with anyio.create_task_group() as group:
        wait = clock.wait_until
        group.start_soon(diary.after, "begun", wait, START + HOUR, never, lambda: begin[0])
        group.start_soon(diary.after, "other", wait, START + HOUR, never)
        await clock.advance(60)
        clock.jump(-YEAR)
        await clock.advance(0)
        assert diary.lines == []
        begin[0] = START
        clock.jump(-1)
        await clock.advance(0)
        assert [name for name, _ in diary.lines] == ["begun"]
        with anyio.fail_after(REAL_SECONDS):
            await wait(START, anyio.Event(), lambda: begin[0])  # it is set back already
        await clock.advance(2 * YEAR)
    assert [name for name, _ in diary.lines] == ["begun", "other"]
    assert due_count(clock) == 0


@pytest.mark.parametrize("by", [HOUR, YEAR, 3_600.0])
async def test_a_jump_ends_waits_for_what_has_come_and_no_others(
    clock: VirtualClock, by: timedelta | float
) -> None:
    diary, never = Diary(clock), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(diary.after, "come", clock.wait_until, START + HOUR, never)
        group.start_soon(diary.after, "later", clock.wait_until, START + 2 * YEAR, never)
        group.start_soon(diary.after, "slept", clock.sleep, 3_600)
        await clock.advance(0)
        clock.jump(by)
        await anyio.wait_all_tasks_blocked()
        assert [name for name, _ in diary.lines] == ["come"]
        await clock.advance(3_600)
        assert [name for name, _ in diary.lines] == ["come", "slept"]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("back", [HOUR, YEAR])
async def test_a_jump_back_makes_waits_longer_and_sleeps_not(
    clock: VirtualClock, back: timedelta
) -> None:
    diary, never = Diary(clock), anyio.Event()
    with anyio.CancelScope() as scope:
        clock.limit(scope, 60)
        async with anyio.create_task_group() as group:
            group.start_soon(diary.after, "until", clock.wait_until, START + HOUR, never)
            group.start_soon(diary.after, "slept", clock.sleep, 59)
            await clock.advance(1)
            clock.jump(-back)
            assert clock() == START + timedelta(seconds=1) - back
            await clock.advance(58)
            assert diary.lines == [("slept", 59 - back.total_seconds())]
            clock.limit(scope, inf)
            await clock.advance(back + HOUR - timedelta(seconds=59.5))
            assert len(diary.lines) == 1
            await clock.advance(0.5)
    assert diary.lines[1:] == [("until", 3_600)]


async def test_a_limit_is_met_and_the_last_one_counts(clock: VirtualClock) -> None:
    with anyio.CancelScope() as scope:
        clock.limit(scope, 10)
        clock.limit(scope, 60)
        await clock.advance(59.9)
        assert not scope.cancel_called
        clock.limit(scope, 0.2)
        await clock.advance(1)
    assert scope.cancelled_caught
    assert clock() == START + timedelta(seconds=60.1)
    with anyio.CancelScope() as scope:
        clock.limit(scope, 0)
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_what_was_cancelled_or_is_over_leaves_nothing_behind(clock: VirtualClock) -> None:
    async def limited() -> None:
        with anyio.CancelScope() as scope:
            clock.limit(scope, 60)
            await clock.sleep(1)

    kept: list[BaseException] = []  # with the frames of the ended task

    async def keeping() -> None:
        try:
            await clock.sleep(5)
        except anyio.get_cancelled_exc_class() as cancelled:
            kept.append(cancelled)
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(keeping)
        group.start_soon(limited)
        group.start_soon(clock.wait_until, START + HOUR, anyio.Event())
        await anyio.wait_all_tasks_blocked()
        assert due_count(clock) == 4
        group.cancel_scope.cancel()
    assert due_count(clock) == 0
    assert len(kept) == 1
    await clock.run_until(limited)
    assert due_count(clock) == 0
    assert clock() == START + timedelta(seconds=1)


async def test_work_of_hours_ends_at_once_with_its_answer(clock: VirtualClock) -> None:
    async def retried() -> str:
        for _ in range(12):
            await clock.sleep(3_600)
        await clock.wait_until(START + YEAR, anyio.Event())
        return "done"

    began = time.monotonic()
    assert await clock.run_until(retried) == "done"
    assert clock() == START + YEAR
    assert await clock.run_until(retried()) == "done"
    assert clock() == START + YEAR + 12 * HOUR
    assert time.monotonic() - began < REAL_SECONDS


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, pytest.fail.Exception])
async def test_an_error_of_the_work_comes_out_as_it_is(
    clock: VirtualClock, kind: type[BaseException]
) -> None:
    error = kind("planted")

    async def failing() -> None:
        await clock.sleep(60)
        raise error

    with pytest.raises(kind) as caught:
        await clock.run_until(failing)
    assert caught.value is error


async def test_what_will_never_be_done_is_an_error_and_is_cancelled(clock: VirtualClock) -> None:
    is_cancelled = False

    async def stuck() -> None:
        nonlocal is_cancelled
        await clock.sleep(60)
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            is_cancelled = True
            raise

    with anyio.fail_after(REAL_SECONDS), pytest.raises(StandstillError, match="0:01:00 after the"):
        await clock.run_until(stuck)
    assert is_cancelled
    await clock.advance(1)  # it can be moved again


async def test_a_cancellation_from_outside_cancels_the_work(clock: VirtualClock) -> None:
    with anyio.CancelScope() as scope:

        async def cancelling() -> None:
            await clock.sleep(1)
            scope.cancel()
            await clock.sleep(1)

        await clock.run_until(cancelling)
    assert scope.cancelled_caught
    assert clock() == START + timedelta(seconds=1)


async def test_real_waits_end_before_patience_does() -> None:
    clock = VirtualClock(patience_seconds=REAL_SECONDS)
    await clock.run_until(lambda: anyio.to_thread.run_sync(time.sleep, 0.1))
    assert clock() == START


PATIENCE_SECONDS = 0.3


class Pieces:
    """Marked work in pieces, each shorter than a clock's patience, and together longer."""

    def __init__(self) -> None:
        self.clock = VirtualClock(patience_seconds=PATIENCE_SECONDS)
        self.longest_seconds = 0.0

    async def work(self) -> None:
        for _ in range(20):
            began = anyio.current_time()
            try:
                with self.clock.at_work():
                    await anyio.to_thread.run_sync(time.sleep, 0.02)
            finally:
                self.longest_seconds = max(self.longest_seconds, anyio.current_time() - began)


async def _check_with_pieces(check: Callable[[Pieces], Awaitable[None]]) -> None:
    """Check with new work, and again if the machine was too busy for such short pieces."""
    for _ in rounds():
        pieces = Pieces()
        try:
            await check(pieces)
            break
        except AssertionError:
            if pieces.longest_seconds < PATIENCE_SECONDS / 2:
                raise


async def test_time_stands_still_for_each_piece_of_marked_work() -> None:
    async def check(pieces: Pieces) -> None:
        with anyio.CancelScope() as scope:
            pieces.clock.limit(scope, 60)
            await pieces.clock.run_until(pieces.work)
        assert not scope.cancelled_caught
        assert pieces.clock() == START

    await _check_with_pieces(check)


@pytest.mark.thorough
async def test_marked_work_may_take_longer_than_patience_in_all() -> None:
    async def check(pieces: Pieces) -> None:
        await pieces.clock.run_until(pieces.work)  # though nothing is due

    await _check_with_pieces(check)


async def test_time_goes_on_without_work_that_takes_too_long(clock: VirtualClock) -> None:
    may_end = ThreadEvent()

    async def working() -> None:
        with clock.at_work():
            await anyio.to_thread.run_sync(may_end.wait, abandon_on_cancel=True)

    with anyio.fail_after(REAL_SECONDS):
        with anyio.CancelScope() as scope:
            clock.limit(scope, 3_600)
            await clock.run_until(working)
        assert scope.cancelled_caught
        assert clock() == START + HOUR
    may_end.set()


async def test_one_task_at_a_time_moves_it(clock: VirtualClock) -> None:
    async def moving() -> None:
        await clock.advance(1)

    with pytest.raises(anyio.BusyResourceError):
        await clock.run_until(moving)


async def test_a_sleep_past_all_times_is_for_ever(clock: VirtualClock) -> None:
    with pytest.raises(StandstillError):
        await clock.run_until(lambda: clock.sleep(1e12))
    with pytest.raises(StandstillError):
        await clock.run_until(lambda: clock.sleep(inf))
    assert clock() == START
