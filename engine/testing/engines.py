"""Test a storage as applications use it: through both facades, on short scenarios."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine.domain.exceptions import (
    DuplicateJobIdError,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    JobNotFoundError,
    PaymentInUseError,
    StorageInUseError,
    VersionConflictError,
)
from engine.domain.models import Job, NewJob, Transition
from engine.domain.moves import Move, Started
from engine.domain.retention import Retention
from engine.testing.fixtures import OpenEngine, StorageFixtures
from engine.testing.values import LONGEST_RESULT, NOON, TEXTS, TIMES, OddStatus

Engine: TypeAlias = Any  # either facade; every call is awaited
OddJob: TypeAlias = Job[OddStatus]

_SECONDS_AGAINST_HANGS = 60
_TASKS = 20


async def end(engine: Engine, job: OddJob, result: str = "done") -> OddJob:
    """Run a job to a success, and return it."""
    await engine.transition(job.job_id, OddStatus.RUNNING)
    ended: OddJob = await engine.transition(job.job_id, OddStatus.DONE, result=result)
    assert ended.result == result
    return ended


async def everything(engine: Engine) -> list[tuple[OddJob, list[Transition[OddStatus]]]]:
    """Return all jobs with their histories; check that `get_many` and `count` agree."""
    jobs: list[OddJob] = []
    page = await engine.list_jobs(limit=7)
    while page.jobs:
        jobs += page.jobs
        if page.next_cursor is None:
            break
        page = await engine.list_jobs(limit=7, after=page.next_cursor)
    assert await engine.get_many(job.job_id for job in jobs) == jobs
    assert await engine.count() == len(jobs)
    histories = [await engine.history(job.job_id) for job in jobs]
    assert all(
        lines[-1].to_status is job.status for job, lines in zip(jobs, histories, strict=True)
    )
    return list(zip(jobs, histories, strict=True))


def ticking(start: datetime = NOON) -> Callable[[], datetime]:
    """Return a clock that advances by a second with each reading."""
    seconds = count()
    return lambda: start + timedelta(seconds=next(seconds))


class EngineTests(StorageFixtures):
    """Tests `JobEngine` and `SyncJobEngine` on the storage."""

    async def test_the_life_of_a_job(self, open_engine: OpenEngine) -> None:
        async with open_engine() as engine:
            live = await engine.create("live")
            job = await engine.create("ß'", payment_id="%", idempotency_key="\\")
            assert await engine.get(job.job_id) == job
            ended = await end(engine, job, LONGEST_RESULT)
            assert await engine.get_many([job.job_id, live.job_id]) == [ended, live]
            assert (ended.input_hash, ended.blockchain_identifier) == ("ß'", "%")
            assert (await engine.list_jobs()).jobs == (live, ended)
            assert (await engine.list_jobs(OddStatus.DONE)).jobs == (ended,)
            assert [await engine.count(status) for status in OddStatus] == [1, 0, 1, 0]
            lines = await engine.history(job.job_id)
            assert [line.sequence for line in lines] == [2, 3, 4]
            assert [line.to_status for line in lines] == [
                *(OddStatus.WAITING, OddStatus.RUNNING, OddStatus.DONE)
            ]
            with pytest.raises(JobNotFoundError):
                await engine.get("unheard of")

    async def test_an_ended_job_stays_as_it_is(self, open_engine: OpenEngine) -> None:
        async with open_engine() as engine:
            job = await end(engine, await engine.create("ended", idempotency_key="key"))
            live = await engine.create("live")
            before = await everything(engine)
            with pytest.raises(InvalidStateTransitionError):
                await engine.transition(job.job_id, OddStatus.RUNNING)
            with pytest.raises(VersionConflictError):
                await engine.transition(job.job_id, OddStatus.RUNNING, expected_version=1)
            moves = [Move(each.job_id, OddStatus.RUNNING) for each in (live, job)]
            with pytest.raises(InvalidStateTransitionError) as caught:
                await engine.transition_many(moves)
            assert caught.value.item == 1
            with pytest.raises(JobNotFoundError):
                await engine.get_many([job.job_id, "unheard of"])
            assert await everything(engine) == before

    async def test_an_ended_job_keeps_its_key_and_its_id(self, open_engine: OpenEngine) -> None:
        ids = iter(["one", "two", "three", "four", "one", "five"]).__next__
        large = "i" * 100_000  # so that the engine keeps the ended job nowhere else
        async with open_engine(new_id=ids) as engine:
            created = await engine.create("ended", idempotency_key="key", input=large)
            job = await end(engine, created)
            assert await engine.create("ended", idempotency_key="key", input=large) == job
            with pytest.raises(IdempotencyConflictError):
                await engine.create("other", idempotency_key="key", input=large)
            with pytest.raises(DuplicateJobIdError) as caught:
                await engine.create_many([NewJob("a"), NewJob("b")])
            assert (caught.value.job_id, caught.value.item) == ("one", 1)
            assert (await engine.create("c")).job_id == "five"
            assert await engine.get("one") == job
            assert await engine.count() == 2

    async def test_a_payment_that_came_later_finds_its_job(self, open_engine: OpenEngine) -> None:
        large = "i" * 100_000  # so that the engine keeps the ended job nowhere else
        async with open_engine() as engine:
            job = await engine.create("a", input=large)
            started = await engine.start(job.job_id, payment_id="p")
            assert (started.first, started.job.payment_id) == (True, "p")
            ended = await engine.transition(job.job_id, OddStatus.DONE)
            other = await end(engine, await engine.create("b", input=large))
            paid = (await engine.start(other.job_id, payment_id="q")).job
            assert await engine.get_many([job.job_id, other.job_id]) == [ended, paid]
            for payment, its_job in (("p", ended), ("q", paid)):
                assert await engine.start(payment_id=payment) == Started(its_job, first=False)
                with pytest.raises(PaymentInUseError):
                    await engine.create("c", payment_id=payment)

    async def test_jobs_may_end_in_the_batch_that_creates_others(
        self, open_engine: OpenEngine
    ) -> None:
        async with open_engine() as engine:
            jobs = await engine.create_many([NewJob("a", idempotency_key="a"), NewJob("b")])
            steps = (OddStatus.RUNNING, OddStatus.LOST)
            moves = [Move(job.job_id, status) for job in jobs for status in steps]
            moved = await engine.transition_many(moves)
            assert await engine.get_many(job.job_id for job in jobs) == moved[1::2]

    async def test_the_largest_call(self, open_engine: OpenEngine) -> None:
        async with open_engine() as engine:
            jobs = await engine.create_many(NewJob("a") for _ in range(10_000))
            steps = (OddStatus.RUNNING, OddStatus.DONE)
            moves = [Move(job.job_id, status) for job in jobs[:1_000] for status in steps]
            ended = await engine.transition_many(moves)
            assert await engine.count(OddStatus.DONE) == 1_000
            found = await engine.get_many(job.job_id for job in jobs)
            assert found == ended[1::2] + jobs[1_000:]

    async def test_whoever_is_answered_sees_it(self, open_engine: OpenEngine) -> None:
        async with open_engine() as engine:

            async def one(number: int) -> None:
                job = await engine.create(f"input {number}", idempotency_key=f"key {number}")
                assert await engine.get(job.job_id) == job
                ended = await end(engine, job)
                again = await engine.create(f"input {number}", idempotency_key=f"key {number}")
                assert await engine.get(job.job_id) == ended == again
                assert len(await engine.history(job.job_id)) == 3
                assert ended in (await engine.list_jobs(OddStatus.DONE, limit=1_000)).jobs

            async with anyio.create_task_group() as tasks:
                for number in range(_TASKS):
                    tasks.start_soon(one, number)
            await _check_sequence(engine, 3 * _TASKS)

    async def test_everything_is_there_after_a_restart(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        before: list[Any] = []
        for number, start in enumerate(TIMES[:-2:2]):
            async with open_engine(clock=ticking(start)) as engine:
                assert await everything(engine) == before
                for text in TEXTS[number::9]:
                    await engine.create(text, payment_id=text, idempotency_key=text)
                    await end(engine, await engine.create(text), text)
                before = await everything(engine)
                await _check_sequence(engine, sum(len(lines) for _, lines in before))

    async def test_a_job_goes_on_after_a_restart(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine() as engine:
            job = await engine.create("a")
            await engine.transition(job.job_id, OddStatus.RUNNING, expected_version=1)
        async with open_engine() as engine:
            with pytest.raises(VersionConflictError):
                await engine.transition(job.job_id, OddStatus.LOST, expected_version=1)
            await engine.transition(job.job_id, OddStatus.LOST, expected_version=2, error="e")
        async with open_engine() as engine:
            lost = await engine.get(job.job_id)
            assert (lost.status, lost.version, lost.error) == (OddStatus.LOST, 3, "e")
            with pytest.raises(InvalidStateTransitionError):
                await engine.transition(job.job_id, OddStatus.RUNNING)
            await _check_sequence(engine, 3)

    async def test_a_key_gives_the_same_job_after_a_restart(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine() as engine:
            live = await engine.create("live", idempotency_key="KEY")
            ended = await end(engine, await engine.create("ended", idempotency_key="key"))
        async with open_engine() as engine:
            for job in (live, ended):
                again = {"idempotency_key": job.idempotency_key}
                assert await engine.create(job.input_hash, **again) == job
                with pytest.raises(IdempotencyConflictError):
                    await engine.create("other", **again)
            assert await engine.count() == 2

    async def test_a_cursor_goes_on_after_a_restart(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine() as engine:
            jobs = await engine.create_many(NewJob(f"input {number}") for number in range(5))
            page = await engine.list_jobs(limit=2)
        async with open_engine() as engine:
            newest = await engine.create("newest")
            rest = await engine.list_jobs(after=page.next_cursor)
            assert [*page.jobs, *rest.jobs] == [*jobs, newest]

    async def test_a_second_engine_is_refused(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        self.needs_one_engine()
        async with open_engine() as engine:
            job = await engine.create("a")
            with pytest.raises(StorageInUseError):
                async with open_engine():
                    pass
            ended = await end(engine, job)
        async with open_engine() as engine:
            assert await engine.get(job.job_id) == ended

    async def test_retention_removes_ended_jobs(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine() as engine:
            live = await engine.create("live", idempotency_key="of live")
            for number in range(5):
                job = await engine.create("a", idempotency_key=f"key {number}")
                last = await end(engine, job)
        async with open_engine(retention=Retention(max_jobs=1)) as engine:
            await _until_removed(engine, 4)
            assert [job for job, _ in await everything(engine)] == [live, last]
            with pytest.raises(JobNotFoundError):
                await engine.history("key 0")
            again = await engine.create("other", idempotency_key="key 0")
        late = ticking(NOON + timedelta(days=100_000))
        async with open_engine(clock=late, retention=Retention(timedelta(1))) as engine:
            await _until_removed(engine, 1)
            assert [job for job, _ in await everything(engine)] == [live, again]
            await _check_numbers_go_on(engine, again)

    async def test_a_backup_has_all_that_was_acknowledged(
        self, open_engine: OpenEngine, tmp_path: Path
    ) -> None:
        self.needs_backup()
        async with open_engine() as engine:
            await end(engine, await engine.create("a", idempotency_key="key"))
            await engine.create("b")
            copied = await everything(engine)
            await engine.backup(tmp_path / "copy")
            await engine.create("c")
            async with open_engine(path=tmp_path / "copy") as copy:
                assert await everything(copy) == copied
                await _check_sequence(copy, 4)


async def _check_sequence(engine: Engine, newest: int) -> None:
    """Check that the transitions of all histories are numbered from 1 without gaps."""
    sequences = [line.sequence for _, lines in await everything(engine) for line in lines]
    assert sorted(sequences) == list(range(1, newest + 1))
    assert (await engine.statistics()).last_sequence == newest


async def _until_removed(engine: Engine, jobs: int) -> None:
    with anyio.fail_after(_SECONDS_AGAINST_HANGS):
        while (await engine.statistics()).removed < jobs:
            await checkpoint()
    assert (await engine.statistics()).removed == jobs


async def _check_numbers_go_on(engine: Engine, newest: OddJob) -> None:
    """Check that a new job's first transition has the number after that of the newest job."""
    [line] = await engine.history(newest.job_id)
    [next_line] = await engine.history((await engine.create("next")).job_id)
    assert next_line.sequence == line.sequence + 1
