"""Retrying by hand: a job runs again now, as if none of its attempts had failed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    Job,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    Lifecycle,
    NotRetryableError,
    OrderStatus,
)
from engine.domain.lifecycle import Event
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.finish import FinishJob
from engine.owner.prompts import prompt_text
from engine.testing.facades import FACADES, Engine, opened_engine
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import Claim, NewPlace, claimed, claimed_one, release, token_of
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio

RUNNING, ATTENTION = OrderStatus.RUNNING, OrderStatus.NEEDS_ATTENTION
HOUR = timedelta(hours=1)


def orders(place: Any = None, **how: Any) -> JobEngine[OrderStatus]:  # noqa: ANN401 - any place
    return JobEngine(place, lifecycle=ORDER_LIFECYCLE, **how)


async def exhausted(engine: JobEngine[OrderStatus], **given: Any) -> Job[OrderStatus]:  # noqa: ANN401
    """Return a job whose attempts are used up."""
    job = await engine.create("hash", start=True, **given)
    for last in (False, True):
        _, token = await claimed_one(engine)
        if last:
            await engine.core.ask(FinishJob(job.job_id, token, Event.EXHAUST, error="no paper"))
        else:
            await release(engine, job.job_id, token, failed=True)
    return await engine.get(job.job_id)


@pytest.fixture(params=FACADES)
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, lifecycle=ORDER_LIFECYCLE) as engine:
        yield engine


async def test_a_job_that_needs_attention_runs_again(shop: Engine) -> None:
    job = await shop.create("hash", start=True)
    await shop.transition(job.job_id, ATTENTION)
    again = await shop.retry(job.job_id, by="Ada", reason="the printer has paper")
    assert (again.status, again.version) == (RUNNING, 3)
    line = (await shop.history(job.job_id))[-1]
    assert (line.from_status, line.to_status) == (ATTENTION, RUNNING)
    assert (line.by, line.reason) == ("Ada", "the printer has paper")


async def test_it_has_fresh_attempts(new_place: NewPlace) -> None:
    async with orders(new_place()) as engine:
        job = await exhausted(engine, deadlines={ATTENTION: HOUR, RUNNING: 2 * HOUR})
        assert (job.status, job.attempt, job.failures) == (ATTENTION, 2, 2)
        assert (job.error, job.last_error, job.outcome) == (None, "no paper", None)
        assert job.deadline_at == job.updated_at + HOUR
        assert job.next_attempt_at is None
        again = await engine.retry(job.job_id)
        assert (again.failures, again.deaths, again.next_attempt_at) == (0, 0, None)
        assert again.deadline_at == again.updated_at + 2 * HOUR
        assert again.last_error == "no paper"
        [record] = await claimed(engine)
        assert (record.job_id, record.execution.attempt) == (job.job_id, 3)
        await release(engine, job.job_id, token_of(record), failed=True)
        assert [each.number for each in await engine.attempts(job.job_id)] == [1, 2, 3]


async def test_a_plain_move_out_of_attention_begins_anew_too(new_place: NewPlace) -> None:
    async with orders(new_place()) as engine:
        job = await exhausted(engine)
        again = await engine.transition(job.job_id, RUNNING, expected_status=ATTENTION)
        assert (again.failures, again.deaths, again.last_error) == (0, 0, "no paper")
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, failed=True)
        paused = await engine.transition(job.job_id, OrderStatus.AWAITING_INPUT)
        resumed = await engine.transition(
            job.job_id, RUNNING, expected_status=OrderStatus.AWAITING_INPUT
        )
        assert (paused.failures, resumed.failures) == (1, 1), "a pause forgives nothing"


async def test_a_job_that_is_to_be_cancelled_ends_where_it_would_need_attention() -> None:
    async with orders() as engine:
        job = await engine.create("hash", start=True)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id, "enough")
        await engine.core.ask(FinishJob(job.job_id, token, Event.EXHAUST, error="no paper"))
        ended = await engine.get(job.job_id)
        assert (ended.status, ended.error) == (OrderStatus.CANCELLED, "cancelled: enough")
        assert ended.last_error == "no paper"


async def test_a_job_that_waits_for_its_next_attempt_waits_no_longer(new_place: NewPlace) -> None:
    async with orders(new_place(), clock=VirtualClock()) as engine:
        job = await engine.create("hash", start=True, deadlines={RUNNING: HOUR})
        _, token = await claimed_one(engine)
        await release(engine, job.job_id, token, 600, failed=True)
        claim = await Claim(engine.core).seen()
        waiting = await engine.get(job.job_id)
        assert not claim.is_told
        assert (waiting.failures, waiting.next_attempt_at is None) == (1, False)
        again = await engine.retry(job.job_id, by="Ada")
        assert (again.failures, again.next_attempt_at) == (0, None)
        assert (again.version, again.deadline_at) == (waiting.version, waiting.deadline_at)
        [record] = await claim.records()
        assert (record.job_id, record.execution.attempt) == (job.job_id, 2)
        assert len(await engine.history(job.job_id)) == 1, "it did not move"


async def test_a_suspect_runs_beside_all_others(lasting_place: NewPlace) -> None:
    async with orders(lasting_place()) as engine:
        jobs = [await engine.create("hash", start=True) for _ in range(2)]
        for _ in jobs:
            await claimed_one(engine)
    async with orders(lasting_place()) as engine:
        claim = await Claim(engine.core, 2).seen()
        assert not claim.is_told
        for job in jobs:
            again = await engine.retry(job.job_id)
            assert (again.deaths, again.next_attempt_at) == (0, None)
        first = await claim.records()
        rest = await claimed(engine) if len(first) == 1 else []
        assert {each.job_id for each in (*first, *rest)} == {job.job_id for job in jobs}


async def test_a_dead_attempt_is_not_judged_any_more(lasting_place: NewPlace) -> None:
    async with orders(lasting_place()) as engine:
        job = await engine.create("hash", start=True)
        await claimed_one(engine)
    async with orders(lasting_place()) as engine:
        await engine.retry(job.job_id)
        [record] = await claimed(engine, idempotent=False)
        assert (record.execution.attempt, record.execution.died_attempt) == (2, None)


async def test_each_other_state_is_refused_and_says_what_to_do(shop: Engine) -> None:
    unpaid = await shop.create("hash")
    ready = await shop.create("hash", start=True)
    later = await shop.create("hash", start=True, not_before=HOUR)
    done = await shop.create("hash", start=True)
    await shop.transition(done.job_id, OrderStatus.COMPLETED)
    paused = await shop.create("hash", start=True)
    await shop.transition(paused.job_id, OrderStatus.AWAITING_INPUT)
    for job, status, what in (
        (unpaid, "awaiting_payment", "it has not started; start it"),
        (ready, "running", "it is ready, .*; the next free worker takes it"),
        (later, "running", "it may not run before .*; wait until then"),
        (done, "completed", "it has ended; `repeat` makes another job like it$"),
        (paused, "awaiting_input", "no attempt of it has failed; move it by `transition`"),
    ):
        before = await shop.get(job.job_id)
        with pytest.raises(NotRetryableError, match=what) as refused:
            await shop.retry(job.job_id)
        assert (refused.value.job_id, refused.value.status) == (job.job_id, status)
        assert await shop.get(job.job_id) == before
    with pytest.raises(JobNotFoundError):
        await shop.retry("unheard of")


async def test_a_job_at_work_is_refused() -> None:
    async with orders() as engine:
        job = await engine.create("hash", start=True)
        _, token = await claimed_one(engine)
        with pytest.raises(NotRetryableError, match="attempt 1 is at work on it"):
            await engine.retry(job.job_id)
        prompt = prompt_text("p", {}, "name", None)
        await engine.core.ask(AskForInput(job.job_id, token, prompt, None))
        with pytest.raises(NotRetryableError, match="give it by `provide_input`"):
            await engine.retry(job.job_id)


async def test_a_dead_job_that_is_to_be_cancelled_is_refused(lasting_place: NewPlace) -> None:
    async with orders(lasting_place()) as engine:
        job = await engine.create("hash", start=True)
        await claimed_one(engine)
        await engine.cancel(job.job_id)
    async with orders(lasting_place()) as engine:
        with pytest.raises(NotRetryableError, match="it is to be cancelled"):
            await engine.retry(job.job_id)


@pytest.mark.parametrize("lifecycle", [PAID_JOB_LIFECYCLE])
async def test_a_lifecycle_that_knows_no_retry_names_one_that_does(
    lifecycle: Lifecycle[JobStatus],
) -> None:
    async with JobEngine(lifecycle=lifecycle) as engine:
        failed = await engine.create("hash", start=True)
        await engine.transition(failed.job_id, JobStatus.FAILED)
        with pytest.raises(NotRetryableError, match="or use ORDER_LIFECYCLE"):
            await engine.retry(failed.job_id)
        done = await finished(engine)
        with pytest.raises(NotRetryableError, match=r"`repeat` makes another job like it$"):
            await engine.retry(done.job_id)
