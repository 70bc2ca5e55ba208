"""Pruning: a call removes ended jobs now, in steps, and the audit has the number of each."""

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
    OutcomeUnknownError,
    SQLiteStorage,
    StorageError,
    SyncJobEngine,
    WriteTimeoutError,
)
from engine.storage.audit import AuditLine
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


async def removals(engine: Engine) -> list[int]:
    """Return how many jobs each entry of the audit tells of, the newest first."""
    return [entry.arguments["removed"] for entry in await engine.audit()]


async def test_each_step_leaves_an_entry(engine: Engine) -> None:
    await end_many(engine, 2 * STEP + 1)
    assert await engine.prune(keep=0, by="us") == 2 * STEP + 1
    assert await removals(engine) == [1, STEP, STEP]


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
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        self._removals += 1
        if self._removals == 2:
            self.halted.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
        return await super().remove_ended(before, keep, limit, line)


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
        assert await removals(engine) == [STEP, STEP]
        assert await engine.count() == STEP


async def test_no_step_is_there_without_its_entry(tmp_path: Path) -> None:
    """A copy has what an engine that is killed at that time leaves."""

    class Copying(SQLiteStorage):
        async def remove_ended(
            self,
            before: datetime | None,
            keep: int | None,
            limit: int,
            line: AuditLine | None = None,
        ) -> Sequence[str]:
            removed = await super().remove_ended(before, keep, limit, line)
            copies.append(tmp_path / f"{len(copies)}.db")
            self.backup(copies[-1], lambda _done, _of: None)
            return removed

    copies = list[Path]()
    async with JobEngine(Copying(tmp_path / "jobs.db")) as engine:
        await end_many(engine, STEP + 1)
        await engine.prune(keep=0, by="us")
    for copy, left in zip(copies, (1, 0, 0), strict=True):
        async with JobEngine(copy) as engine:
            assert (await engine.count(), sum(await removals(engine))) == (left, STEP + 1 - left)


async def test_an_engine_that_closes_between_two_steps_says_how_many_are_gone() -> None:
    storage = Halting()

    async def prune(engine: JobEngine[Any]) -> None:
        with pytest.raises(OutcomeUnknownError, match="400 are removed"):
            await engine.prune(keep=0, by="us")

    async def go_on() -> None:
        await anyio.wait_all_tasks_blocked()  # the engine waits for the step, and is closed
        storage.go_on.set()

    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with anyio.create_task_group() as tasks, JobEngine(storage) as engine:
            await end_many(engine, 3 * STEP)
            tasks.start_soon(prune, engine)
            await storage.halted.wait()
            tasks.start_soon(go_on)
    async with JobEngine(storage) as engine:
        assert await engine.count() == STEP
        assert await removals(engine) == [STEP, STEP]


async def test_an_error_leaves_an_entry_of_what_was_removed() -> None:
    storage = Halting()
    storage.error = StorageError("the disk is full")
    storage.go_on.set()
    async with JobEngine(storage) as engine:
        await end_many(engine, 3 * STEP)
        with pytest.raises(StorageError, match="the disk is full"):
            await engine.prune(keep=0, by="us")
        assert await removals(engine) == [STEP]
        assert await engine.count() == 2 * STEP


def test_a_thread_that_waits_no_longer_leaves_an_entry() -> None:
    storage = Halting()
    with SyncJobEngine(storage) as engine:
        jobs = engine.create_many(NewJob("hash", start=True) for _ in range(3 * STEP))
        engine.transition_many([Move(job.job_id, JobStatus.FAILED) for job in jobs])
        with pytest.raises(WriteTimeoutError):
            engine.prune(keep=0, by="us", timeout=0.5)
        engine._bridge.call_soon(storage.go_on.set)  # noqa: SLF001 - on the loop of the engine
        entries = engine.audit(timeout=SECONDS_AGAINST_HANGS)
        removed = sum(entry.arguments["removed"] for entry in entries)
        assert engine.count() == 3 * STEP - removed
