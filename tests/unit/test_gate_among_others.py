"""The gate beside other movers of its jobs, from its start to its end."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from engine import (
    EngineClosedError,
    EngineNotStartedError,
    EngineStartedError,
    Gate,
    InvalidStateTransitionError,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    LifecycleError,
    NewJob,
    SyncJobEngine,
    VersionConflictError,
    WaitingJobs,
)
from engine.storage.record import Record
from engine.testing import VirtualClock
from tests.tries import repeatable, report, seeds, tries
from tests.unit.calls import calls_during
from tests.unit.claiming import NewPlace
from tests.unit.gating import Asked, complaints, nobody

pytestmark = pytest.mark.anyio

WAITING, RUNNING = JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING
HOUR = timedelta(hours=1)
PAGE = 1_000  # so many jobs the gate reads at once


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the gate logs a warning."""
    yield
    assert complaints(caplog) == []


# Other movers.


class Race:
    """A gate that lets every job through, and another task that moves the same jobs."""

    def __init__(self, engine: JobEngine, random: Random) -> None:
        self._engine = engine
        self._random = random
        self.won_outside: list[str] = []

    async def check(self, jobs: WaitingJobs) -> list[str]:
        chosen = [job.job_id for job in jobs]
        await self._take_some_time()
        return chosen

    async def outside(self, job: Job) -> None:
        await self._take_some_time()
        version = self._random.choice([None, job.version])
        try:
            await self._engine.transition(job.job_id, RUNNING, expected_version=version)
        except (InvalidStateTransitionError, VersionConflictError):
            return
        self.won_outside.append(job.job_id)

    async def _take_some_time(self) -> None:
        for _ in range(self._random.randrange(12)):
            await anyio.lowlevel.checkpoint()


@pytest.mark.usefixtures("quiet")
async def test_of_the_gate_and_a_callback_exactly_one_wins(clock: VirtualClock) -> None:
    by_gate = by_callback = 0
    for seed in seeds(1_000):
        with repeatable(seed, "race"):
            async with JobEngine(clock=clock) as engine:
                race = Race(engine, Random(seed))
                async with Gate(engine, race.check), anyio.create_task_group() as group:
                    jobs = [await engine.create("hash") for _ in range(5)]
                    for job in jobs:
                        group.start_soon(race.outside, job)
                    await clock.advance(10)
                for job in jobs:
                    lines = await engine.history(job.job_id)
                    assert [line.to_status for line in lines] == [WAITING, RUNNING]
            by_callback += len(race.won_outside)
            by_gate += len(jobs) - len(race.won_outside)
    report(f"won by the gate: {by_gate}, by the callback: {by_callback}")
    assert min(by_gate, by_callback) > tries(1_000) / 5


@pytest.mark.usefixtures("quiet")
async def test_nobody_is_missed_who_comes_while_the_gate_opens(clock: VirtualClock) -> None:
    changes = 0

    async def come_and_go(engine: JobEngine, jobs: list[Job], random: Random) -> None:
        nonlocal changes
        while True:
            if random.random() < 0.3:
                jobs.append(await engine.create("new"))
            else:
                # Mostly the last jobs, which are read last.
                chosen = jobs.pop(-random.randrange(1, 40))
                await engine.transition(chosen.job_id, RUNNING)
            changes += 1

    for seed in seeds(100):
        with repeatable(seed, "opening"):
            random, asked = Random(seed), Asked(clock, [])
            async with JobEngine(clock=clock) as engine:
                jobs = await engine.create_many(NewJob("old") for _ in range(2 * PAGE + 100))
                async with anyio.create_task_group() as group:
                    for _ in range(10):
                        group.start_soon(come_and_go, engine, jobs, random)
                    await anyio.lowlevel.checkpoint()
                    async with Gate(engine, asked):
                        group.cancel_scope.cancel()
                        with anyio.CancelScope(shield=True):
                            await clock.advance(10)  # the calls in progress are decided
                            waiting = [job async for job in listed(engine, WAITING)]
            assert asked.jobs[-1] == waiting  # oldest first
    report(f"jobs that came or went: {changes}")
    assert changes > tries(100) * 20


async def listed(engine: JobEngine, status: JobStatus) -> AsyncIterator[str]:
    page = await engine.list_jobs(status, limit=1_000)
    while True:
        for job in page.jobs:
            yield job.job_id
        if page.next_cursor is None:
            return
        page = await engine.list_jobs(status, limit=1_000, after=page.next_cursor)


async def test_after_a_restart_it_lets_in_who_waited_before(
    clock: VirtualClock, lasting_place: NewPlace
) -> None:
    async with JobEngine(lasting_place(), clock=clock) as engine, Gate(engine, nobody):
        jobs = [await engine.create(f"hash {number}") for number in range(3)]
        await engine.transition(jobs[1].job_id, RUNNING)
        await clock.advance(10)
    asked = Asked(clock, lambda waiting: waiting)
    async with JobEngine(lasting_place(), clock=clock) as engine:
        async with Gate(engine, asked):
            await clock.advance(1)
        assert asked.jobs == [[jobs[0].job_id, jobs[2].job_id]]
        assert await engine.count(RUNNING) == 3


# Start and end.


@pytest.mark.parametrize("fails_then", [False, True])
async def test_leaving_cancels_a_check_and_asks_no_more(
    clock: VirtualClock, *, fails_then: bool
) -> None:
    cancelled = anyio.Event()

    async def check(_jobs: WaitingJobs) -> list[str]:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
            if fails_then:
                raise ConnectionError("closed too late")
        return []

    async with JobEngine(clock=clock) as engine:
        async with Gate(engine, check):
            await engine.create("hash")
            await clock.advance(1)
            assert not cancelled.is_set()
        assert cancelled.is_set()
        asked = Asked(clock, [])
        async with Gate(engine, asked):
            await clock.advance(1)
        await clock.advance(HOUR)
        assert len(asked.seconds) == 1
        assert (await engine.statistics()).watchers == 0


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("at_a_check", [False, True])
async def test_it_ends_when_the_program_is_cancelled(
    clock: VirtualClock, *, at_a_check: bool
) -> None:
    asked = Asked(clock, lambda _jobs: anyio.sleep_forever() if at_a_check else [])
    with anyio.fail_after(60), anyio.CancelScope() as scope:
        async with JobEngine(clock=clock) as engine, Gate(engine, asked):
            await engine.create("hash")
            await clock.advance(1)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert len(asked.seconds) == 1


@pytest.mark.usefixtures("quiet")
async def test_the_engine_may_end_first(clock: VirtualClock) -> None:
    asked = Asked(clock, [])
    with anyio.fail_after(60):
        async with JobEngine(clock=clock) as engine:
            gate = await Gate(engine, asked).__aenter__()
            await engine.create("hash")
            await clock.advance(1)
        await gate.__aexit__(None, None, None)
    await clock.advance(HOUR)
    assert len(asked.seconds) == 1


def test_the_engine_of_threads_may_end_first() -> None:
    with SyncJobEngine() as engine, Gate(engine, nobody, interval_seconds=0.001):
        engine.create("hash")
        engine.close()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("engine", None),
        ("check", None),
        ("check", "check"),
        ("interval_seconds", 0),
        ("interval_seconds", "5"),
        ("timeout_seconds", -1),
        ("status", "waiting"),
        ("target", JobStatus.RUNNING.value.upper()),
    ],
)
def test_wrong_arguments_are_named(argument: str, value: object) -> None:
    arguments: dict[str, Any] = {"engine": JobEngine(), "check": nobody, argument: value}
    field = "status" if argument == "target" else argument
    with pytest.raises(InvalidValueError, match=field):
        Gate(**arguments)


async def test_a_way_that_the_lifecycle_does_not_have_is_refused() -> None:
    with pytest.raises(LifecycleError, match="from awaiting_payment to completed"):
        Gate(JobEngine(), nobody, target=JobStatus.COMPLETED)
    with pytest.raises(LifecycleError, match="from completed to running"):
        Gate(JobEngine(), nobody, status=JobStatus.COMPLETED)


async def test_it_is_entered_once_and_while_its_engine_is_open() -> None:
    with pytest.raises(EngineNotStartedError):
        async with Gate(JobEngine(), nobody):
            pass
    async with JobEngine() as engine:
        gate = Gate(engine, nobody)
        async with gate:
            pass
        with pytest.raises(EngineStartedError):
            async with gate:
                pass
        with pytest.raises(InvalidValueError, match="use `async with`"), Gate(engine, nobody):
            pass
    with pytest.raises(EngineClosedError):
        async with Gate(engine, nobody):
            pass


async def test_an_engine_of_threads_has_no_async_gate() -> None:
    blocking = SyncJobEngine(may_block_event_loop=True)
    with blocking as engine, pytest.raises(InvalidValueError, match="use `with`"):
        async with Gate(engine, nobody):
            pass


# The costs.


async def test_to_let_one_in_takes_no_work_for_the_others(clock: VirtualClock) -> None:
    few = await calls_to_let_one_in(clock, 10)
    many = await calls_to_let_one_in(clock, tries(100_000))
    report(f"calls of functions with 10 waiting jobs: {few}, with {tries(100_000)}: {many}")
    assert few > 100
    assert many < 2 * few


async def calls_to_let_one_in(clock: VirtualClock, count: int) -> int:
    """Return the number of function calls until one of so many jobs goes on."""
    paid: list[str] = []

    async def check(waiting: WaitingJobs) -> list[Job]:
        assert len(waiting) == count
        return [job for each in paid if (job := waiting.get(each)) is not None]

    async with JobEngine(clock=clock) as engine:
        for start in range(0, count, 10_000):
            some = range(start, min(start + 10_000, count))
            jobs = await engine.create_many(NewJob("hash") for _ in some)
        async with Gate(engine, check, interval_seconds=10):
            await clock.advance(1)
            core = engine.core
            counting: Any = Counting(core.views)
            core.views = counting
            paid.append(jobs[-1].job_id)
            calls = await calls_during(partial(clock.advance, 12))
            assert counting.made == paid
            assert await engine.count(RUNNING) == 1
    return calls


class Counting:
    """Makes snapshots, and records their jobs."""

    def __init__(self, snapshots: Any) -> None:  # noqa: ANN401 - stands in for it
        self._snapshots = snapshots
        self.made: list[str] = []

    def job(self, record: Record) -> Job:
        self.made.append(record.job_id)
        job: Job = self._snapshots.job(record)
        return job
