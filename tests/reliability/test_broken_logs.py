"""Row 29: logs that fail at every line; the engine, its workers and its gates go on.

An application's filter, handler or logger raises an error or an exit wherever the engine logs: in
the owner, its timers, its cleaner, its hooks, the workers, the gates, and on the path of a crash.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    CommitUnknownError,
    Context,
    EngineCrashedError,
    Gate,
    Job,
    JobEngine,
    Retention,
    Retry,
    StorageError,
    SyncJobEngine,
    Transition,
    WaitingJobs,
    Worker,
)
from engine.owner import timers
from engine.worker import claimer
from engine.worker.context import InputNeeded
from tests.reliability.planted import PlantedError, PlantedStorage
from tests.tries import report, thorough

SECONDS = 60
AGENTS: Final[Any] = {"lifecycle": AGENT_JOB_LIFECYCLE}
RUNNING, COMPLETED = AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED
LOGGERS: Final = [logging.getLogger(name) for name in ("engine", "engine.worker", "engine.gate")]


class Broken(logging.Handler):
    """Fails at every line, as a filter, as a handler or instead of a logger's check of the level.

    Attributes:
        lines: Where it failed: the lines without their arguments, or the levels.
    """

    def __init__(self, raised: type[BaseException]) -> None:
        super().__init__()
        self.lines: set[object] = set()
        self._raised = raised

    def fail(self, line: object) -> NoReturn:
        self.lines.add(line)
        raise self._raised("planted")

    def emit(self, record: logging.LogRecord) -> None:
        self.fail(record.msg)

    def has_seen(self, *lines: str) -> bool:
        """Return whether it failed at all these lines: at their beginnings."""
        texts = [str(each) for each in self.lines]
        return all(any(text.startswith(line) for text in texts) for line in lines)


def _break(broken: Broken, kind: str, stack: ExitStack) -> None:
    for logger in LOGGERS:
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.DEBUG)
        if kind == "filter":
            fail = lambda record: broken.fail(record.msg)  # noqa: E731 - to be removed again
            logger.addFilter(fail)
            stack.callback(logger.removeFilter, fail)
        elif kind == "handler":
            logger.addHandler(broken)
            stack.callback(logger.removeHandler, broken)
        else:
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(
                logger, "isEnabledFor", broken.fail
            )


EXITS: Final = [("filter", SystemExit), ("handler", RuntimeError), ("level", SystemExit)]


@pytest.fixture(autouse=True)
def tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (timers, claimer):
        monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)


@pytest.fixture(params=[("filter", RuntimeError), *thorough(*EXITS)], ids=str)
def broken(request: pytest.FixtureRequest) -> Iterator[Broken]:
    """Break the logs of the engine."""
    kind, raised = request.param
    broken = Broken(raised)
    with ExitStack() as stack:
        _break(broken, kind, stack)
        yield broken
    report(f"failed at {len(broken.lines)} different lines")
    assert broken.lines


def _check(broken: Broken, *lines: str) -> None:
    assert broken.has_seen(*lines) or all(isinstance(each, int) for each in broken.lines)


class _UnknownStorage(PlantedStorage):
    """Says of every commit of unknown outcome that it was not applied."""

    async def resolve(self, _changes: object) -> bool:
        return False


def _fail(_transition: Transition[Any]) -> None:
    raise PlantedError


@pytest.mark.anyio
async def test_the_engine_goes_on(broken: Broken) -> None:
    storage, rule = _UnknownStorage(), Retention(max_jobs=0, interval_seconds=0.001)
    with anyio.fail_after(SECONDS):
        how: Any = {"on_transition": _fail, "retention": rule, **AGENTS}
        async with JobEngine(storage, **how) as engine:
            storage.plant(CommitUnknownError(StorageError("planted")))
            with pytest.raises(StorageError):
                await engine.create("its outcome was unknown")
            soon = {AgentJobStatus.AWAITING_PAYMENT: timedelta(seconds=0.001)}
            await engine.create("expires", deadlines=soon)
            while (await engine.statistics()).removed < 1:
                await anyio.lowlevel.checkpoint()
    _check(broken, "a hook failed", "the outcome of a commit", "job %s expired", "removed %s")


@pytest.mark.anyio
async def test_timers_and_cleaner_try_again(broken: Broken) -> None:
    storage = PlantedStorage()
    rule = Retention(max_jobs=0, interval_seconds=0.001)
    with anyio.fail_after(SECONDS):
        async with JobEngine(storage, retention=rule, **AGENTS) as engine:
            soon = {AgentJobStatus.AWAITING_PAYMENT: timedelta(seconds=0.001)}
            storage.plant(StorageError("planted"), skip=1)  # the commit of the expiry
            storage.plant(StorageError("planted"), "remove_ended")
            await engine.create("expires", deadlines=soon)
            while (await engine.statistics()).removed < 1:
                await anyio.lowlevel.checkpoint()
    _check(broken, "due jobs could not be moved", "ended jobs could not be removed")


async def _handle(job: Job[Any], context: Context[Any]) -> str:
    if context.attempt == 1:
        if job.input == "asks":
            try:
                context.request_input({"type": "string"})
            except InputNeeded:
                return "caught"
        raise ConnectionError("planted")
    return "done"


class _BrokenMiddleware:
    def __call__(self, _context: Context[Any]) -> Any:  # noqa: ANN401 - a context manager
        raise PlantedError


@pytest.mark.anyio
async def test_workers_go_on(broken: Broken) -> None:
    storage, retry = PlantedStorage(), Retry(first_delay_seconds=0.001)
    with anyio.fail_after(SECONDS):
        how: Any = {"retry": retry, "middleware": [_BrokenMiddleware()]}
        async with JobEngine(storage, **AGENTS) as engine, Worker(engine, _handle, **how):
            job = await engine.create("work")
            storage.plant(StorageError("planted"), skip=1)  # the first outcome
            await engine.transition(job.job_id, RUNNING)
            assert await engine.result(job.job_id) == "done"
            asks = await engine.create("work", input="asks")
            await engine.transition(asks.job_id, RUNNING)
            await engine.wait(asks.job_id, until=[AgentJobStatus.AWAITING_INPUT])
    _check(broken, "attempt %s of job %s failed", "a middleware failed", "a handler caught")
    _check(broken, "%s is refused, and sent again", "attempt %s of job %s %s")


@pytest.mark.anyio
async def test_gates_go_on(broken: Broken) -> None:
    checks = 0

    async def check(jobs: WaitingJobs[Any]) -> list[Job[Any]]:
        nonlocal checks
        checks += 1
        if checks == 1:
            raise PlantedError
        if checks == 2:
            storage.plant(StorageError("planted"))
        return [*jobs]

    storage = PlantedStorage()
    with anyio.fail_after(SECONDS):
        async with (
            JobEngine(storage, **AGENTS) as engine,
            Gate(engine, check, interval_seconds=0.001),
        ):
            job = await engine.create("work")
            await engine.wait(job.job_id, until=[RUNNING])
    _check(broken, "the check of jobs in %s failed", "jobs stay in %s")


@pytest.mark.anyio
@pytest.mark.parametrize("cause", ["commit", *thorough("timer")])
async def test_a_crash_is_told_to_everybody(broken: Broken, cause: str) -> None:
    """Also to those who wait, work and guard a gate; and closing does not hang."""
    storage, clock, entered = PlantedStorage(), _Clock(), anyio.Event()

    async def wait(_job: Job[Any]) -> None:
        entered.set()
        await anyio.sleep_forever()

    async def nobody(_jobs: WaitingJobs[Any]) -> list[str]:
        return []

    with anyio.fail_after(SECONDS), pytest.raises(EngineCrashedError):
        async with (
            JobEngine(storage, clock=clock, **AGENTS) as engine,
            Worker(engine, wait),
            Gate(engine, nobody),
        ):
            job = await engine.create("work", deadlines={RUNNING: timedelta(hours=1)})
            await engine.transition(job.job_id, RUNNING)
            await entered.wait()
            storage.plant(StorageError("planted"), "aclose")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_expect_crash, engine.wait, job.job_id)
                await anyio.wait_all_tasks_blocked()
                if cause == "commit":
                    storage.plant(PlantedError())
                    tasks.start_soon(_expect_crash, engine.create, "more")
                else:
                    clock.is_broken = True
    _check(broken, "the engine crashed", "the storage could not be closed", "the worker ends")
    assert storage.closed == 1


class _Clock:
    is_broken = False

    def __call__(self) -> datetime:
        if self.is_broken:
            raise PlantedError
        return datetime.now(UTC)


async def _expect_crash(call: Any, text: str) -> None:  # noqa: ANN401 - of any call
    with pytest.raises(EngineCrashedError):
        await call(text)


def test_threads_are_answered(broken: Broken) -> None:
    storage, retry = PlantedStorage(), Retry(max_attempts=1)
    begun = threading.Event()

    def fail(_job: Job[Any]) -> None:
        begun.set()
        raise PlantedError

    engine = SyncJobEngine(storage, on_transition=_fail, **AGENTS)
    with Worker(engine, fail, retry=retry):
        job = engine.create("work", timeout=SECONDS)
        engine.transition(job.job_id, RUNNING, timeout=SECONDS)
        assert engine.wait(job.job_id, timeout=SECONDS).error == "PlantedError"
        storage.plant(PlantedError())
        with pytest.raises(EngineCrashedError):
            engine.create("crashes", timeout=SECONDS)
    with pytest.raises(EngineCrashedError):
        engine.close()
    _check(broken, "a hook failed", "attempt %s of job %s failed", "the engine crashed")
