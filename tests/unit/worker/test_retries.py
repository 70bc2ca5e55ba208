"""Retries: the errors, the number, the delays; and their survival of a restart."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from engine import Retry
from engine.domain.deaths import NOT_REPEATED
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, NewPlace, agents, claimed_one, running
from tests.unit.worker.at_work import COMPLETED, FAILED, RUNNING, ended, working

pytestmark = pytest.mark.anyio

EXACT = Retry(max_attempts=4, first_delay_seconds=10, factor=3, max_delay_seconds=50, jitter=0)


class FinalError(Exception):
    retryable = False


class Failing:
    """A handler that fails some times, and records its calls.

    Attributes:
        calls: The number of each attempt, and the seconds since the first.
    """

    def __init__(self, clock: VirtualClock, times: int, error: BaseException | None = None) -> None:
        self._clock = clock
        self._times = times
        self._error = OSError("not now") if error is None else error
        self._began = clock()
        self.calls: list[tuple[int, float]] = []

    async def __call__(self, job: AgentJob) -> str:
        self.calls.append((job.attempt, (self._clock() - self._began).total_seconds()))
        if len(self.calls) <= self._times:
            raise self._error
        return "at last"


async def test_it_is_tried_again_after_delays_that_grow() -> None:
    clock = VirtualClock()
    handler = Failing(clock, 3)
    async with working(handler, clock=clock, retry=EXACT) as engine:
        job = await clock.run_until(ended(engine))
        assert (job.status, job.result, job.attempt) == (COMPLETED, "at last", 4)
        assert handler.calls == [(1, 0), (2, 10), (3, 40), (4, 90)]
        assert (await engine.statistics()).retried == 3
        assert len(await engine.history(job.job_id)) == 3, "attempts are no transitions"


async def test_the_last_attempt_that_fails_fails_the_job() -> None:
    clock = VirtualClock()
    handler = Failing(clock, 9)
    async with working(handler, clock=clock, retry=EXACT) as engine:
        job = await clock.run_until(ended(engine))
        assert (job.status, job.error, job.attempt) == (FAILED, "OSError: not now", 4)
        assert job.next_attempt_at is None
    assert len(handler.calls) == 4


@pytest.mark.parametrize(
    ("retry", "error"),
    [
        (Retry(retry_on=(ConnectionError, LookupError)), OSError("another one")),
        (Retry(retry_on=()), OSError("none is")),
        (Retry(max_attempts=1), OSError("no retries")),
        (Retry(), FinalError("it says so itself")),
        (Retry(), SystemExit("no exception")),
        (Retry(), BaseExceptionGroup("two", [SystemExit(), ValueError()])),
    ],
    ids=str,
)
async def test_other_errors_fail_the_job_at_once(retry: Retry, error: BaseException) -> None:
    handler = Failing(VirtualClock(), 9, error)
    async with working(handler, retry=retry) as engine:
        job = await ended(engine)
        assert (job.status, job.attempt) == (FAILED, 1)
        assert (job.error or "").startswith(type(error).__name__)


async def test_a_class_of_errors_is_retried_with_all_that_derive_from_it() -> None:
    clock = VirtualClock()
    handler = Failing(clock, 1, KeyError("missing"))
    async with working(handler, clock=clock, retry=Retry(retry_on=LookupError)) as engine:
        assert (await clock.run_until(ended(engine))).attempt == 2


class BusyError(Exception):
    """An error that says when to try again."""

    def __init__(self, seconds: object) -> None:
        super().__init__("too many requests")
        self.retry_after_seconds = seconds


class BrokenError(Exception):
    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self._error = error

    @property
    def retry_after_seconds(self) -> float:
        raise self._error


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        *((BusyError(25), 25), (BusyError(0), 0), (BusyError(0.5), 0.5), (BusyError(None), 10)),
        *((BusyError(51), 50), (BusyError(10**30), 50)),
    ],
    ids=repr,
)
async def test_an_error_may_say_when_to_try_again(
    asked: Exception, delay: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    handler = Failing(clock, 1, asked)
    async with working(handler, clock=clock, retry=EXACT) as engine:
        assert (await clock.run_until(ended(engine))).status is COMPLETED
    assert handler.calls == [(1, 0), (2, delay)]
    assert "retry_after_seconds" not in caplog.text


@pytest.mark.parametrize(
    "asked",
    [
        *map(BusyError, (-1, float("nan"), float("inf"), 10**400, True, "30", 10j, [])),
        *map(BrokenError, (ZeroDivisionError(), SystemExit(9))),
    ],
    ids=repr,
)
async def test_what_is_no_delay_is_ignored_and_logged(
    asked: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    handler = Failing(clock, 1, asked)
    async with working(handler, clock=clock, retry=EXACT) as engine:
        assert (await clock.run_until(ended(engine))).status is COMPLETED
    assert handler.calls == [(1, 0), (2, 10)]
    assert "retry_after_seconds" in caplog.text


async def test_a_delay_is_spread_by_the_jitter() -> None:
    clock = VirtualClock()
    handler = Failing(clock, 20)
    retry = Retry(max_attempts=30, first_delay_seconds=100, factor=1, jitter=0.5)
    async with working(handler, clock=clock, retry=retry) as engine:
        await clock.run_until(ended(engine))
    times = [at for _, at in handler.calls]
    delays = [after - before for before, after in pairwise(times)]
    assert 50 <= min(delays) < 90
    assert 110 < max(delays) <= 150


async def test_the_time_of_the_next_attempt_outlives_a_restart(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    handler = Failing(clock, 1)
    retry = Retry(first_delay_seconds=3_600, jitter=0)
    async with working(handler, lasting_place(), clock=clock, retry=retry) as engine:
        job = await running(engine)
        await clock.advance(0)
        waiting = await engine.get(job.job_id)
        assert (waiting.status, waiting.attempt) == (RUNNING, 1)
        assert waiting.next_attempt_at == clock() + timedelta(hours=1)
        assert (await engine.statistics()).waiting == 1
    await clock.advance(1_000)
    async with working(handler, lasting_place(), clock=clock, retry=retry) as engine:
        assert await engine.get(job.job_id) == waiting
        await clock.advance(2_599)
        assert len(handler.calls) == 1
        await clock.advance(1)
        assert (await engine.get(job.job_id)).result == "at last"
    assert handler.calls == [(1, 0), (2, 3_600)]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_what_was_in_the_middle_at_a_crash_is_run_again_or_failed(
    lasting_place: NewPlace, *, idempotent: bool
) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await claimed_one(engine)  # the attempt is dead, as after a crash
    handler = Failing(VirtualClock(), 0)
    retry = Retry(first_delay_seconds=0)
    async with working(handler, lasting_place(), idempotent=idempotent, retry=retry) as engine:
        done = await engine.wait(job.job_id)
        if idempotent:
            assert (done.status, done.attempt, done.result) == (COMPLETED, 2, "at last")
        else:
            assert done.status is FAILED
            assert done.error == f"the process ended during attempt 1, and {NOT_REPEATED}"
            assert handler.calls == []


@pytest.mark.parametrize(("max_deaths", "again"), [(3, True), (2, False)])
async def test_deaths_are_counted_apart_from_failures(
    lasting_place: NewPlace, max_deaths: int, *, again: bool
) -> None:
    handler, no_delay = Failing(VirtualClock(), 1), Retry(max_attempts=2, first_delay_seconds=0)
    async with agents(lasting_place()) as engine:
        job = await running(engine)
    for _ in range(2):
        async with agents(lasting_place()) as engine:
            await claimed_one(engine, retry=no_delay)
    place = lasting_place()
    async with working(handler, place, retry=no_delay, max_deaths=max_deaths) as engine:
        done = await engine.wait(job.job_id)
        assert done.status is (COMPLETED if again else FAILED)
        assert done.attempt == (4 if again else 2)
        assert len(handler.calls) == (2 if again else 0)
