"""Claims: each ready job goes to one attempt, and only its token moves the job; none is lost."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import (
    AgentJobStatus,
    CommitUnknownError,
    DuplicateJobIdError,
    EngineClosedError,
    EngineCrashedError,
    Job,
    JobClaimedError,
    JobEngine,
    Lifecycle,
    NewJob,
    StaleAttemptError,
    StorageError,
    StorageFullError,
    Worker,
)
from engine.owner.commands.claim import ClaimJobs
from engine.owner.free_places import FreePlaces
from engine.owner.waiting_claims import ServedClaim
from engine.storage.record import (
    Record,
)
from engine.testing.virtual_clock import VirtualClock
from tests.unit.calls import calls_during
from tests.unit.claiming import (
    Claim,
    NewPlace,
    agents,
    claimed,
    claimed_one,
    release,
    running,
    token_of,
)
from tests.unit.failing import FailingStorage

pytestmark = pytest.mark.anyio

RUNNING, COMPLETED, FAILED = (
    *(AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED, AgentJobStatus.FAILED),
)


async def test_a_job_is_claimed_in_the_commit_that_makes_it_ready() -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        job = await engine.create("hash")
        claim = await Claim(engine.core).seen()
        assert not claim.is_told
        await engine.transition(job.job_id, RUNNING)
        [record] = await claim.records()
    assert record.job_id == job.job_id
    assert [len(batch) for batch in storage.batches] == [1, 2]


async def test_a_claim_is_no_transition(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        await claimed(engine)
        held = await engine.get(job.job_id)
        claimed_at = held.claimed_at
        assert held == job.model_copy(update={"attempt": 1, "claimed_at": claimed_at})
        assert claimed_at is not None
        assert claimed_at >= job.updated_at
        assert [line.sequence for line in await engine.history(job.job_id)] == [1, 2]
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.running, statistics.attempts) == (0, 1, 1)


async def test_several_parked_claims_never_get_the_same_job(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        claims = [await Claim(engine.core, limit).seen() for limit in (1, 3, 2)]
        for count in (2, 5):
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(running, engine)
        got = [record.job_id for claim in claims for record in await claim.records()]
        got += [record.job_id for record in await claimed(engine, 10)] if len(got) < 7 else []
        assert len(got) == len(set(got)) == 7
        assert not (await Claim(engine.core).seen()).is_told


async def test_a_claim_gets_jobs_of_its_kinds_alone(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        few = await Claim(engine.core, 5, kinds={"a": 1, "b": 5}).seen()
        other = await Claim(engine.core, 5, kinds={"c": 5}).seen()
        await engine.create_many([NewJob(start=True, kind=kind) for kind in "aabbd"])
        assert [record.kind for record in await few.records()] == ["a", "b", "b"]
        assert not other.is_told
        again = await claimed(engine, 5, kinds={"d": 5, "a": 5})
        assert sorted(record.kind for record in again) == ["a", "d"]


async def test_a_waiting_claim_has_the_places_that_are_free_at_the_time() -> None:
    async with agents() as engine:
        claim = await Claim(engine.core, 1, kinds={"a": 0, "b": 1}).seen()
        await engine.create_many([NewJob(start=True, kind="a")] * 3)
        assert not claim.is_told
        claim.places.leave("a")
        claim.places.leave("a")
        await engine.create("any write")
        assert [record.kind for record in await claim.records()] == ["a", "a"]


async def test_a_claim_that_was_is_abandoned_gets_nothing() -> None:
    async with agents() as engine:
        job = await engine.create("hash")
        left = await Claim(engine.core).seen()
        stays = await Claim(engine.core).seen()
        left.message.is_abandoned = True
        await engine.transition(job.job_id, RUNNING)
        assert await left.records() == []
        assert [record.job_id for record in await stays.records()] == [job.job_id]


async def test_only_the_holder_of_the_token_may_move_a_job_on(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        job = await running(engine)
        _, first = await claimed_one(engine)
        with pytest.raises(JobClaimedError) as held:
            await engine.transition(job.job_id, COMPLETED)
        assert (held.value.job_id, held.value.attempt) == (job.job_id, 1)
        await release(engine, job.job_id, first, failed=True)
        _, second = await claimed_one(engine)
        for late in (
            lambda: engine.transition(job.job_id, COMPLETED, attempt_token=first),
            lambda: release(engine, job.job_id, first, failed=True),
        ):
            with pytest.raises(StaleAttemptError) as stale:
                await late()
            assert (stale.value.job_id, stale.value.attempt) == (job.job_id, 2)
        assert (await engine.get(job.job_id)).version == job.version
        done = await engine.transition(job.job_id, COMPLETED, attempt_token=second, result="yes")
        assert (done.status, done.result, done.attempt) == (COMPLETED, "yes", 2)
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, FAILED, attempt_token=second)


async def test_a_token_where_no_attempt_has_the_job_is_stale() -> None:
    async with agents() as engine:
        job = await engine.create("hash")
        with pytest.raises(StaleAttemptError):
            await engine.transition(job.job_id, RUNNING, attempt_token="unheard of")  # noqa: S106
        assert await engine.get(job.job_id) == job


async def test_the_time_of_the_next_attempt_survives_reopening(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(lasting_place(), clock=clock) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, 60, failed=True)
        assert (await engine.statistics()).retried == 1
    async with agents(lasting_place(), clock=clock) as engine:
        assert ((await engine.get(job.job_id)).next_attempt_at or clock()) > clock()
        claim = await Claim(engine.core).seen()
        await clock.advance(59)
        assert not claim.is_told
        await clock.advance(1)
        [record] = await claim.records()
        work = record.execution
        assert (record.job_id, work.attempt, work.failures) == (job.job_id, 2, 1)
        assert (await engine.get(job.job_id)).next_attempt_at is None


async def test_an_attempt_that_was_cut_short_is_no_failure(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, failed=False)
    async with agents(lasting_place()) as engine:
        [record] = await claimed(engine, max_deaths=1, idempotent=False)
        work = record.execution
        assert (record.job_id, work.attempt, work.failures) == (job.job_id, 2, 0)


async def test_a_dead_attempt_holds_no_job_whose_status_is_no_longer_the_running_one(
    lasting_place: NewPlace,
) -> None:
    """The next program may have a lifecycle with another running status."""
    async with agents(lasting_place()) as engine:
        job = await running(engine)
        await claimed_one(engine)
    statuses = AgentJobStatus
    moves = {
        statuses.AWAITING_PAYMENT: [statuses.AWAITING_INPUT],
        statuses.AWAITING_INPUT: [statuses.RUNNING, statuses.COMPLETED, statuses.FAILED],
        statuses.RUNNING: [statuses.AWAITING_INPUT, statuses.COMPLETED],
        statuses.COMPLETED: [],
        statuses.FAILED: [],
    }
    lifecycle = Lifecycle(
        statuses,
        moves,
        initial=statuses.AWAITING_PAYMENT,
        running=statuses.AWAITING_INPUT,
        success=[COMPLETED],
        failure=[FAILED],
    )
    async with JobEngine(lasting_place(), lifecycle=lifecycle) as engine:
        assert (await engine.transition(job.job_id, COMPLETED)).status is COMPLETED


def _claims() -> list[ClaimJobs]:
    return [each for each in gc.get_objects() if isinstance(each, ClaimJobs)]


@pytest.mark.parametrize("claims", [1, 3])
async def test_a_claim_that_was_answered_holds_no_job(claims: int) -> None:
    """A claim waits with its worker for the next job, long after it was served."""

    async def end(_job: Job[AgentJobStatus]) -> str:
        return "done"

    others = _claims()  # which another test may have left
    async with agents() as engine, Worker(engine, end, concurrency=claims):
        for _ in range(4):
            await engine.wait((await running(engine)).job_id)
        await anyio.wait_all_tasks_blocked()
        served = [each for each in _claims() if each not in others]
        assert not any(each.outcome() for each in served if each.answered)


async def test_a_storage_that_fails_refuses_all_claims_and_loses_no_job() -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        job = await engine.create("hash")
        claims = [await Claim(engine.core).seen() for _ in range(2)]
        storage.failures = [StorageFullError("full")]
        with pytest.raises(StorageFullError):
            await engine.transition(job.job_id, RUNNING)
        for claim in claims:
            with pytest.raises(StorageFullError):
                await claim.records()
        await engine.transition(job.job_id, RUNNING)
        storage.failures = [StorageFullError("full")]
        with pytest.raises(StorageFullError):
            await claimed(engine)
        assert (await claimed_one(engine))[0] == job.job_id
        assert (await engine.statistics()).attempts == 1


@pytest.mark.parametrize("silent", [0, 2])
@pytest.mark.parametrize("applied", [False, True])
async def test_jobs_of_a_claim_of_unknown_outcome_come_to_a_later_one(
    applied: bool,  # noqa: FBT001 - a parameter of the test
    silent: int,
) -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        jobs = [await running(engine) for _ in range(3)]
        storage.failures = [CommitUnknownError(StorageFullError("the sync failed"))]
        storage.applied, storage.silent = applied, silent
        got: list[Record] = []
        for _ in range(silent + 3):
            try:
                got += await claimed(engine, 2)
            except (StorageError, CommitUnknownError):
                continue
            if len(got) == len(jobs):
                break
        assert sorted(record.job_id for record in got) == sorted(job.job_id for job in jobs)
        for record in got:
            await engine.transition(record.job_id, COMPLETED, attempt_token=token_of(record))


def _doubt(engine: JobEngine[AgentJobStatus], record: Record) -> None:
    """Let the owner recover the claimed jobs, as after a commit of unknown outcome."""
    claims = engine._owner._writes.claims  # noqa: SLF001 - a storage that fails so is no file
    refused = ClaimJobs(FreePlaces(1, {}), lambda: None)
    claims.doubt([ServedClaim(refused, [record])])
    claims.resolve(applied=True)


async def _found(
    engine: JobEngine[AgentJobStatus],
    storage: FailingStorage,
    **given: Any,  # noqa: ANN401 - of `create`
) -> str:
    """Claim a job in a commit of unknown outcome that was applied; return its id."""
    job = await running(engine, **given)
    storage.failures = [CommitUnknownError(StorageFullError("the sync failed"))]
    storage.applied, storage.silent = True, 1
    with pytest.raises(CommitUnknownError):
        await claimed(engine)
    return job.job_id


async def test_a_job_found_again_is_not_lost_when_the_next_commit_fails_too() -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        job_id = await _found(engine, storage)
        storage.failures = [StorageFullError("full")]
        claim = Claim(engine.core)
        with pytest.raises(StorageFullError):
            await engine.create("the change that fails")
        with pytest.raises(StorageFullError):
            await claim.records()
        assert (await claimed_one(engine))[0] == job_id


async def test_a_job_found_again_is_not_lost_in_a_second_doubt() -> None:
    storage = FailingStorage()
    async with agents(storage) as engine:
        job = await running(engine)
        [record] = await claimed(engine)
        _doubt(engine, record)
        storage.failures = [CommitUnknownError(StorageFullError("the sync failed"))]
        claim = Claim(engine.core)
        with pytest.raises(StorageFullError):
            await engine.create("the change that is not applied")
        with pytest.raises(StorageFullError):
            await claim.records()
        assert (await claimed_one(engine))[0] == job.job_id


async def test_a_job_found_again_is_not_lost_when_the_batch_is_decided_twice(
    lasting_place: NewPlace,
) -> None:
    ids = iter(["ended", "one", "ended"])
    storage = lasting_place()
    async with agents(storage, new_id=lambda: next(ids)) as engine:
        await engine.cancel((await engine.create("hash")).job_id)
        job = await running(engine)
        [record] = await claimed(engine)
        _doubt(engine, record)
        claim = Claim(engine.core)
        with pytest.raises(DuplicateJobIdError):
            await engine.create("hash")
        assert [each.job_id for each in await claim.records()] == [job.job_id]


async def test_a_job_found_again_that_has_moved_on_is_given_to_nobody() -> None:
    storage, clock = FailingStorage(), VirtualClock()
    async with agents(storage, clock=clock) as engine:
        deadlines = {RUNNING: timedelta(hours=1)}
        job_id = await _found(engine, storage, deadlines=deadlines)
        await clock.advance(3_600)
        assert (await engine.wait(job_id, timeout=5)).error == "expired"
        assert not (await Claim(engine.core).seen()).is_told


async def test_parked_claims_are_told_when_the_engine_ends() -> None:
    async with agents() as engine:
        claim = await Claim(engine.core).seen()
    with pytest.raises(EngineClosedError):
        await claim.records()


async def test_parked_claims_are_told_when_the_engine_crashes() -> None:
    storage = FailingStorage()
    with pytest.raises(EngineCrashedError):
        async with agents(storage) as engine:
            claim = await Claim(engine.core).seen()
            storage.failures = [KeyError("planted")]
            with pytest.raises(EngineCrashedError):
                await engine.create("hash")
            with pytest.raises(EngineCrashedError):
                await claim.records()


async def _calls_with(workers: int) -> int:
    """Return the function calls of creating 1,000 jobs beside so many idle workers."""
    async with agents() as engine, AsyncExitStack() as stack:
        for number in range(workers):
            await stack.enter_async_context(Worker(engine, {f"kind-{number}": str}))
        await anyio.wait_all_tasks_blocked()
        return await calls_during(lambda: engine.create_many([NewJob("hash")] * 1_000))


async def test_idle_workers_cost_a_batch_next_to_nothing() -> None:
    one, hundred = await _calls_with(1), await _calls_with(100)
    assert hundred < one + 100 * 20
