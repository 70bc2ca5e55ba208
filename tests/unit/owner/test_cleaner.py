"""Retention: the rule removes just the ended jobs past its limits, and callers don't wait."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from engine import (
    CommitUnknownError,
    EngineError,
    JobNotFoundError,
    JobStatus,
    MemoryStorage,
    Move,
    NewJob,
    Retention,
    SQLiteStorage,
    Storage,
    StorageError,
)
from engine.storage.audit import AuditLine
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

NewStorage: TypeAlias = Callable[[], Storage]
OFTEN_SECONDS = 0.001


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path / "jobs.db")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def _until_removed(engine: Engine, jobs: int) -> None:
    with anyio.fail_after(60):
        while (await engine.statistics()).removed < jobs:
            await anyio.lowlevel.checkpoint()


async def _end_many(engine: Engine, jobs: int) -> list[str]:
    created = await engine.create_many([NewJob(f"{number}") for number in range(jobs)])
    ids = [job.job_id for job in created]
    for status in (JobStatus.RUNNING, JobStatus.FAILED):
        await engine.transition_many([Move(job_id, status) for job_id in ids])
    return ids


@pytest.mark.parametrize("facade", FACADES)
async def test_jobs_that_ended_too_long_ago_are_removed(
    facade: type[Any], storage: Storage
) -> None:
    clock, rule = Clock(), Retention(max_age=timedelta(days=30), interval_seconds=OFTEN_SECONDS)
    async with opened_engine(facade, storage, retention=rule, clock=clock) as engine:
        waiting = await engine.create("waiting", idempotency_key="kept")
        old = [await finished(engine), await finished(engine)]
        clock.now += timedelta(days=30)
        young = await finished(engine)
        clock.now += timedelta(microseconds=1)
        await _until_removed(engine, 2)
        for job in old:
            for call in (engine.get, engine.history):
                with pytest.raises(JobNotFoundError):
                    await call(job.job_id)
        assert (await engine.list_jobs()).jobs == (waiting, young)
        assert await engine.count(JobStatus.COMPLETED) == 1
        assert await engine.create("waiting", idempotency_key="kept") == waiting


async def test_the_oldest_ends_are_removed_when_there_are_too_many(storage: Storage) -> None:
    clock, rule = Clock(), Retention(max_jobs=2, interval_seconds=OFTEN_SECONDS)
    async with opened_engine(FACADES[0], storage, retention=rule, clock=clock) as engine:
        first, second, third = await engine.create_many([NewJob(text) for text in "abc"])
        for job in (third, first, second):
            clock.now += timedelta(seconds=1)
            await engine.transition(job.job_id, JobStatus.RUNNING)
            await engine.transition(job.job_id, JobStatus.COMPLETED)
        await _until_removed(engine, 1)
        assert [job.job_id for job in (await engine.list_jobs()).jobs] == [
            first.job_id,
            second.job_id,
        ]


async def test_a_key_may_be_used_again_when_its_job_is_removed(storage: Storage) -> None:
    rule = Retention(max_jobs=0, interval_seconds=OFTEN_SECONDS)
    async with opened_engine(FACADES[0], storage, retention=rule) as engine:
        job = await engine.create("hash", idempotency_key="key")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(job.job_id, JobStatus.FAILED)
        await _until_removed(engine, 1)
        again = await engine.create("other", idempotency_key="key")
        assert again.job_id != job.job_id
        assert [line.sequence for line in await engine.history(again.job_id)] == [4]


async def test_many_are_removed_in_steps_with_callers_in_between(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "engine")
    clock, rule = Clock(), Retention(max_age=timedelta(1), interval_seconds=OFTEN_SECONDS)
    async with opened_engine(FACADES[0], storage, retention=rule, clock=clock) as engine:
        await _end_many(engine, 5_000)
        clock.now += timedelta(days=2)
        seen = {5_000}
        with anyio.fail_after(60):
            while left := await engine.count():
                seen.add(left)
                await anyio.lowlevel.checkpoint()
    assert all(left % 200 == 0 for left in seen)
    assert len(seen) >= 5, "callers had to wait until all were removed"
    told = [re.match(r"removed (\d+) ended jobs", each.message) for each in caplog.records]
    assert sum(int(each[1]) for each in told if each) == 5_000


async def test_a_rule_may_reach_back_to_before_the_calendar(storage: Storage) -> None:
    rule = Retention(max_age=timedelta.max, interval_seconds=OFTEN_SECONDS)
    async with opened_engine(FACADES[0], storage, retention=rule) as engine:
        job = await finished(engine)
        answered, asked = (await engine.statistics()).answered, 1
        with anyio.fail_after(60):
            # Until more is answered than was asked here: jobs were looked for.
            while (await engine.statistics()).answered < answered + asked + 3:
                asked += 1
        assert await engine.get(job.job_id) == job


@pytest.mark.parametrize(
    "error",
    [StorageError("not now"), CommitUnknownError(StorageError("not now"))],
    ids=lambda error: type(error).__name__,
)
async def test_a_storage_that_cannot_remove_is_asked_again(
    caplog: pytest.LogCaptureFixture, error: EngineError
) -> None:
    class Failing(MemoryStorage):
        failures = 3

        async def remove_ended(
            self,
            before: datetime | None,
            keep: int | None,
            limit: int,
            line: AuditLine | None = None,
        ) -> Sequence[str]:
            if self.failures:
                self.failures -= 1
                raise copy(error)
            return await super().remove_ended(before, keep, limit, line)

    rule = Retention(max_jobs=0, interval_seconds=OFTEN_SECONDS)
    async with opened_engine(FACADES[0], Failing(), retention=rule) as engine:
        await finished(engine)
        await _until_removed(engine, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


@pytest.mark.parametrize("facade", FACADES)
async def test_an_engine_with_a_rule_closes_at_once(facade: type[Any], storage: Storage) -> None:
    rule = Retention(max_jobs=0, interval_seconds=3_600)
    async with opened_engine(facade, storage, retention=rule) as engine:
        await engine.create("hash")
        began = time.monotonic()
    assert time.monotonic() - began < 60
