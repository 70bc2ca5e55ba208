"""The gate: checks all waiting jobs on schedule, moves the allowed ones, and survives faults."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    EngineClosedError,
    EngineNotStartedError,
    Gate,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    SyncJobEngine,
    Transition,
    WaitingJobs,
    Worker,
)
from engine.testing import VirtualClock
from tests.unit.claiming import NewPlace
from tests.unit.gating import Asked, complaints, everybody

pytestmark = pytest.mark.anyio

WAITING, RUNNING = JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the gate logs a warning."""
    yield
    assert complaints(caplog) == []


# The jobs that may go on.


@pytest.mark.usefixtures("quiet")
async def test_those_that_may_go_on_and_no_others(clock: VirtualClock, new_place: NewPlace) -> None:
    async with JobEngine(new_place(), clock=clock) as engine:
        jobs = [await engine.create(f"hash {number}") for number in range(5)]
        gone = await engine.create("gone")
        await engine.transition(gone.job_id, RUNNING)
        by_id, by_job = jobs[1].job_id, jobs[3]
        asked = Asked(clock, [by_id, by_job, gone, "unknown", "", by_id, by_job], [])
        async with Gate(engine, asked):
            await clock.advance(HOUR)
        assert asked.jobs[0] == [job.job_id for job in jobs]
        assert asked.jobs[1] == [jobs[number].job_id for number in (0, 2, 4)]
        found = await engine.get_many(job.job_id for job in jobs)
        assert [job.status is RUNNING for job in found] == [False, True, False, True, False]
        assert {job.version for job in found} == {1, 2}


@pytest.mark.usefixtures("quiet")
async def test_all_that_wait_are_asked_for_however_large_they_are(
    clock: VirtualClock, new_place: NewPlace
) -> None:
    async with JobEngine(new_place(), clock=clock) as engine:
        jobs = await engine.create_many([NewJob("hash", input="x" * 250_000)] * 150)
        asked = Asked(clock, [])
        async with Gate(engine, asked):
            await clock.advance(1)
        assert asked.jobs[0] == [job.job_id for job in jobs]


async def test_a_check_sees_those_that_wait_while_it_looks(clock: VirtualClock) -> None:
    async with JobEngine(clock=clock) as engine:
        stays, goes = [await engine.create(name) for name in ("stays", "goes")]

        async def check(jobs: WaitingJobs) -> list[str]:
            assert (len(jobs), list(jobs)) == (2, [stays, goes])
            await engine.transition(goes.job_id, RUNNING)
            comes = await engine.create("comes")
            assert list(jobs) == [stays, comes]
            assert stays in jobs
            assert comes.job_id in jobs  # type: ignore[comparison-overlap] # a job or its id
            assert goes not in jobs
            assert (jobs.get(stays.job_id), jobs.get(goes.job_id)) == (stays, None)
            seen.append(len(jobs))
            return [goes.job_id]

        seen: list[int] = []
        async with Gate(engine, check, interval_seconds=3_600):
            await clock.advance(1)
        assert seen == [2]


def test_it_serves_threads() -> None:
    with SyncJobEngine() as engine, Gate(engine, everybody, interval_seconds=0.01):
        for _ in range(3):
            job = engine.create("hash")
            assert engine.wait(job.job_id, until=[RUNNING], timeout=30).status is RUNNING


@pytest.mark.usefixtures("quiet")
async def test_more_may_go_on_than_the_inbox_holds(clock: VirtualClock) -> None:
    async with JobEngine(clock=clock, max_waiting=10) as engine:
        jobs = [await engine.create("hash") for _ in range(35)]
        async with Gate(engine, everybody):
            await clock.advance(1)
        assert await engine.count(RUNNING) == len(jobs)


async def test_it_may_be_of_another_status_and_lead_elsewhere(clock: VirtualClock) -> None:
    status = AgentJobStatus
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE, clock=clock) as engine:
        unpaid, running = [await engine.create(name) for name in ("unpaid", "running")]
        await engine.transition(running.job_id, status.RUNNING)
        async with (
            Gate(engine, everybody, status=status.RUNNING, target=status.AWAITING_INPUT),
            Gate(engine, everybody, target=status.FAILED),
        ):
            await clock.advance(1)
        assert (await engine.get(unpaid.job_id)).status is status.FAILED
        assert (await engine.get(running.job_id)).status is status.AWAITING_INPUT


@pytest.mark.usefixtures("quiet")
async def test_jobs_that_an_attempt_has_are_passed_over(clock: VirtualClock) -> None:
    async def work(_job: Job) -> None:
        await clock.sleep(3_600)

    async with (
        JobEngine(clock=clock) as engine,
        Worker(engine, work, grace_seconds=0),
        Gate(engine, everybody, status=RUNNING, target=JobStatus.FAILED),
    ):
        job = await engine.create("hash")
        await engine.transition(job.job_id, RUNNING)
        await clock.advance(HOUR)
        assert (await engine.get(job.job_id)).status is JobStatus.COMPLETED


# The times of the checks.


async def test_it_asks_at_its_interval_a_little_spread(clock: VirtualClock) -> None:
    asked = Asked(clock, [])
    async with JobEngine(clock=clock) as engine, Gate(engine, asked, interval_seconds=60):
        await engine.create("hash")
        await clock.advance(300 * 60)
    pauses = asked.pauses()
    assert 270 < len(pauses) < 335
    assert all(54 <= pause <= 66 for pause in pauses)
    assert min(pauses) < 56  # with 300 of them, never by chance
    assert max(pauses) > 64


async def test_it_asks_nothing_while_nobody_waits_and_at_once_when_somebody_does(
    clock: VirtualClock,
) -> None:
    asked = Asked(clock, lambda jobs: jobs)
    async with JobEngine(clock=clock) as engine, Gate(engine, asked, interval_seconds=60):
        await clock.advance(1_000)
        assert asked.seconds == []
        await engine.create("hash")
        await clock.advance(1_000)
        assert asked.seconds == [1_000]


async def test_after_errors_it_asks_ever_less_often_and_then_as_before(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked(clock, *[ConnectionError("no network")] * 8, [])
    async with JobEngine(clock=clock) as engine, Gate(engine, asked, interval_seconds=10):
        await engine.create("hash")
        await clock.advance(HOUR)
    for pause, wanted in zip(asked.pauses(), [20, 40, 80, 160, 300, 300, 300, 300, 10, 10]):  # noqa: B905 - more follow
        assert 0.9 * wanted <= pause <= 1.1 * wanted
    errors = [record for record in caplog.records if record.name == "engine.gate"]
    assert len(errors) == 8
    assert {str(record.exc_info and record.exc_info[1]) for record in errors} == {"no network"}


async def test_a_long_interval_gets_no_shorter_by_errors(clock: VirtualClock) -> None:
    asked = Asked(clock, ConnectionError("no network"))
    async with JobEngine(clock=clock) as engine, Gate(engine, asked, interval_seconds=3_600):
        await engine.create("hash")
        await clock.advance(10 * HOUR)
    assert min(asked.pauses()) >= 0.9 * 3_600


async def test_a_check_that_takes_too_long_is_given_up(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked(clock, lambda _jobs: anyio.sleep_forever(), lambda jobs: jobs)
    async with JobEngine(clock=clock) as engine:
        job = await engine.create("hash")
        async with Gate(engine, asked, timeout_seconds=30):
            await clock.advance(29)
            assert caplog.records == []
            await clock.advance(20)
        assert (await engine.get(job.job_id)).status is RUNNING
    assert 30 + 9 <= asked.seconds[1] <= 30 + 11
    assert "a check took more than 30 s" in caplog.text


# Odd checks.


@pytest.mark.parametrize(
    "answer",
    [
        None,
        17,
        "an id by itself",
        [17],
        [None],
        ZeroDivisionError(),
        EngineClosedError(),  # of another engine that it uses
        SystemExit(1),
        KeyboardInterrupt(),
        BaseExceptionGroup("many", [SystemExit(1), ValueError()]),
    ],
)
async def test_what_is_wrong_with_a_check_is_logged_and_it_is_asked_again(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    asked = Asked(clock, answer, lambda jobs: jobs)
    async with JobEngine(clock=clock) as engine, Gate(engine, asked):
        job = await engine.create("hash")
        await clock.advance(1)
        assert (await engine.get(job.job_id)).status is WAITING
        [record] = caplog.records
        assert (record.name, record.levelname) == ("engine.gate", "ERROR")
        assert record.exc_info is not None
        await clock.advance(60)
        assert (await engine.get(job.job_id)).status is RUNNING


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's can't be made
async def test_a_stray_cancellation_of_a_check_does_not_end_the_gate(clock: VirtualClock) -> None:
    asked = Asked(clock, asyncio.CancelledError(), lambda jobs: jobs)
    async with JobEngine(clock=clock) as engine, Gate(engine, asked):
        job = await engine.create("hash")
        await clock.advance(60)
        assert (await engine.get(job.job_id)).status is RUNNING


def test_a_check_that_does_not_take_the_jobs_is_refused_at_once() -> None:
    async def of_nothing() -> list[str]:
        return []

    async def of_two(jobs: WaitingJobs, more: object) -> list[str]:
        raise AssertionError(jobs, more)

    for check in (of_nothing, of_two):
        with pytest.raises(InvalidValueError, match="check must take the waiting jobs: <function"):
            Gate(JobEngine(), check)  # type: ignore[arg-type]


def test_a_check_that_yields_is_refused_at_once() -> None:
    def one_by_one(jobs: WaitingJobs) -> Iterator[Job]:
        yield from jobs

    async def slowly(jobs: WaitingJobs) -> AsyncIterator[Job]:
        for job in jobs:
            yield job

    wrong: list[Any] = [one_by_one, slowly]
    for check in wrong:
        with pytest.raises(InvalidValueError, match="check must return jobs or ids, and <function"):
            Gate(JobEngine(), check)


# Checks in threads.


@pytest.mark.parametrize("form", ["list", "generator", "coroutine"])
async def test_a_plain_check_runs_in_a_thread(new_place: NewPlace, form: str) -> None:
    threads: set[int] = set()

    def check(jobs: WaitingJobs) -> Any:  # noqa: ANN401 - of each form
        def chosen() -> Iterator[Job]:
            threads.add(threading.get_ident())
            yield from jobs

        if form == "coroutine":
            threads.add(threading.get_ident())
            return everybody(jobs)
        return list(chosen()) if form == "list" else chosen()

    async with JobEngine(new_place()) as engine, Gate(engine, check, interval_seconds=0.001):
        for _ in range(3):
            job = await engine.create("hash")
            await engine.wait(job.job_id, until=[RUNNING])
    assert threads
    assert threading.get_ident() not in threads


def test_a_plain_check_may_call_its_blocking_engine() -> None:
    def check(jobs: WaitingJobs) -> list[str]:
        return [job.job_id for job in jobs if engine.get(job.job_id, timeout=30).input == "paid"]

    with SyncJobEngine() as engine, Gate(engine, check, interval_seconds=0.01):
        stays = engine.create("hash")
        goes = engine.create("hash", input="paid")
        assert engine.wait(goes.job_id, until=[RUNNING], timeout=30).status is RUNNING
        assert engine.get(stays.job_id).status is WAITING


@pytest.mark.parametrize("answer", [None, 17, "an id by itself", [17], SystemExit(1)])
async def test_what_is_wrong_with_a_plain_check_is_logged(
    caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    answers = [answer]

    def check(jobs: WaitingJobs) -> Any:  # noqa: ANN401 - wrong on purpose
        given = answers.pop() if answers else jobs
        if isinstance(given, BaseException):
            raise given
        return given

    async with JobEngine() as engine, Gate(engine, check, interval_seconds=0.001):
        job = await engine.create("hash")
        await engine.wait(job.job_id, until=[RUNNING])
    [record] = caplog.records
    assert (record.name, record.levelname) == ("engine.gate", "ERROR")


async def test_a_thread_that_takes_too_long_is_not_called_again_before_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[int] = []
    may_end = threading.Event()

    def check(jobs: WaitingJobs) -> WaitingJobs:
        calls.append(len(jobs))
        may_end.wait(60)
        return jobs

    how: dict[str, Any] = {"interval_seconds": 0.001, "timeout_seconds": 0.01}
    async with JobEngine() as engine, Gate(engine, check, **how):
        job = await engine.create("hash")
        while caplog.text.count("a check took more than") < 3:  # noqa: ASYNC110 - the log is all
            await anyio.sleep(0.001)
        assert calls == [1]
        may_end.set()
        await engine.wait(job.job_id, until=[RUNNING])


async def test_a_gate_is_left_while_its_thread_runs_on() -> None:
    begun, may_end = anyio.Event(), threading.Event()

    def check(jobs: WaitingJobs) -> WaitingJobs:
        anyio.from_thread.run_sync(begun.set, token=token)
        may_end.wait(60)
        return jobs

    token = anyio.lowlevel.current_token()
    async with JobEngine() as engine:
        job = await engine.create("hash")
        async with Gate(engine, check):
            await begun.wait()
        assert (await engine.get(job.job_id)).status is WAITING
        may_end.set()


async def test_a_gate_is_left_as_it_was_entered_and_once(clock: VirtualClock) -> None:
    async with JobEngine(clock=clock) as engine:
        gate = Gate(engine, everybody)
        with pytest.raises(EngineNotStartedError, match="the gate has not started"):
            await gate.__aexit__(None, None, None)
        async with gate:
            with pytest.raises(InvalidValueError, match="async with"):
                gate.__exit__(None, None, None)
        await gate.__aexit__(None, None, None)


VARIABLE = contextvars.ContextVar("VARIABLE", default="empty")


async def test_checks_and_hooks_do_not_see_the_context_of_whoever_opens() -> None:
    seen = dict[str, str]()
    token = VARIABLE.set("the opener's")
    async with (
        JobEngine(on_transition=_hook_into(seen)) as engine,
        Gate(engine, _check_into(seen), interval_seconds=0.001),
    ):
        job = await engine.create("hash")
        await engine.wait(job.job_id, until=[RUNNING])
    VARIABLE.reset(token)
    assert seen == {"check": "empty", "hook": "empty"}


def test_nor_do_those_of_a_blocking_engine() -> None:
    seen = dict[str, str]()
    token = VARIABLE.set("the opener's")
    with (
        SyncJobEngine(on_transition=_hook_into(seen)) as engine,
        Gate(engine, _check_into(seen), interval_seconds=0.001),
    ):
        engine.wait(engine.create("hash").job_id, until=[RUNNING])
    VARIABLE.reset(token)
    assert seen == {"check": "empty", "hook": "empty"}


def _hook_into(seen: dict[str, str]) -> Callable[[Transition], None]:
    return lambda _: seen.update(hook=VARIABLE.get())


def _check_into(seen: dict[str, str]) -> Callable[[WaitingJobs], Awaitable[WaitingJobs]]:
    async def check(jobs: WaitingJobs) -> WaitingJobs:
        seen["check"] = VARIABLE.get()
        return jobs

    return check
