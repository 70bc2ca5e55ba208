"""Snapshots of a large answer are made in slices, and other tasks run between two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import JobEngine, JobStatus, MemoryStorage, Move, NewJob
from engine.domain.validation import MAX_INPUT_CHARACTERS
from engine.storage import JobFilter, StoredPage
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.unit.test_large_reads import INPUT

pytestmark = pytest.mark.anyio

JOBS = 40  # of which each is a slice of its own, or nearly
SLICES = JOBS * MAX_INPUT_CHARACTERS // 300_000
NEW = [NewJob("hash", input=INPUT)] * JOBS


class Turns(MemoryStorage):
    """Counts the turns that another task has had since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        async def take_turns() -> None:
            while True:
                await checkpoint()
                self.turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_turns)
            yield
            tasks.cancel_scope.cancel()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(changes, lines)
        self.turns = 0

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        self.turns = 0
        return await super().page(jobs, after, limit, newest_first=newest_first)


async def test_others_have_turns_while_a_large_answer_is_made() -> None:
    storage = Turns()
    async with JobEngine(storage) as engine, storage.counted():
        ids = [job.job_id for job in await engine.create_many(NEW)]
        after_create = storage.turns
        await engine.list_jobs()
        after_list = storage.turns
        storage.turns = 0
        await engine.get_many(ids)
        after_get = storage.turns
        await engine.transition_many(Move(job_id, JobStatus.RUNNING) for job_id in ids)
        turns = (after_create, after_list, after_get, storage.turns)
    assert min(turns) >= SLICES - 1


async def test_others_have_turns_while_many_small_jobs_are_made() -> None:
    storage = Turns()
    async with JobEngine(storage) as engine, storage.counted():
        await engine.create_many([NewJob("hash")] * 10_000)
        assert storage.turns >= 4


async def test_a_small_answer_takes_no_checkpoint() -> None:
    async with JobEngine() as engine:
        await engine.create_many([NewJob("hash", input="small")] * 1_000)
        records = [*engine.core.state.table.records()]
        with pytest.raises(StopIteration) as ended:
            engine.core.views.jobs_in_slices(records).send(None)
        assert len(ended.value.value) == 1_000


async def test_a_write_that_is_cancelled_between_two_slices_is_applied() -> None:
    storage = Turns()
    async with JobEngine(storage) as engine, storage.counted():
        jobs = None
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                while await engine.count() < JOBS or storage.turns < SLICES // 2:
                    await checkpoint()
                scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                jobs = await engine.create_many(NEW)
        assert scope.cancelled_caught
        assert jobs is None
        assert await engine.count() == JOBS
