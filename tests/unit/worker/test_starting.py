"""The arguments and the start of a worker: a wrong one is refused at once, by name."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    EngineClosedError,
    EngineNotStartedError,
    EngineStartedError,
    InvalidValueError,
    JobEngine,
    Lifecycle,
    LifecycleError,
    SyncJobEngine,
    Worker,
    WrongLoopError,
)
from tests.unit.claiming import AgentJob
from tests.unit.worker.at_work import SECONDS

pytestmark = pytest.mark.anyio


async def _handle(job: AgentJob) -> str:
    return f"done: {job.input}"


async def _async_of_three(job: object, context: object, more: object) -> None:
    raise AssertionError(job, context, more)


def _generator(job: object) -> Iterator[object]:
    yield job


async def _async_generator(job: object) -> AsyncIterator[object]:
    yield job


class _Generators:
    def __call__(self, job: object) -> Iterator[object]:
        yield job


def _with_context(job: object, context: object) -> None:
    raise AssertionError(job, context)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no engine": ("engine", {"engine": object()}),
    "no function": ("handler", {"handler": "handle"}),
    "three parameters": ("handler", {"handler": _async_of_three}),
    "keyword only": ("handler", {"handler": lambda *, it: it}),
    "a generator": ("handler", {"handler": _generator}),
    "a partial of an async generator": (
        "handler",
        {"handler": functools.partial(_async_generator)},
    ),
    "an object that is called as a generator": ("handler", {"handler": _Generators()}),
    "an async one for processes": ("handler", {"processes": True}),
    "a local one for processes": ("handler", {"handler": lambda job: job, "processes": True}),
    "no place": ("concurrency", {"concurrency": 0}),
    "too many places": ("concurrency", {"concurrency": 10_001}),
    "half a place": ("concurrency", {"concurrency": 1.5}),
    "no retry": ("retry", {"retry": 3}),
    "no time": ("timeout_seconds", {"timeout_seconds": 0}),
    "time that is none": ("timeout_seconds", {"timeout_seconds": float("nan")}),
    "less than no grace": ("grace_seconds", {"grace_seconds": -1}),
    "no seconds of grace": ("grace_seconds", {"grace_seconds": "10"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_argument_is_refused(what: str) -> None:
    field, arguments = REFUSED[what]
    arguments = {"engine": JobEngine(), "handler": _handle, **arguments}
    with pytest.raises(InvalidValueError, match=rf"^{field} "):
        Worker(arguments.pop("engine"), arguments.pop("handler"), **arguments)


def test_the_error_names_what_a_handler_may_take() -> None:
    problem = "^handler takes a parameter more that gets nothing: annotate it as Job or Context"
    with pytest.raises(InvalidValueError, match=problem):
        Worker(JobEngine(), _async_of_three)


TAKEN: dict[str, Callable[..., Any]] = {
    "a default": lambda job, times=3: (job, times),
    "a keyword": lambda job, *, times=3: (job, times),
    "nothing": lambda: None,
    "a keyword without a default": lambda *, job: job,
    "any": lambda *arguments: arguments,
    "a partial": functools.partial(_with_context, context=None),
    "a type": str,
    "written in C": repr,
}


@pytest.mark.parametrize("what", TAKEN)
async def test_a_function_that_can_be_called_with_a_job_is_taken(what: str) -> None:
    async with JobEngine() as engine:
        Worker(engine, TAKEN[what])


def test_a_lifecycle_in_which_no_job_can_fail_is_refused() -> None:
    statuses = AgentJobStatus
    moves = {each: [statuses.COMPLETED] for each in statuses} | {
        statuses.AWAITING_PAYMENT: list(set(statuses) - {statuses.AWAITING_PAYMENT}),
        statuses.COMPLETED: [],
        statuses.FAILED: [],
    }
    lifecycle = Lifecycle(
        statuses,
        moves,
        initial=statuses.AWAITING_PAYMENT,
        running=statuses.RUNNING,
        success=[statuses.COMPLETED],
        failure=[statuses.FAILED],
    )
    with pytest.raises(LifecycleError, match="RUNNING"):
        Worker(JobEngine(lifecycle=lifecycle), _handle)


async def test_an_engine_that_is_not_open_is_refused() -> None:
    engine = JobEngine()
    with pytest.raises(EngineNotStartedError):
        await Worker(engine, _handle).__aenter__()
    async with engine:
        pass
    with pytest.raises(EngineClosedError):
        await Worker(engine, _handle).__aenter__()


async def test_a_worker_is_started_once() -> None:
    async with JobEngine() as engine:
        worker = Worker(engine, _handle)
        async with worker:
            with pytest.raises(EngineStartedError):
                await worker.__aenter__()
        with pytest.raises(EngineStartedError):
            await worker.__aenter__()


async def test_each_kind_of_engine_has_its_own_with() -> None:
    async with JobEngine() as engine:
        with pytest.raises(InvalidValueError, match="async with"), Worker(engine, _handle):
            pass
    blocking = SyncJobEngine(may_block_event_loop=True)
    with blocking, pytest.raises(InvalidValueError, match="`with`"):
        async with Worker(blocking, _handle):
            pass


def test_threads_have_workers_too() -> None:
    with SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = engine.create("hash", input="a job")
        with Worker(engine, _handle):
            engine.transition(job.job_id, AgentJobStatus.RUNNING)
            assert engine.result(job.job_id, timeout=SECONDS) == "done: a job"
        waiting = engine.create("hash")
        engine.transition(waiting.job_id, AgentJobStatus.RUNNING)
        assert engine.statistics().ready == 1, "nobody works any more"


def test_a_worker_of_a_blocking_engine_that_is_closed_is_refused() -> None:
    with SyncJobEngine() as engine:
        pass
    with pytest.raises(EngineClosedError), Worker(engine, _handle):
        pass


def test_an_engine_that_is_closed_before_its_worker_does_not_hang() -> None:
    with SyncJobEngine() as engine, Worker(engine, _handle, grace_seconds=30):
        engine.close()


async def test_signals_are_waited_for_in_the_main_thread_alone() -> None:
    errors: list[BaseException] = []

    def elsewhere() -> None:
        async def serve() -> None:
            async with JobEngine() as engine, Worker(engine, _handle) as worker:
                await worker.serve()

        try:
            anyio.run(serve)
        except WrongLoopError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(SECONDS)
    assert len(errors) == 1


async def test_a_worker_whose_monitor_gets_no_thread_claims_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                async with Worker(engine, _handle):
                    raise AssertionError("entered")
        await anyio.wait_all_tasks_blocked()
        assert (await engine.statistics()).watchers == 0
