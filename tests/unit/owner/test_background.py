"""The timers and the cleaner: their bugs crash the engine, and errors of logging do not."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from engine import (
    AgentJobStatus,
    Context,
    EngineCrashedError,
    Gate,
    JobEngine,
    MemoryStorage,
    Retention,
    SyncJobEngine,
    WaitingJobs,
    Worker,
)
from engine.owner.commands.expire import ExpireJobs
from engine.portal.time import Begin
from engine.testing import VirtualClock
from tests.unit.claiming import AgentJob, agents, running

pytestmark = pytest.mark.anyio


class BrokenTimeError(Exception):
    pass


class BrokenClock(VirtualClock):
    """A clock that tells the right time, but whose waits fail from some moment on."""

    is_broken = False

    async def wait_until(
        self, at: datetime | None, earlier: anyio.Event, begin: Begin = lambda: None
    ) -> None:
        if self.is_broken:
            raise BrokenTimeError
        await super().wait_until(at, earlier, begin)

    async def sleep(self, seconds: float) -> None:
        if self.is_broken:
            raise BrokenTimeError
        await super().sleep(seconds)


async def _crash(engine: JobEngine[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Check that the engine has crashed once, logged it, and raises it to every caller."""
    await anyio.wait_all_tasks_blocked()
    for _ in range(2):
        with pytest.raises(EngineCrashedError) as caught:
            await engine.count()
        assert isinstance(caught.value.__cause__, BrokenTimeError)
    critical = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert len(critical) == 1


async def test_a_bug_of_the_timers_crashes_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    clock = BrokenClock()
    engine = agents(clock=clock)
    with pytest.raises(EngineCrashedError):
        async with engine:
            await anyio.wait_all_tasks_blocked()
            clock.is_broken = True
            deadline = {AgentJobStatus.AWAITING_PAYMENT: timedelta(seconds=1)}
            await engine.create("hash", deadlines=deadline)  # earlier than all: they look again
            await _crash(engine, caplog)


async def test_a_bug_of_the_cleaner_crashes_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    clock = BrokenClock()
    engine = JobEngine(retention=Retention(max_jobs=0), clock=clock)
    with pytest.raises(EngineCrashedError):
        async with engine:
            await anyio.wait_all_tasks_blocked()
            clock.is_broken = True
            await clock.advance(11)
            await _crash(engine, caplog)


def test_threads_hear_of_it_too() -> None:
    class Broken(MemoryStorage):
        async def remove_ended(self, *_: object) -> list[str]:
            raise BrokenTimeError

    with (
        pytest.raises(EngineCrashedError) as caught,
        SyncJobEngine(Broken(), retention=Retention(max_jobs=0)) as engine,
    ):
        while True:
            engine.count()
    assert isinstance(caught.value.__cause__, BrokenTimeError)


class RaisingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise BrokenTimeError(record.getMessage())


@pytest.fixture
def broken_logging(caplog: pytest.LogCaptureFixture) -> Any:  # noqa: ANN401 - a generator
    loggers = [logging.getLogger(name) for name in ("engine", "engine.worker", "engine.gate")]
    broken = RaisingFilter()
    with caplog.at_level(logging.DEBUG, "engine"):
        for logger in loggers:
            logger.addFilter(broken)
        yield
        for logger in loggers:
            logger.removeFilter(broken)


@pytest.mark.usefixtures("broken_logging")
async def test_an_error_of_logging_is_not_an_error_of_the_timers_or_the_cleaner() -> None:
    clock = VirtualClock()
    rule = Retention(max_age=timedelta(seconds=30))
    async with agents(clock=clock, retention=rule) as engine:
        deadline = {AgentJobStatus.AWAITING_PAYMENT: timedelta(seconds=1)}
        jobs = [await engine.create("hash", deadlines=deadline) for _ in range(3)]
        await clock.advance(5)
        assert {(await engine.get(job.job_id)).error for job in jobs} == {"expired"}
        await clock.advance(60)
        assert await engine.count() == 0


@pytest.mark.usefixtures("broken_logging")
async def test_an_error_of_logging_does_not_keep_a_crash_from_its_callers() -> None:
    class Broken(MemoryStorage):
        async def commit(self, changes: object, lines: object = ()) -> None:
            raise BrokenTimeError(changes, lines)

    with pytest.raises(EngineCrashedError):
        async with JobEngine(Broken()) as engine:
            with pytest.raises(EngineCrashedError), anyio.fail_after(30):
                await engine.create("hash")


@pytest.mark.usefixtures("broken_logging")
async def test_an_error_of_logging_does_not_keep_hooks_and_outcomes_from_their_ends() -> None:
    """Neither a failed hook's line nor that of a late outcome may crash the owner."""

    def fail(_transition: object) -> None:
        raise BrokenTimeError

    async def end_itself(job: AgentJob, context: Context[AgentJobStatus]) -> str:
        end = partial(engine.transition, job.job_id, AgentJobStatus.COMPLETED, result="own")
        with anyio.CancelScope(shield=True):
            await end(attempt_token=context.token)
        return "late"

    async with agents(on_transition=fail) as engine:
        with anyio.fail_after(60):
            async with Worker(engine, end_itself):
                job = await running(engine)
                await engine.wait(job.job_id)
        assert (await engine.get(job.job_id)).result == "own"


@pytest.mark.usefixtures("broken_logging")
async def test_an_error_of_logging_does_not_keep_an_engine_from_closing() -> None:
    """The engine closes before its worker and its gate, which log that."""

    async def handle(job: AgentJob) -> None:
        raise AssertionError(job)

    async def choose(_jobs: WaitingJobs[AgentJobStatus]) -> list[str]:
        return []

    with anyio.fail_after(60):
        async with AsyncExitStack() as attachments, agents() as engine:
            await attachments.enter_async_context(Worker(engine, handle))
            await attachments.enter_async_context(Gate(engine, choose))
            await anyio.wait_all_tasks_blocked()


async def test_callers_learn_of_the_first_crash_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that fails fails the timers, and then a round that was on its way."""
    failures: list[BrokenTimeError] = []

    def clock() -> datetime:
        if not is_broken:
            return datetime.now(UTC)
        if not failures:
            engine.core.inbox.put(ExpireJobs(()))
        failures.append(BrokenTimeError(len(failures)))
        raise failures[-1]

    is_broken: list[object] = []
    deadline = {AgentJobStatus.AWAITING_PAYMENT: timedelta(seconds=1)}
    with pytest.raises(EngineCrashedError) as caught:
        async with agents(clock=clock, on_transition=is_broken.append) as engine:
            await engine.create("hash", deadlines=deadline)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(EngineCrashedError) as later:
                await engine.count()
    assert len(failures) == 2
    assert later.value.__cause__ is caught.value.__cause__ is failures[0]
    assert [each.levelno for each in caplog.records].count(logging.CRITICAL) == 1
