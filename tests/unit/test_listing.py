"""Counts, pages, histories and statistics of both facades, even while jobs change."""

from typing import Any

import pytest

from engine import (
    InvalidStateTransitionError,
    InvalidValueError,
    JobStatus,
    MemoryStorage,
    Move,
    NewJob,
)
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio


async def _all(engine: Engine, **kwargs: object) -> list[Any]:
    """Return all jobs, page by page."""
    jobs: list[Any] = []
    after = None
    while True:
        page = await engine.list_jobs(after=after, **kwargs)
        jobs += page.jobs
        if (after := page.next_cursor) is None:
            return jobs


async def test_counts_are_by_status(engine: Engine) -> None:
    assert await engine.count() == 0
    await finished(engine)
    await engine.create_many([NewJob("hash")] * 2)
    counts = {status: await engine.count(status) for status in JobStatus}
    assert counts == {
        JobStatus.AWAITING_PAYMENT: 2,
        JobStatus.RUNNING: 0,
        JobStatus.COMPLETED: 1,
        JobStatus.FAILED: 0,
    }
    assert await engine.count() == 3
    assert (await engine.statistics()).jobs == counts


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11, 1_000])
async def test_pages_hold_every_job_once_in_order_of_creation(engine: Engine, limit: int) -> None:
    jobs = await engine.create_many([NewJob(f"hash {number}") for number in range(10)])
    page = await engine.list_jobs(limit=limit)
    assert len(page.jobs) == min(limit, 10)
    assert (page.next_cursor is None) == (limit >= 10)
    assert await _all(engine, limit=limit) == jobs


async def test_a_page_of_nothing(engine: Engine) -> None:
    page = await engine.list_jobs()
    assert (page.jobs, page.next_cursor) == ((), None)
    page = await engine.list_jobs(JobStatus.RUNNING, limit=1)
    assert (page.jobs, page.next_cursor) == ((), None)


async def test_pages_have_a_hundred_jobs_by_default(engine: Engine) -> None:
    await engine.create_many([NewJob("hash")] * 101)
    assert len((await engine.list_jobs()).jobs) == 100


@pytest.mark.parametrize("limit", [0, -1, 1_001, None, "1", True, 1.0])
async def test_a_page_of_another_size_is_refused(engine: Engine, limit: object) -> None:
    with pytest.raises(InvalidValueError, match=r"^limit "):
        await engine.list_jobs(limit=limit)


async def test_pages_stay_right_while_jobs_are_created_and_move(engine: Engine) -> None:
    jobs = await engine.create_many([NewJob("hash")] * 6)
    ids = [job.job_id for job in jobs]
    first = await engine.list_jobs(limit=3)
    await engine.transition(ids[0], JobStatus.RUNNING)
    await engine.transition(ids[4], JobStatus.RUNNING)
    late = await engine.create("late")
    second = await engine.list_jobs(limit=100, after=first.next_cursor)
    assert [job.job_id for job in first.jobs + second.jobs] == [*ids, late.job_id]
    assert second.jobs[1].status is JobStatus.RUNNING


async def test_pages_of_a_status_keep_what_kept_the_status(engine: Engine) -> None:
    jobs = await engine.create_many([NewJob("hash")] * 6)
    ids = [job.job_id for job in jobs]
    first = await engine.list_jobs(JobStatus.AWAITING_PAYMENT, limit=2)
    # The job at the cursor leaves, and one after it.
    await engine.transition_many(Move(ids[place], JobStatus.RUNNING) for place in (1, 3))
    late = await engine.create("late")
    after = first.next_cursor
    second = await engine.list_jobs(JobStatus.AWAITING_PAYMENT, limit=100, after=after)
    assert [job.job_id for job in second.jobs] == [ids[2], ids[4], ids[5], late.job_id]
    running = await _all(engine, status=JobStatus.RUNNING, limit=1)
    assert [job.job_id for job in running] == [ids[1], ids[3]]


async def test_a_history_is_numbered_across_all_jobs(engine: Engine) -> None:
    one, other = await engine.create_many([NewJob("hash")] * 2)
    await engine.transition(other.job_id, JobStatus.RUNNING)
    await engine.transition(one.job_id, JobStatus.RUNNING)
    done = await engine.transition(one.job_id, JobStatus.COMPLETED)
    lines = await engine.history(one.job_id)
    assert [(line.sequence, line.from_status, line.to_status) for line in lines] == [
        (1, None, JobStatus.AWAITING_PAYMENT),
        (4, JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING),
        (5, JobStatus.RUNNING, JobStatus.COMPLETED),
    ]
    assert lines[0].at == one.created_at
    assert lines[-1].at == done.updated_at
    assert [line.sequence for line in await engine.history(other.job_id)] == [2, 3]


async def test_statistics_count_what_was_done(engine: Engine) -> None:
    fresh = await engine.statistics()
    assert (fresh.last_sequence, fresh.answered, fresh.refused, fresh.queued) == (0, 0, 0, 0)
    assert set(fresh.jobs) == set(JobStatus)
    job = await finished(engine)
    with pytest.raises(InvalidStateTransitionError):
        await engine.transition(job.job_id, JobStatus.RUNNING)
    later = await engine.statistics()
    assert (later.last_sequence, later.answered, later.batches) == (3, 5, 5)
    assert later.largest_batch == 1


@pytest.mark.parametrize("facade", FACADES)
async def test_a_storage_can_be_used_by_one_engine_after_another(facade: type[Any]) -> None:
    storage = MemoryStorage()
    async with opened_engine(facade, storage) as first:
        job = await first.create("hash", idempotency_key="key")
        done = await finished(first)
    async with opened_engine(facade, storage) as second:
        assert await _all(second) == [job, done]
        assert await second.create("hash", idempotency_key="key") == job
        with pytest.raises(InvalidStateTransitionError):
            await second.transition(done.job_id, JobStatus.FAILED)
        await second.transition(job.job_id, JobStatus.RUNNING, expected_version=1)
        late = await second.create("late")
        numbers = [line.sequence for line in await second.history(job.job_id)]
        numbers += [line.sequence for line in await second.history(late.job_id)]
        assert numbers == [1, 5, 6]
        assert [item.job_id for item in await _all(second, limit=1)] == [
            *(job.job_id, done.job_id, late.job_id),
        ]
        assert (await second.statistics()).last_sequence == 6
