"""Pruning: a call removes ended jobs now, in steps, and the audit has their number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    FollowUp,
    InvalidValueError,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    Move,
    NewJob,
    StorageError,
    SyncJobEngine,
    WriteTimeoutError,
)
from engine.testing.facades import Engine, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.tries import thorough
from tests.unit.claiming import NewPlace
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

STEP = 200
SECONDS_AGAINST_HANGS = 60


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["awaited in a file", "blocking in memory", *thorough("blocking in a file")])
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[Engine]:
    is_awaited = request.param.startswith("awaited")
    place = tmp_path / "jobs.db" if request.param.endswith("file") else None
    facade, time = (JobEngine, clock) if is_awaited else (SyncJobEngine, clock.now)
    async with opened_engine(facade, place, clock=time) as opened:
        yield opened


async def end_many(engine: Engine, jobs: int) -> None:
    """Create jobs and end them."""
    ids = [job.job_id for job in await engine.create_many(NewJob("hash") for _ in range(jobs))]
    for status in (JobStatus.RUNNING, JobStatus.FAILED):
        await engine.transition_many([Move(job_id, status) for job_id in ids])


async def test_ended_jobs_go_by_age_or_by_number(engine: Engine, clock: VirtualClock) -> None:
    live = await engine.create("live")
    old = [await finished(engine) for _ in range(3)]
    clock.jump(timedelta(days=30))
    young = await finished(engine)
    assert await engine.prune(older_than=timedelta(days=31)) == 0
    assert await engine.prune(keep=4, by="us") == 0
    assert await engine.audit() == []
    assert await engine.prune(keep=3, by="us", reason="too many") == 1
    assert await engine.prune(older_than=timedelta(days=29), keep=9, by="us") == 2
    assert (await engine.list_jobs()).jobs == (live, young)
    for job in old:
        with pytest.raises(JobNotFoundError):
            await engine.get(job.job_id)
    last, first = await engine.audit()
    assert (first.action, first.by, first.reason) == ("prune", "us", "too many")
    assert (first.job_id, first.arguments) == (None, {"older_than": None, "keep": 3, "removed": 1})
    assert last.arguments == {"older_than": 29 * 86_400.0, "keep": 9, "removed": 2}
    assert await engine.prune(keep=0) == 1
    assert len(await engine.audit()) == 2
    assert (await engine.statistics()).removed == 4


async def test_steps_leave_one_entry_together(engine: Engine) -> None:
    await end_many(engine, 2 * STEP + 1)
    assert await engine.prune(keep=0, by="us") == 2 * STEP + 1
    [entry] = await engine.audit()
    assert entry.arguments["removed"] == 2 * STEP + 1


async def test_a_family_goes_as_a_whole(new_place: NewPlace) -> None:
    rule = FollowUp("refund", to={JobStatus.COMPLETED})
    async with JobEngine(new_place(), follow_ups=[rule]) as engine:
        job = await finished(engine)
        [child] = await engine.follow_ups(job.job_id)
        assert await engine.prune(keep=0) == 0
        await engine.transition(child.job_id, JobStatus.FAILED)
        assert await engine.prune(keep=0) == 2


async def test_what_is_wrong_is_said(engine: Engine) -> None:
    await finished(engine)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("older_than is missing, and so is keep", {}),
        ("older_than must", {"older_than": 3}),
        ("older_than must", {"older_than": timedelta(-1)}),
        ("keep must", {"keep": -1}),
        ("by must", {"keep": 0, "by": ""}),
        ("reason must", {"keep": 0, "reason": 3}),
    ]
    for problem, arguments in wrong:
        with pytest.raises(InvalidValueError, match=f"^{problem}"):
            await engine.prune(**arguments)
    assert await engine.count() == 1


class Halting(MemoryStorage):
    """Waits in its second removal, until it may go on, and then removes or fails.

    Attributes:
        halted: Is set when it waits.
        go_on: Lets it go on.
        error: What it raises then; None for nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.halted, self.go_on = anyio.Event(), anyio.Event()
        self.error: StorageError | None = None
        self._removals = 0

    async def remove_ended(
        self, before: datetime | None, keep: int | None, limit: int
    ) -> Sequence[str]:
        self._removals += 1
        if self._removals == 2:
            self.halted.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
        return await super().remove_ended(before, keep, limit)


async def test_a_cancellation_ends_it_behind_a_step_and_leaves_an_entry() -> None:
    storage = Halting()
    async with JobEngine(storage) as engine:
        await end_many(engine, 3 * STEP)
        with anyio.fail_after(SECONDS_AGAINST_HANGS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: engine.prune(keep=0, by="us"))
                await storage.halted.wait()
                tasks.cancel_scope.cancel()
        storage.go_on.set()
        [entry] = await engine.audit()
        assert entry.arguments["removed"] == 2 * STEP
        assert await engine.count() == STEP


async def test_an_error_leaves_an_entry_of_what_was_removed() -> None:
    storage = Halting()
    storage.error = StorageError("the disk is full")
    storage.go_on.set()
    async with JobEngine(storage) as engine:
        await end_many(engine, 3 * STEP)
        with pytest.raises(StorageError, match="the disk is full"):
            await engine.prune(keep=0, by="us")
        [entry] = await engine.audit()
        assert entry.arguments["removed"] == STEP
        assert await engine.count() == 2 * STEP


def test_a_thread_that_waits_no_longer_leaves_an_entry() -> None:
    storage = Halting()
    with SyncJobEngine(storage) as engine:
        jobs = engine.create_many(NewJob("hash", start=True) for _ in range(3 * STEP))
        engine.transition_many([Move(job.job_id, JobStatus.FAILED) for job in jobs])
        with pytest.raises(WriteTimeoutError):
            engine.prune(keep=0, by="us", timeout=0.5)
        engine._bridge.call_soon(storage.go_on.set)  # noqa: SLF001 - on the loop of the engine
        while not (entries := engine.audit(timeout=SECONDS_AGAINST_HANGS)):
            pass
        [entry] = entries
        removed = entry.arguments["removed"]
        assert removed in {STEP, 2 * STEP}  # a slow machine may not have come to the second step
        assert engine.count() == 3 * STEP - removed
