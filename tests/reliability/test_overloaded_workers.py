"""Row 28: callers insist until the inbox is always full; workers, gate and cleaner go on.

The engine's own messages are never refused: claims, outcomes, the gate's first read and its moves,
expiries, removals. Otherwise the callers who insist would keep their own jobs from running.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import (
    Gate,
    Job,
    JobEngine,
    JobStatus,
    Move,
    NewJob,
    OverloadedError,
    Retention,
    Transition,
    WaitingJobs,
    Worker,
)
from engine.owner.commands.claim import ClaimJobs
from engine.owner.inbox import Inbox
from engine.testing import VirtualClock
from tests.reliability.planted import PlantedStorage, begun
from tests.tries import report, tries

pytestmark = pytest.mark.anyio

MAX_WAITING = 10
READERS = 9
BULK_READERS = 2
FULL_JOBS = 10_000
MOST_CALLS_A_JOB = 30
"""After so many calls for each job, the jobs that have not run are starved; one is usual."""


async def done(_job: Job) -> str:
    return "done"


@asynccontextmanager
async def _full_inbox(engine: JobEngine, storage: PlantedStorage) -> AsyncIterator[None]:
    """Let callers fill the inbox behind a commit that the storage holds until the end."""
    inbox = engine.core.inbox
    storage.hold()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.create, "held")
        await begun(storage)
        try:
            for number in range(MAX_WAITING):
                tasks.start_soon(engine.create, f"waits {number}")
            await anyio.wait_all_tasks_blocked()
            assert (inbox.waiting, inbox.refused) == (MAX_WAITING, 0)
            yield
            await anyio.wait_all_tasks_blocked()
            assert (inbox.waiting, inbox.refused) == (MAX_WAITING + 1, 0), "one of the engine's own"
        finally:
            storage.let_go()


async def test_a_claim_joins_a_full_inbox() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_waiting=MAX_WAITING) as engine:
        job = await engine.create("work")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        worker = Worker(engine, done)
        async with _full_inbox(engine, storage):
            await worker.__aenter__()
        assert await engine.result(job.job_id) == "done"
        await worker.__aexit__(None, None, None)


async def test_a_worker_takes_back_its_claim_through_a_full_inbox() -> None:
    storage = PlantedStorage()
    async with JobEngine(storage, max_waiting=MAX_WAITING) as engine:
        worker = await Worker(engine, done).__aenter__()
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks, _full_inbox(engine, storage):
            tasks.start_soon(worker.__aexit__, None, None, None)


async def test_a_gate_reads_and_moves_through_a_full_inbox() -> None:
    storage = PlantedStorage()
    asked, go_on = anyio.Event(), anyio.Event()

    async def check(jobs: WaitingJobs) -> list[Job]:
        asked.set()
        await go_on.wait()
        return [*jobs][:1]

    async with JobEngine(storage, max_waiting=MAX_WAITING) as engine:
        job = await engine.create("work")
        gate = Gate(engine, check, interval_seconds=600)
        async with anyio.create_task_group() as tasks, _full_inbox(engine, storage):
            tasks.start_soon(gate.__aenter__)
        await asked.wait()
        async with _full_inbox(engine, storage):
            go_on.set()
        await engine.wait(job.job_id, until=[JobStatus.RUNNING])
        await gate.__aexit__(None, None, None)


@pytest.mark.thorough
async def test_a_removal_joins_a_full_inbox() -> None:
    storage, clock = PlantedStorage(), VirtualClock()
    rule = Retention(max_jobs=0, interval_seconds=3_600)
    how: Any = {"max_waiting": MAX_WAITING, "retention": rule, "clock": clock}
    async with JobEngine(storage, **how) as engine:
        await anyio.wait_all_tasks_blocked()
        async with _full_inbox(engine, storage):
            await clock.advance(3_600)


async def _insist(call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - of any call
    """Repeat a call until the engine accepts it."""
    while True:
        try:
            return await call()
        except OverloadedError:
            await checkpoint()


class _Overload:
    """Fills the inbox of an engine by calls of many tasks, until all jobs have ended.

    Attributes:
        ended: How many jobs have ended.
        calls: How many calls were answered.
    """

    def __init__(self, jobs: int) -> None:
        self.ended = self.calls = 0
        self._jobs = jobs

    def on_transition(self, transition: Transition) -> None:
        self.ended += transition.to_status is JobStatus.COMPLETED

    async def run(self, engine: JobEngine, ids: list[str]) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(READERS):
                tasks.start_soon(self._call, engine.count)
            for _ in range(BULK_READERS):
                tasks.start_soon(self._call, lambda: engine.get_many(ids[:MAX_WAITING]))

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> None:
        while self.ended < self._jobs and self.calls < self._jobs * MOST_CALLS_A_JOB:
            await _insist(call)
            self.calls += 1


async def _run_overloaded(jobs: int) -> tuple[_Overload, int]:
    """Run jobs in an overloaded engine; return what happened, and how many calls it refused."""
    overload = _Overload(jobs)
    async with JobEngine(max_waiting=MAX_WAITING, on_transition=overload.on_transition) as engine:
        created = await engine.create_many(NewJob(str(number)) for number in range(jobs))
        ids = [job.job_id for job in created]
        await engine.transition_many(Move(job_id, JobStatus.RUNNING) for job_id in ids)
        async with Worker(engine, done):
            await overload.run(engine, ids)
        return overload, (await engine.statistics()).refused


async def test_all_jobs_run_while_callers_insist() -> None:
    jobs = tries(FULL_JOBS)
    overload, refused = await _run_overloaded(jobs)
    report(f"{overload.ended:,} jobs among {overload.calls:,} calls and {refused:,} refusals")
    assert overload.ended == jobs
    assert refused > overload.calls // 10, "or else the inbox was seldom full"


@pytest.mark.thorough
async def test_the_harness_notices_claims_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Inbox.put

    def refusing(inbox: Inbox, message: Any, notify: Any = None, *, internal: bool = False) -> Any:  # noqa: ANN401
        return put(inbox, message, notify, internal=internal and not isinstance(message, ClaimJobs))

    monkeypatch.setattr(Inbox, "put", refusing)
    overload, _ = await _run_overloaded(200)
    assert overload.ended < 200
