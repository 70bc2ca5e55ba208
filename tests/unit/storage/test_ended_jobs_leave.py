"""A storage from which ended jobs are read back: nobody can tell it from one that holds them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    MemoryStorage,
    Move,
    NewJob,
    StorageError,
)
from engine.domain.record import IDEMPOTENCY_KEY, JOB_ID, STATUS, Change, Entry, Record
from engine.storage import CheckedOut, Opened
from tests.unit.both_engines import FACADES, AwaitedCalls, opened

pytestmark = pytest.mark.anyio


class Archive(MemoryStorage):
    """Keeps a record of every job, and gives the owner only the live ones to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Record] = {}
        self.asked_for: list[str] = []
        self.error: StorageError | None = None
        self._final: Collection[str] = ()

    async def open(self, final_statuses: Collection[str]) -> Opened:
        self._final = final_statuses
        held = await super().open(final_statuses)
        return Opened(held.table, held.last_sequence, held.last_position, ended_leave=True)

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        if self.error is not None:
            raise self.error
        self.asked_for += [*job_ids, *keys]
        by_key = {record[IDEMPOTENCY_KEY]: record for record in self.records.values()}
        return CheckedOut(
            {job_id: self.records[job_id] for job_id in job_ids if job_id in self.records},
            {key: by_key[key] for key in keys if key in by_key},
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        for _, from_status, record in changes:
            if from_status is None and record[JOB_ID] in self.records:
                raise DuplicateJobIdError(record[JOB_ID])
        await super().commit(changes)
        self.records.update({record[JOB_ID]: record for _, _, record in changes})

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        if job_id not in self.ended:
            return await super().history(job_id)
        self._table.update({job_id: self.records[job_id]})
        try:
            return await super().history(job_id)
        finally:
            self._table.remove(self.records[job_id])

    @property
    def ended(self) -> set[str]:
        return {i for i, record in self.records.items() if record[STATUS] in self._final}


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
        assert storage.ended == {job.job_id}


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
    async with JobEngine(Archive(), new_id=iter(["one", "two", "three", "one"]).__next__) as engine:
        job = await _ended(engine, "ended", "key")
        assert await engine.create("ended", idempotency_key="key") == job
        with pytest.raises(IdempotencyConflictError):
            await engine.create("other", idempotency_key="key")
        with pytest.raises(DuplicateJobIdError):
            await engine.create("another")
        assert await engine.get("one") == job
        assert await engine.count() == 1


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
