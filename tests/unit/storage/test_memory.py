"""Tests that are special to the memory storage; `tests.conformance` tests every storage."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from engine import JobEngine, StorageError, StorageInUseError
from engine.storage import AttemptRecord, JobFilter, MemoryStorage, Names, StoredCount
from engine.storage.filter import ALL_JOBS
from engine.testing.book import Batch, Book
from engine.testing.values import NOON, RUNNING, STATUS_OUTCOMES, OddStatus

pytestmark = pytest.mark.anyio

_MANY = 3_000  # more than two of the blocks that it keeps ids in


async def _filled(storage: MemoryStorage) -> Book:
    """Commit many jobs, every second one ended."""
    book = Book()
    batch = Batch(book)
    for number in range(_MANY):
        batch.create(f"job {number}", key=f"key {number}")
    for number in range(0, _MANY, 2):
        batch.move(f"job {number}", OddStatus.DONE)
    await storage.commit(batch.changes)
    book.enter(batch.changes)
    return book


async def test_it_keeps_the_table_and_has_nothing_else() -> None:
    storage = MemoryStorage()
    opened = await storage.open(STATUS_OUTCOMES, {}, RUNNING)
    assert opened.keeps_table
    book = await _filled(storage)
    assert {record.job_id: record for record in opened.table.records()} == book.jobs
    checked_out = await storage.checkout(Names(["job 0", "job 1"], ["key 0", "key 1"]))
    assert not any(part.jobs for part in checked_out.parts)


async def test_jobs_are_removed_from_every_block_of_ids() -> None:
    storage = MemoryStorage()
    table = (await storage.open(STATUS_OUTCOMES, {}, RUNNING)).table
    book = await _filled(storage)
    assert len(await storage.remove_ended(None, 0, _MANY)) == _MANY // 2
    live = [record for record in book.jobs.values() if record.status == OddStatus.WAITING]
    assert (await storage.page(ALL_JOBS, 0, _MANY)).jobs == live
    assert (await storage.page(JobFilter(OddStatus.WAITING), 0, _MANY)).jobs == live
    assert not (await storage.page(JobFilter(OddStatus.DONE), 0, _MANY)).jobs
    assert {record.job_id for record in table.records()} == {job.job_id for job in live}


async def test_failed_attempts_go_with_their_jobs() -> None:
    storage = MemoryStorage()
    await storage.open(STATUS_OUTCOMES, {}, RUNNING)
    batch = Batch(Book()).create("job")
    failed = AttemptRecord(1, NOON, NOON, "failed", "told apart by this")
    batch.amend("job", failed=failed).move("job", OddStatus.LOST)
    await storage.commit(batch.changes)
    assert await storage.attempts("job") == (failed,)
    del batch
    await storage.remove_ended(None, 0, 1)
    assert [each for each in gc.get_referrers(failed) if isinstance(each, tuple)] == []


async def test_two_storages_have_nothing_in_common() -> None:
    first, second = MemoryStorage(), MemoryStorage()
    for storage in (first, second):
        await storage.open(STATUS_OUTCOMES, {}, RUNNING)
    await _filled(first)
    assert await second.count(ALL_JOBS, 1) == StoredCount(0)


async def test_it_makes_no_copies(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="in memory"):
        MemoryStorage().backup(tmp_path / "copy", lambda _done, _of: None)


async def test_a_second_engine_learns_who_has_it() -> None:
    storage = MemoryStorage()
    async with JobEngine(storage):
        with pytest.raises(StorageInUseError, match="one of this process") as refused:
            async with JobEngine(storage):
                pass
    assert refused.value.storage == "this MemoryStorage"
    async with JobEngine(storage) as engine:
        assert await engine.count() == 0
