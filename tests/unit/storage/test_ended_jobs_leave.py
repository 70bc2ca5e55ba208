"""A storage from which ended jobs are read back: nobody can tell it from one that holds them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from engine import (
    DuplicateJobIdError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Move,
    NewJob,
    StorageError,
)
from engine.storage import CheckedOut
from tests.proof.storages import PlainStorage
from tests.unit.both_engines import FACADES, AwaitedCalls, opened

pytestmark = pytest.mark.anyio


class Archive(PlainStorage):
    """Says what it was asked to read back, and fails to when a test wants it to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[str] = []
        self.error: StorageError | None = None

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        if self.error is not None:
            raise self.error
        self.asked_for += [*job_ids, *keys]
        return await super().checkout(job_ids, keys)


async def _ended(
    engine: JobEngine | AwaitedCalls, text: str = "ended", key: str | None = None
) -> Job:
    job: Job = await engine.create(text, idempotency_key=key)
    await engine.transition(job.job_id, JobStatus.RUNNING)
    done: Job = await engine.transition(job.job_id, JobStatus.COMPLETED, result="done")
    assert done.result == "done"
    return done


@pytest.mark.parametrize("facade", FACADES)
async def test_an_ended_job_is_read_back_as_it_was(facade: type[Any]) -> None:
    storage = Archive()
    async with opened(facade, storage) as engine:
        live = await engine.create("live")
        job = await _ended(engine)
        assert storage.asked_for == []  # nothing so far needed reading back
        assert await engine.get(job.job_id) == job
        assert await engine.get_many([job.job_id, live.job_id]) == [job, live]
        assert storage.asked_for == [job.job_id] * 2
        assert (await engine.list_jobs()).jobs == (live, job)
        assert (await engine.list_jobs(JobStatus.COMPLETED)).jobs == (job,)
        assert [line.to_status for line in await engine.history(job.job_id)][-1] == job.status


async def test_an_ended_job_stays_as_it_is() -> None:
    async with JobEngine(Archive()) as engine:
        job = await _ended(engine)
        live = await engine.create("live")
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition(job.job_id, JobStatus.RUNNING)
        moves = [Move(live.job_id, JobStatus.RUNNING), Move(job.job_id, JobStatus.FAILED)]
        with pytest.raises(InvalidStateTransitionError) as caught:
            await engine.transition_many(moves)
        assert caught.value.item == 1
        assert await engine.get_many([job.job_id, live.job_id]) == [job, live]


async def test_an_ended_job_keeps_its_key_and_its_id() -> None:
    async with JobEngine(
        Archive(), new_id=iter(["one", "two", "three", "one", "four"]).__next__
    ) as engine:
        job = await _ended(engine, "ended", "key")
        assert await engine.create("ended", idempotency_key="key") == job
        with pytest.raises(IdempotencyConflictError):
            await engine.create("other", idempotency_key="key")
        with pytest.raises(DuplicateJobIdError):
            await engine.create("another")
        assert (await engine.create("a fourth")).job_id == "four"
        assert await engine.get("one") == job
        assert await engine.count() == 2


async def test_a_job_may_end_in_the_batch_that_creates_others() -> None:
    async with JobEngine(Archive()) as engine:
        jobs = await engine.create_many([NewJob("a", idempotency_key="a"), NewJob("b")])
        steps = (JobStatus.RUNNING, JobStatus.FAILED)
        moved = await engine.transition_many(
            [Move(job.job_id, status) for job in jobs for status in steps]
        )
        assert await engine.get_many(job.job_id for job in jobs) == moved[1::2]


async def test_unknown_jobs_are_asked_for_and_not_found() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job = await _ended(engine)
        with pytest.raises(JobNotFoundError) as caught:
            await engine.get_many([job.job_id, "unheard of"])
        assert (caught.value.job_id, caught.value.item) == ("unheard of", 1)
        assert "unheard of" in storage.asked_for


async def test_a_storage_that_cannot_read_back_tells_those_who_asked() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job, live = await _ended(engine), await engine.create("live")
        storage.error = StorageError("the disk is gone")
        for call in (
            engine.get(job.job_id),
            engine.list_jobs(),
            engine.transition(job.job_id, JobStatus.RUNNING),
        ):
            with pytest.raises(StorageError, match="the disk is gone"):
                await call
        assert await engine.get(live.job_id) == live
        storage.error = None
        assert await engine.get(job.job_id) == job
