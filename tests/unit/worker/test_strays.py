"""Stray threads: a job is ready again only when the thread of its last attempt has ended."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import AgentJobStatus, CommitUnknownError, Retry, StorageError, Worker
from engine.owner.strays import Strays
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import AgentJob, agents, running
from tests.unit.failing import FailingStorage
from tests.unit.worker.at_work import (
    COMPLETED,
    FAILED,
    RUNNING,
    SECONDS,
    AgentEngine,
    until,
    working,
)

pytestmark = pytest.mark.anyio

AT_ONCE = Retry(max_attempts=3, first_delay_seconds=0)
OFTEN = Retry(max_attempts=99, first_delay_seconds=0)
"""For the real clock: on a busy machine the second attempt may run out of time, too."""
SHORT = 60.0
"""Seconds of a virtual clock."""
PATIENCE = 0.02
"""Seconds that time waits for a thread, which is held."""


class Thread:
    """A handler in a thread, which holds the first attempt of each job until it is let go.

    Attributes:
        at_work: The jobs that an attempt has.
        beside: Whether two attempts of a job have run at once.
    """

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.beside = False
        self.at_work: set[str] = set()

    def __call__(self, job: AgentJob) -> str:
        self.beside |= job.job_id in self.at_work
        self.at_work.add(job.job_id)
        if job.attempt == 1:
            self.let_go.wait(SECONDS)
        self.at_work.discard(job.job_id)
        return f"attempt {job.attempt}"


async def _time_out(clock: VirtualClock, handler: Thread, jobs: int = 1) -> None:
    """Let the time of the first attempts pass; later ones have all the time that they need."""
    await until(lambda: len(handler.at_work) == jobs)
    await clock.advance(SHORT)


async def _timed_out(
    engine: AgentEngine, job: AgentJob, clock: VirtualClock, handler: Thread
) -> None:
    """Wait until the attempt has ended without its thread."""
    await _time_out(clock, handler)
    await _stray(engine)
    assert (await engine.get(job.job_id)).status is RUNNING


async def test_a_job_that_timed_out_does_not_run_beside_itself() -> None:
    handler, clock = Thread(), VirtualClock(patience_seconds=PATIENCE)
    async with working(handler, clock=clock, timeout_seconds=SHORT, retry=AT_ONCE) as engine:
        job = await running(engine)
        other = await running(engine)
        await _time_out(clock, handler, jobs=2)
        while (await engine.statistics()).strays < 2:  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.running) == (0, 0)
        assert statistics.waiting == 2
        handler.let_go.set()
        for each in (job, other):
            done = await engine.wait(each.job_id)
            assert (done.status, done.result) == (COMPLETED, "attempt 2")
        assert (await engine.statistics()).strays == 0
    assert not handler.beside


async def test_it_may_if_the_worker_says_so() -> None:
    handler, clock = Thread(), VirtualClock(patience_seconds=PATIENCE)
    how: dict[str, Any] = {"clock": clock, "timeout_seconds": SHORT, "retry": AT_ONCE}
    async with working(handler, wait_for_threads=False, **how) as engine:
        job = await running(engine)
        await _time_out(clock, handler)
        done = await engine.wait(job.job_id)
        assert done.result == "attempt 2"
        assert (await engine.statistics()).strays == 0
        handler.let_go.set()
    assert handler.beside


async def test_a_cancel_ends_it_all_the_same() -> None:
    handler, clock = Thread(), VirtualClock(patience_seconds=PATIENCE)
    async with working(handler, clock=clock, timeout_seconds=SHORT, retry=AT_ONCE) as engine:
        job = await running(engine)
        await _timed_out(engine, job, clock, handler)
        done = await engine.cancel(job.job_id, "enough")
        assert (done.status, done.error) == (FAILED, "cancelled: enough")
        handler.let_go.set()


async def test_a_deadline_ends_it_all_the_same() -> None:
    handler, clock = Thread(), VirtualClock(patience_seconds=PATIENCE)
    deadlines = {AgentJobStatus.RUNNING: timedelta(hours=1)}
    async with agents(clock=clock) as engine:
        async with Worker(engine, handler, grace_seconds=0):
            job = await running(engine, deadlines=deadlines)
            await anyio.wait_all_tasks_blocked()
        assert (await engine.statistics()).strays == 1
        await clock.advance(3_600)
        assert (await engine.wait(job.job_id, timeout=SECONDS)).error == "expired"
        handler.let_go.set()


async def test_a_job_that_left_and_came_back_waits_for_its_thread_too() -> None:
    handler = Thread()
    async with working(handler) as engine:
        job = await running(engine)
        while (held := await engine.get(job.job_id)).attempt == 0:  # noqa: ASYNC110 - no event
            await anyio.sleep(0.005)
        assert held.status is RUNNING
        [token] = [each.execution.token for each in engine.core.state.table.records()]
        asking = AgentJobStatus.AWAITING_INPUT
        await engine.transition(job.job_id, asking, attempt_token=token)
        await _stray(engine)
        await engine.transition(job.job_id, RUNNING, expected_status=asking)
        await anyio.wait_all_tasks_blocked()
        assert (await engine.get(job.job_id)).attempt == 1
        handler.let_go.set()
        assert (await engine.wait(job.job_id)).result == "attempt 2"
    assert not handler.beside


async def _stray(engine: AgentEngine) -> None:
    while not (await engine.statistics()).strays:  # noqa: ASYNC110 - there is no event
        await anyio.sleep(0.005)


async def test_a_thread_that_ends_after_its_engine_disturbs_nobody() -> None:
    handler = Thread()
    async with agents() as engine, Worker(engine, handler, grace_seconds=0):
        await running(engine)
        await anyio.wait_all_tasks_blocked()
    handler.let_go.set()
    async with agents() as engine, Worker(engine, handler):
        job = await running(engine)
        assert (await engine.wait(job.job_id)).status is COMPLETED


async def _refuse_all(engine: AgentEngine, storage: FailingStorage) -> None:
    """Let the storage refuse each round before it is decided, until it is no longer silent."""
    storage.failures = [CommitUnknownError(StorageError("the disk has gone"))]
    storage.silent = 1_000_000
    for _ in range(2):
        with pytest.raises((StorageError, CommitUnknownError)):
            await engine.create("refused")


@pytest.mark.thorough
async def test_a_storage_that_refuses_all_does_not_let_a_job_run_beside_itself() -> None:
    handler, storage = Thread(), FailingStorage()
    async with working(handler, storage, timeout_seconds=0.2, retry=OFTEN) as engine:
        job = await running(engine)
        await until(lambda: handler.at_work)
        await _refuse_all(engine, storage)
        await until(lambda: engine.core.state.ready_queue.strays)
        storage.silent = 0
        while not (await engine.statistics()).retried:  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)
        await anyio.wait_all_tasks_blocked()
        assert (await engine.get(job.job_id)).attempt == 1
        handler.let_go.set()
        assert (await engine.wait(job.job_id)).result != "attempt 1"
    assert not handler.beside


@pytest.mark.thorough
async def test_a_thread_that_ends_while_the_storage_refuses_all_lets_its_job_go() -> None:
    handler, storage = Thread(), FailingStorage()
    async with working(handler, storage, timeout_seconds=0.05, retry=OFTEN) as engine:
        job = await running(engine)
        await _stray(engine)
        await _refuse_all(engine, storage)
        handler.let_go.set()
        await until(lambda: not engine.core.state.ready_queue.strays)
        storage.silent = 0
        assert (await engine.wait(job.job_id)).result != "attempt 1"


def test_a_job_is_let_go_by_the_last_of_its_threads() -> None:
    strays = Strays()
    for _ in range(2):
        strays.hold_back("a job")
    strays.hold_back("another")
    strays.let_go("a job")
    assert set(strays) == {"a job", "another"}
    strays.let_go("a job")
    assert set(strays) == {"another"}
