"""Deaths of engines: the suspects rest, run one at a time, and only the one at work is charged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    AgentJobStatus,
    JobEngine,
    OrderStatus,
    Retry,
    StaleAttemptError,
    StorageFullError,
)
from engine.domain.deaths import NOT_REPEATED
from engine.storage.record import Record
from engine.testing.virtual_clock import VirtualClock
from tests.proof.storages import PlainStorage
from tests.unit.claiming import (
    AgentJob,
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
SECONDS = 60
REST_SECONDS = 10
"""Of a suspect in these tests, unless two deaths count against it."""


class Lives:
    """One file of jobs, and the engines that open it and die."""

    def __init__(self, place: NewPlace, clock: VirtualClock) -> None:
        self._place = place
        self.clock = clock

    @asynccontextmanager
    async def life(self) -> AsyncIterator[JobEngine[AgentJobStatus]]:
        """Open an engine; the attempts that it leaves are dead, as after a kill."""
        with anyio.fail_after(SECONDS):
            async with agents(self._place(), clock=self.clock) as engine:
                yield engine

    async def dies_with(self, count: int, **how: object) -> Sequence[Record]:
        """Open an engine that dies once it has claimed so many jobs, as soon as they may run."""
        async with self.life() as engine:
            return await self.claim(engine, count, **how)

    async def claim(
        self, engine: JobEngine[AgentJobStatus], count: int, **how: object
    ) -> Sequence[Record]:
        """Claim so many jobs, which may rest before."""
        claim = await Claim(engine.core, 100, **how).seen()  # type: ignore[arg-type]
        if not claim.is_told:
            await self.clock.advance(4 * REST_SECONDS)
        records = await claim.records()
        assert len(records) == count
        return records


@pytest.fixture
def lives() -> Lives:
    storage = PlainStorage()
    return Lives(lambda: storage, VirtualClock())


def _deaths(records: Sequence[Record]) -> list[int | None]:
    return [record.execution.deaths for record in records]


async def _add(lives: Lives, count: int) -> list[AgentJob]:
    async with lives.life() as engine:
        return [await running(engine) for _ in range(count)]


async def test_suspects_rest_before_their_next_attempt(lives: Lives) -> None:
    jobs = await _add(lives, 2)
    [first, _] = await lives.dies_with(2)
    async with lives.life() as engine:
        claim = await Claim(engine.core, 2).seen()
        rests_until = lives.clock() + timedelta(seconds=REST_SECONDS)
        for job in jobs:
            waits = await engine.get(job.job_id)
            assert (waits.status, waits.attempt) == (RUNNING, 1)
            assert waits.next_attempt_at == rests_until
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.waiting, statistics.retried) == (0, 2, 2)
        await lives.clock.advance(REST_SECONDS - 1)
        assert not claim.is_told
        await lives.clock.advance(1)
        [record] = await claim.records()
        assert (record.job_id, record.execution.attempt) == (jobs[0].job_id, 2)
        with pytest.raises(StaleAttemptError):
            await engine.transition(record.job_id, COMPLETED, attempt_token=token_of(first))


async def test_the_rest_keeps_its_length_when_the_clock_is_set_right(lives: Lives) -> None:
    [job] = await _add(lives, 1)
    await lives.dies_with(1)
    async with lives.life() as engine:
        claim = await Claim(engine.core).seen()
        lives.clock.jump(-timedelta(days=365))
        await lives.clock.advance(REST_SECONDS - 1)
        assert not claim.is_told
        await lives.clock.advance(1)
        [record] = await claim.records()
        assert (record.job_id, record.execution.attempt) == (job.job_id, 2)


async def test_the_rest_goes_on_over_a_restart(lives: Lives) -> None:
    [job] = await _add(lives, 1)
    await lives.dies_with(1)
    async with lives.life() as engine:
        await Claim(engine.core).seen()
        waits = await engine.get(job.job_id)
    await lives.clock.advance(REST_SECONDS - 1)
    async with lives.life() as engine:
        claim = await Claim(engine.core).seen()
        assert await engine.get(job.job_id) == waits
        await lives.clock.advance(1)
        assert _deaths(await claim.records()) == [1]


async def test_suspects_run_one_at_a_time_while_all_others_go_on(lives: Lives) -> None:
    suspects = [job.job_id for job in await _add(lives, 3)]
    await lives.dies_with(3)
    async with lives.life() as engine:
        others = [(await running(engine)).job_id for _ in range(3)]
        assert [each.job_id for each in await claimed(engine, 100)] == others
        await lives.clock.advance(REST_SECONDS)
        assert (await engine.statistics()).ready == 1
        for suspect in suspects:
            [record] = await claimed(engine, 100)
            assert record.job_id == suspect
            late = await running(engine)
            assert (await claimed_one(engine))[0] == late.job_id
            claim = await Claim(engine.core, 100).seen()
            assert not claim.is_told
            # The end of one frees the way for the next in the same batch.
            claim.message.is_abandoned = True
            await engine.transition(suspect, COMPLETED, attempt_token=token_of(record))


async def test_suspects_that_need_no_rest_run_one_at_a_time_too(lives: Lives) -> None:
    await _add(lives, 3)
    await lives.dies_with(3)
    async with lives.life() as engine:
        [suspect] = await claimed(engine, 100, retry=Retry(first_delay_seconds=0))
        assert suspect.execution.died_attempt == 1


@pytest.mark.parametrize("end", ["released", "failed", "completed", "moved", "expired"])
async def test_the_end_of_one_suspect_frees_the_way_for_the_next_one_that_is_waited_for(
    lives: Lives, end: str
) -> None:
    await _add(lives, 2)
    await lives.dies_with(2)
    async with lives.life() as engine:
        [one] = await lives.claim(engine, 1)
        claim = await Claim(engine.core).seen()
        assert not claim.is_told
        token = token_of(one)
        if end in {"released", "failed"}:
            await release(engine, one.job_id, token, 99, failed=end == "failed")
        else:
            target = {
                "completed": COMPLETED,
                "moved": AgentJobStatus.AWAITING_INPUT,
                "expired": FAILED,
            }[end]
            await engine.transition(one.job_id, target, attempt_token=token)
        [two] = await claim.records()
        assert two.job_id != one.job_id
        assert two.execution.died_attempt == 1


@pytest.mark.parametrize("failed", [False, True])
async def test_the_end_of_its_attempt_clears_a_suspect(lives: Lives, *, failed: bool) -> None:
    [job, beside] = await _add(lives, 2)
    await lives.dies_with(2)
    async with lives.life() as engine:
        [suspect] = await lives.claim(engine, 1)
        assert suspect.job_id == job.job_id
        await release(engine, job.job_id, token_of(suspect), failed=failed)
        [again, other] = await lives.claim(engine, 2)
        assert (again.job_id, again.execution.died_attempt) == (job.job_id, None)
        assert (other.job_id, other.execution.died_attempt) == (beside.job_id, 1)


async def test_a_death_counts_against_nobody_when_no_suspect_was_at_work(lives: Lives) -> None:
    await _add(lives, 3)
    await lives.dies_with(3)
    async with lives.life() as engine:
        assert _deaths(await lives.claim(engine, 1)) == [None]


async def test_a_death_counts_against_the_one_suspect_at_work(lives: Lives) -> None:
    """The others at work become suspects, and those that waited for their turn stay so."""
    killer, *innocent = [job.job_id for job in await _add(lives, 3)]
    await lives.dies_with(3)
    async with lives.life() as engine:
        [suspect] = await lives.claim(engine, 1)
        assert suspect.job_id == killer
        innocent += [(await running(engine)).job_id for _ in range(2)]
        assert len(await claimed(engine, 100)) == 2
    seen = {}
    async with lives.life() as engine:
        for _ in range(5):
            [record] = await lives.claim(engine, 1)
            assert record.execution.died_attempt is not None
            seen[record.job_id] = record.execution.deaths
            await engine.transition(record.job_id, COMPLETED, attempt_token=token_of(record))
    assert seen == {killer: 1, **dict.fromkeys(innocent)}


async def test_a_death_counts_against_a_job_that_was_alone_at_work(lives: Lives) -> None:
    await _add(lives, 1)
    await lives.dies_with(1)
    [record] = await lives.dies_with(1)
    assert (record.execution.deaths, record.execution.failures) == (1, 0)


async def test_a_job_beside_which_another_was_cancelled_was_not_alone(lives: Lives) -> None:
    [gone, job] = await _add(lives, 2)
    await lives.dies_with(2)
    async with lives.life() as engine:
        await engine.cancel(gone.job_id)
        [record] = await lives.claim(engine, 1)
        assert (record.job_id, record.execution.deaths) == (job.job_id, None)


async def test_deaths_without_a_worker_change_nothing(lives: Lives) -> None:
    """A crash at each start, before anything is claimed, is no death of a job."""
    await _add(lives, 2)
    await lives.dies_with(2)
    for _ in range(5):
        async with lives.life() as engine:
            assert (await engine.statistics()).ready == 2
    assert _deaths(await lives.dies_with(1)) == [None]


async def test_a_job_that_kills_its_engine_fails_alone(lives: Lives) -> None:
    """It dies again and again, and each time a new job is at work beside it."""
    killer, *_ = [job.job_id for job in await _add(lives, 3)]
    await lives.dies_with(3)
    innocent: list[Record] = []
    for _ in range(3):
        async with lives.life() as engine:
            await running(engine)
            innocent += await _run_until(lives, engine, killer)
    async with lives.life() as engine:
        innocent += await _run_until(lives, engine, killer)
        assert _deaths(innocent) == [None] * len(innocent)
        assert {each.job_id for each in innocent} == {
            job.job_id for job in (await engine.list_jobs()).jobs if job.job_id != killer
        }
        failed = await engine.get(killer)
        assert failed.error == (
            f"the process ended during attempt {failed.attempt}; 3 such deaths count against the "
            "job, as many as max_deaths allows"
        )


async def _run_until(
    lives: Lives, engine: JobEngine[AgentJobStatus], killer: str
) -> Sequence[Record]:
    """Claim jobs until the killer is at work or all have rested; return the others.

    Ends the suspects before it, and leaves the other jobs at work.
    """
    claimed: list[Record] = []
    for _ in range(8):
        claim = await Claim(engine.core, 100).seen()
        if not claim.is_told:
            await lives.clock.advance(4 * REST_SECONDS)
        if not claim.is_told:
            break
        for record in await claim.records():
            if record.job_id == killer:
                return claimed
            claimed.append(record)
            if record.execution.died_attempt is not None:
                token = token_of(record)
                await engine.transition(record.job_id, COMPLETED, attempt_token=token)
    return claimed


async def test_a_job_that_must_not_be_repeated_fails_at_its_first_death(lives: Lives) -> None:
    jobs = await _add(lives, 2)
    await lives.dies_with(2)
    async with lives.life() as engine:
        claim = await Claim(engine.core, idempotent=False).seen()
        for job in jobs:
            now = await engine.get(job.job_id)
            error = f"the process ended during attempt 1, and {NOT_REPEATED}"
            assert (now.status, now.error) == (FAILED, error)
        assert not claim.is_told


@pytest.mark.parametrize("rule", [{"idempotent": False}, {"max_deaths": 1}], ids=str)
async def test_a_job_that_may_not_run_again_waits_where_its_lifecycle_says(
    rule: dict[str, Any],
) -> None:
    storage = PlainStorage()
    with anyio.fail_after(SECONDS):
        async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
            job = await engine.create("hash")
            await engine.transition(job.job_id, OrderStatus.RUNNING)
            await claimed(engine)
        async with JobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
            claim = await Claim(engine.core, **rule).seen()
            now = await engine.get(job.job_id)
            assert (now.status, now.error) == (OrderStatus.NEEDS_ATTENTION, None)
            again = OrderStatus.RUNNING
            await engine.transition(job.job_id, again, expected_version=now.version)
            [record] = await claim.records()
            assert record.job_id == job.job_id


async def test_a_dead_job_that_was_to_be_cancelled_ends_by_the_first_claim(lives: Lives) -> None:
    [job] = await _add(lives, 1)
    async with lives.life() as engine:
        await claimed(engine)
        await engine.cancel(job.job_id, "too late")
    async with lives.life() as engine:
        await Claim(engine.core).seen()
        assert (await engine.get(job.job_id)).error == "cancelled: too late"


async def test_a_judgement_whose_commit_fails_is_made_again() -> None:
    storage, clock = FailingStorage(), VirtualClock()
    lives = Lives(lambda: storage, clock)
    await _add(lives, 2)
    await lives.dies_with(2)
    async with lives.life() as engine:
        storage.failures = [StorageFullError("full")]
        with pytest.raises(StorageFullError):
            await claimed(engine)
        assert (await engine.statistics()).ready == 2
        assert _deaths(await lives.claim(engine, 1)) == [None]
        assert (await engine.statistics()).retried == 2


async def test_the_rule_of_a_claim_that_was_withdrawn_judges_nothing(lives: Lives) -> None:
    [job] = await _add(lives, 1)
    await lives.dies_with(1)
    async with lives.life() as engine:
        withdrawn = Claim(engine.core, idempotent=False)
        withdrawn.message.is_abandoned = True
        await Claim(engine.core).seen()
        assert (await engine.get(job.job_id)).status is RUNNING
        assert (await engine.statistics()).retried == 1
