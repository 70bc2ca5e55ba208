"""Ended jobs leave the owner's table, and are read back from the storage when a call names them.

The conformance suite checks for every storage that they are unchanged then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from engine import Job, JobEngine, JobNotFoundError, JobStatus, StorageError
from engine.storage import CheckedOut
from engine.testing.facades import FACADES, opened_engine
from tests.proof.storages import PlainStorage
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio


class Archive(PlainStorage):
    """Records the jobs that it read back, and fails when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[str] = []
        self.error: StorageError | None = None

    async def checkout(self, job_ids: Sequence[str], keys: Sequence[str]) -> CheckedOut:
        if self.error is not None:
            raise self.error
        self.asked_for += [*job_ids, *keys]
        return await super().checkout(job_ids, keys)


@pytest.mark.parametrize("facade", FACADES)
async def test_what_is_live_is_not_asked_for_and_what_has_ended_is(facade: type[Any]) -> None:
    storage = Archive()
    async with opened_engine(facade, storage) as engine:
        live: Job = await engine.create("live", idempotency_key="live")
        job: Job = await finished(engine)
        await engine.create("live", idempotency_key="live")
        assert await engine.get(live.job_id) == live
        assert storage.asked_for == ["live"]  # before the key was there
        assert await engine.get(job.job_id) == job
        assert await engine.get_many([job.job_id, live.job_id]) == [job, live]
        assert storage.asked_for == ["live", job.job_id, job.job_id]


async def test_unknown_jobs_are_asked_for_and_not_found() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job = await finished(engine)
        with pytest.raises(JobNotFoundError) as caught:
            await engine.get_many([job.job_id, "unheard of"])
        assert (caught.value.job_id, caught.value.item) == ("unheard of", 1)
        assert "unheard of" in storage.asked_for


async def test_a_storage_that_cannot_read_back_tells_those_who_asked() -> None:
    storage = Archive()
    async with JobEngine(storage) as engine:
        job, live = await finished(engine), await engine.create("live")
        storage.error = StorageError("the disk is gone")
        for call in (
            engine.get(job.job_id),
            engine.transition(job.job_id, JobStatus.RUNNING),
            engine.create("new", idempotency_key="a key"),
        ):
            with pytest.raises(StorageError, match="the disk is gone"):
                await call
        assert await engine.get(live.job_id) == live
        storage.error = None
        assert await engine.get(job.job_id) == job
