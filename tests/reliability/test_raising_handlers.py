"""Row 15: a handler raises an exit, an interrupt or a cancellation; only its job fails.

The handler raises `SystemExit`, `KeyboardInterrupt`, an unrequested cancellation, or a group of
these. Its job fails; the jobs beside it and after it end as usual. A real Ctrl-C is different: it
closes the program.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import AGENT_JOB_LIFECYCLE, AgentJobStatus, Job, JobEngine, Retry, Worker
from engine.worker.context import InputNeeded, JobCancelled
from tests.reliability.programs.raising import AS_IT_SHOULD, KINDS, raise_in_process
from tests.tries import report, thorough

pytestmark = pytest.mark.anyio

SECONDS = 60
BESIDE = 5
"""The number of running jobs beside the one whose handler raises."""


async def _cancellation() -> BaseException:
    """Return the event loop's exception of a cancellation, from a scope that has ended."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except BaseException as cancellation:  # noqa: BLE001 - whatever it is
            return cancellation
    raise AssertionError("it was not cancelled")


async def _raise(kind: str) -> None:
    if kind == "cancellation":
        raise await _cancellation()
    if kind == "group with a cancellation":
        raise BaseExceptionGroup("two", [await _cancellation(), SystemExit(1)])
    if kind == "what asks for input":
        raise InputNeeded
    if kind == "what ends a cancelled thread":
        raise JobCancelled
    error = KINDS[kind]()
    raise error


def _cancel_natively() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


Handler = Callable[[Job[AgentJobStatus]], Any]


async def _check(kind: str, handler: Handler, go_on: Callable[[], object], **how: Any) -> Any:  # noqa: ANN401
    """Run a handler that raises for one job, with other jobs beside it and one after it."""
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        with anyio.fail_after(SECONDS):
            async with Worker(engine, handler, retry=Retry(max_attempts=1), **how):
                jobs = [await engine.create("other") for _ in range(BESIDE)]
                jobs.insert(BESIDE // 2, await engine.create("raising", input=kind))
                for each in jobs:
                    await engine.transition(each.job_id, AgentJobStatus.RUNNING)
                done = await engine.wait(jobs.pop(BESIDE // 2).job_id)
                go_on()
                late = await engine.create("late")
                await engine.transition(late.job_id, AgentJobStatus.RUNNING)
                for each in (*jobs, late):
                    assert await engine.result(each.job_id) == AS_IT_SHOULD
                statistics = await engine.statistics()
                assert (statistics.running, statistics.ready) == (0, 0)
    report(f"{kind}: {done.error}")
    return done


async def _fails(kind: str, raising: Callable[[str], Any]) -> None:
    """Check that only the job whose async handler raises fails."""
    gate = anyio.Event()

    async def handler(job: Job[AgentJobStatus]) -> str:
        if job.input is None:
            await gate.wait()
        else:
            await raising(job.input)
        return AS_IT_SHOULD

    done = await _check(kind, handler, gate.set)
    assert done.status is AgentJobStatus.FAILED


CANCELLATIONS = {"cancellation", "CancelledError"}
"""A task group accepts the cancellation of one of its tasks, and continues."""
ASYNC_KINDS = [
    *KINDS,
    "cancellation",
    "group with a cancellation",
    "what asks for input",
    "what ends a cancelled thread",
]


@pytest.mark.parametrize("kind", ASYNC_KINDS)
async def test_out_of_a_task_it_fails_its_own_job_alone(kind: str) -> None:
    await _fails(kind, _raise)


@pytest.mark.parametrize("kind", sorted({*ASYNC_KINDS} - CANCELLATIONS))
async def test_out_of_a_task_of_the_handlers_own_it_fails_its_own_job_alone(
    kind: str, anyio_backend: str
) -> None:
    if anyio_backend == "asyncio" and kind in {"SystemExit", "KeyboardInterrupt"}:
        pytest.skip("asyncio itself ends the program, whoever has started the task")

    async def raising(kind: str) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_raise, kind)
            await anyio.sleep(SECONDS)

    await _fails(kind, raising)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("anyio_backend")
async def test_a_task_that_cancels_itself_fails_its_own_job_alone() -> None:
    async def raising(_: str) -> None:
        _cancel_natively()
        await anyio.sleep(SECONDS)

    await _fails("native cancellation", raising)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("anyio_backend")
async def test_a_task_that_cancels_itself_at_its_end_has_done_its_work() -> None:
    async def handler(_: Job[AgentJobStatus]) -> str:
        _cancel_natively()
        return AS_IT_SHOULD

    done = await _check("native cancellation at the end", handler, lambda: None)
    assert done.result == AS_IT_SHOULD


@pytest.mark.parametrize("kind", KINDS)
async def test_out_of_a_thread_it_fails_its_own_job_alone(kind: str) -> None:
    gate = threading.Event()

    def handler(job: Job[AgentJobStatus]) -> str:
        if job.input is not None:
            error = KINDS[job.input]()
            raise error
        gate.wait(SECONDS)
        return AS_IT_SHOULD

    done = await _check(kind, handler, gate.set)
    assert done.status is AgentJobStatus.FAILED


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", ["SystemExit", *thorough("os._exit", *(each for each in KINDS if each != "SystemExit"))]
)
async def test_out_of_a_process_it_fails_its_own_job_alone(kind: str) -> None:
    done = await _check(kind, raise_in_process, lambda: None, processes=True, concurrency=2)
    assert done.status is AgentJobStatus.FAILED
