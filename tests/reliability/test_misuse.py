"""Row 11: a call at the wrong time or from the wrong place raises a named error at once.

Before the start, after the end, for a second start, from the serving thread, from another thread,
another event loop or another async library. A hanging test fails by its time limit.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from anyio import to_thread

from engine import (
    EngineClosedError,
    EngineNotStartedError,
    EngineStartedError,
    EngineUnavailableError,
    Gate,
    Job,
    JobEngine,
    JobStatus,
    Move,
    NewJob,
    SyncJobEngine,
    WaitingJobs,
    Worker,
    WrongLoopError,
)
from engine.repository.job_repo import InMemoryJobRepository
from engine.services.job_service import create_job
from tests.reliability.planted import SECONDS_AGAINST_HANGS

CALLS: dict[str, Callable[[Any], Any]] = {
    "create": lambda engine: engine.create("hash"),
    "create_many": lambda engine: engine.create_many([NewJob("hash")]),
    "get": lambda engine: engine.get("unheard of"),
    "get_many": lambda engine: engine.get_many(["unheard of"]),
    "find": lambda engine: engine.find(payment_id="unheard of"),
    "transition": lambda engine: engine.transition("unheard of", JobStatus.RUNNING),
    "transition_many": lambda engine: engine.transition_many([Move("x", JobStatus.RUNNING)]),
    "start": lambda engine: engine.start("unheard of"),
    "cancel": lambda engine: engine.cancel("unheard of"),
    "retry": lambda engine: engine.retry("unheard of"),
    "repeat": lambda engine: engine.repeat("unheard of"),
    "follow_up": lambda engine: engine.follow_up("unheard of", "refund"),
    "follow_ups": lambda engine: engine.follow_ups("unheard of"),
    "backfill": lambda engine: engine.backfill("refund"),
    "rules": lambda engine: engine.rules(),
    "remove_rule": lambda engine: engine.remove_rule("refund"),
    "disable_rule": lambda engine: engine.disable_rule("refund"),
    "enable_rule": lambda engine: engine.enable_rule("refund"),
    "pause": lambda engine: engine.pause("report"),
    "resume": lambda engine: engine.resume("report"),
    "paused": lambda engine: engine.paused(),
    "drain": lambda engine: engine.drain(),
    "extend": lambda engine: engine.extend("unheard of", JobStatus.RUNNING, None),
    "attempts": lambda engine: engine.attempts("unheard of"),
    "count": lambda engine: engine.count(),
    "list_jobs": lambda engine: engine.list_jobs(),
    "history": lambda engine: engine.history("unheard of"),
    "audit": lambda engine: engine.audit(),
    "prune": lambda engine: engine.prune(keep=1),
    "statistics": lambda engine: engine.statistics(),
}
every_call = pytest.mark.parametrize("call", CALLS)


async def _awaited(engine: JobEngine, call: str) -> None:
    await CALLS[call](engine)


@every_call
@pytest.mark.anyio
async def test_awaited_before_its_start(call: str) -> None:
    with anyio.fail_after(SECONDS_AGAINST_HANGS), pytest.raises(EngineNotStartedError):
        await _awaited(JobEngine(), call)


@every_call
@pytest.mark.anyio
async def test_awaited_after_its_end(call: str) -> None:
    async with JobEngine() as engine:
        pass
    with anyio.fail_after(SECONDS_AGAINST_HANGS), pytest.raises(EngineClosedError):
        await _awaited(engine, call)


@every_call
def test_blocking_after_its_end(call: str) -> None:
    with SyncJobEngine() as engine:
        pass
    with pytest.raises(EngineClosedError):
        CALLS[call](engine)
    engine.close()


@pytest.mark.anyio
async def test_started_twice() -> None:
    async with JobEngine() as engine:
        with anyio.fail_after(SECONDS_AGAINST_HANGS), pytest.raises(EngineStartedError):
            await engine.__aenter__()


def _in_a_thread(work: Callable[[], object]) -> BaseException | None:
    """Do the work in another thread, and return its exception."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).exception(timeout=SECONDS_AGAINST_HANGS)


@every_call
@pytest.mark.parametrize("library", ["asyncio", "trio"])
@pytest.mark.anyio
async def test_awaited_on_the_loop_of_another_thread(call: str, library: str) -> None:
    async with JobEngine() as engine:
        error = await anyio.to_thread.run_sync(
            _in_a_thread, lambda: anyio.run(_awaited, engine, call, backend=library)
        )
    assert type(error) is WrongLoopError


@every_call
@pytest.mark.anyio
async def test_driven_without_any_loop(call: str) -> None:
    async with JobEngine() as engine:
        error = await anyio.to_thread.run_sync(
            _in_a_thread, lambda: _awaited(engine, call).send(None)
        )
    assert type(error) is WrongLoopError


@every_call
def test_awaited_on_another_loop_of_its_own_thread(call: str) -> None:
    async def live(started: asyncio.Event, leave: asyncio.Event) -> None:
        async with engine:
            started.set()
            await leave.wait()

    engine = JobEngine()
    with asyncio.Runner() as home, asyncio.Runner() as elsewhere:
        started, leave = asyncio.Event(), asyncio.Event()
        living = home.get_loop().create_task(live(started, leave))
        home.get_loop().run_until_complete(started.wait())
        with pytest.raises(WrongLoopError):
            elsewhere.run(_awaited(engine, call))
        leave.set()
        home.get_loop().run_until_complete(living)


class LoopThreadClock:
    """A clock that does some work on the serving thread, and keeps its error."""

    def __init__(self) -> None:
        self.work: Callable[[], object] | None = None
        self.thread = ""
        self.error: BaseException | None = None

    def __call__(self) -> datetime:
        work, self.work = self.work, None
        if work is not None:
            self.thread = threading.current_thread().name
            try:
                work()
            except EngineUnavailableError as error:
                self.error = error
        return datetime.now(UTC)


def _on_the_loop_thread(engine: SyncJobEngine, clock: LoopThreadClock) -> None:
    """Let the clock do its work, and check that the engine still works."""
    assert engine.create("hash", timeout=SECONDS_AGAINST_HANGS).version == 1
    assert clock.thread not in {"", threading.current_thread().name}
    assert engine.count(timeout=SECONDS_AGAINST_HANGS) == 1


@every_call
def test_blocking_on_the_thread_that_serves_it(call: str) -> None:
    clock = LoopThreadClock()
    with SyncJobEngine(clock=clock) as engine:
        clock.work = lambda: CALLS[call](engine)
        _on_the_loop_thread(engine, clock)
    assert type(clock.error) is WrongLoopError


def test_closed_on_the_thread_that_serves_it() -> None:
    clock = LoopThreadClock()
    with SyncJobEngine(clock=clock) as engine:
        clock.work = engine.close
        _on_the_loop_thread(engine, clock)
    assert type(clock.error) is WrongLoopError


def test_made_on_the_thread_that_would_serve_it() -> None:
    clock = LoopThreadClock()
    with SyncJobEngine(clock=clock) as engine:
        clock.work = SyncJobEngine
        _on_the_loop_thread(engine, clock)
    assert type(clock.error) is WrongLoopError


async def _work(_job: Job) -> None:
    """Do nothing."""


async def _check(_jobs: WaitingJobs[Any]) -> list[str]:
    return []


BLOCKING: dict[str, Callable[[SyncJobEngine], object]] = {
    **CALLS,
    "cancel": lambda engine: engine.cancel("unheard of"),
    "provide_input": lambda engine: engine.provide_input("unheard of", "prompt", 1),
    "wait": lambda engine: engine.wait("unheard of"),
    "result": lambda engine: engine.result("unheard of"),
    "watch": lambda engine: next(engine.watch("unheard of")),
    "backup": lambda engine: engine.backup("unheard of"),
    "with": lambda engine: engine.__enter__(),
    "with a worker": lambda engine: Worker(engine, _work).__enter__(),
    "with a gate": lambda engine: Gate(engine, _check).__enter__(),
    "close": lambda engine: engine.close(),
}


@pytest.mark.parametrize("call", BLOCKING)
@pytest.mark.anyio
async def test_blocking_on_a_thread_whose_event_loop_is_running(call: str) -> None:
    engine = SyncJobEngine()  # as a module does that a server imports on its loop
    with pytest.raises(WrongLoopError, match=r"use JobEngine, or `await anyio\.to_thread"):
        BLOCKING[call](engine)
    assert (await to_thread.run_sync(engine.create, "hash")).version == 1
    await to_thread.run_sync(engine.close)


@pytest.mark.anyio
async def test_leaving_what_was_entered_elsewhere_on_a_running_event_loop() -> None:
    engine = SyncJobEngine()
    worker, gate = Worker(engine, _work), Gate(engine, _check)
    for each in (worker, gate):
        await to_thread.run_sync(each.__enter__)
        with pytest.raises(WrongLoopError, match="use JobEngine"):
            each.__exit__(None, None, None)
    with pytest.raises(WrongLoopError, match="use JobEngine"):
        worker.serve_blocking()
    assert await to_thread.run_sync(engine.count) == 0, "nothing is closed"
    await to_thread.run_sync(engine.close)
    engine.close()  # for the second time, which waits for nothing


@pytest.mark.anyio
async def test_a_repository_on_a_running_event_loop() -> None:
    repository = InMemoryJobRepository()
    with pytest.raises(WrongLoopError, match="use JobEngine"):
        create_job(repository, "hash")
    assert await to_thread.run_sync(repository.count) == 0


@pytest.mark.anyio
async def test_an_engine_that_may_block_an_event_loop() -> None:
    made: list[SyncJobEngine] = []

    def make() -> None:
        made.append(SyncJobEngine(may_block_event_loop=True))

    make()
    assert await to_thread.run_sync(_in_a_thread, make) is None
    for engine in made:
        with engine, Worker(engine, _work), Gate(engine, _check):
            assert engine.create("hash", timeout=SECONDS_AGAINST_HANGS).version == 1
            assert engine.count(timeout=SECONDS_AGAINST_HANGS) == 1
