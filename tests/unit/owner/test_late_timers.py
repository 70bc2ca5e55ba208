"""Late timers: a deadline that has passed is applied before anything is decided about its job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    InvalidStateTransitionError,
    JobEndedError,
    JobEngine,
    Move,
    NewJob,
    OrderStatus,
    Outcome,
    PaymentInUseError,
    StaleAttemptError,
    StalePromptError,
    VersionConflictError,
)
from engine.domain.ids import new_job_id
from engine.domain.lifecycle import Event
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.command import Write
from engine.owner.commands.create import CreateJobs
from engine.owner.commands.extend import ExtendJob
from engine.owner.commands.finish import FinishJob
from engine.owner.commands.release import ReleaseJob
from engine.owner.commands.start import StartJob
from engine.owner.prompts import prompt_text
from engine.storage.record import NO_ACT
from tests.unit.claiming import Claim, NewPlace, claimed, claimed_one

pytestmark = pytest.mark.anyio

O = OrderStatus  # noqa: E741 - it stands in many lines
MINUTE = timedelta(minutes=1)
IN_TIME = dict.fromkeys((O.AWAITING_PAYMENT, O.RUNNING, O.AWAITING_INPUT), MINUTE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LARGE = "i" * 100_000
"""An input that keeps an ended job out of memory."""


class HandSetClock:
    """A clock that the engine's timers don't hear: they look again a long time after a jump."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def orders(new_place: NewPlace, clock: HandSetClock, **how: Any) -> JobEngine[OrderStatus]:  # noqa: ANN401
    return JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE, clock=clock, **how)


CALLS: dict[str, Callable[[JobEngine[OrderStatus], str], Any]] = {
    "start": lambda engine, job_id: engine.start(job_id),
    "start by payment": lambda engine, _: engine.start(payment_id="p"),
    "transition": lambda engine, job_id: engine.transition(job_id, O.RUNNING),
    "cancel": lambda engine, job_id: engine.cancel(job_id),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_comes_too_late_is_refused(new_place: NewPlace, call: str) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        job = await engine.create("hash", payment_id="p", deadlines=IN_TIME)
        clock.now += MINUTE
        with pytest.raises((JobEndedError, InvalidStateTransitionError)):
            await CALLS[call](engine, job.job_id)
        ended = await engine.get(job.job_id)
        assert (ended.status, ended.outcome, ended.version) == (O.EXPIRED, Outcome.EXPIRED, 2)
        assert (await engine.history(job.job_id))[1].by == "deadline"
        assert (await engine.statistics()).expired == 1


async def test_a_bulk_call_that_fails_leaves_the_expiry(new_place: NewPlace) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        late = await engine.create("hash", deadlines=IN_TIME)
        keyed = await engine.create("hash", idempotency_key="k", deadlines=IN_TIME)
        other = await engine.create("hash")
        clock.now += MINUTE
        again = [NewJob("hash", idempotency_key="k"), *[NewJob("a", payment_id="p")] * 2]
        with pytest.raises(PaymentInUseError):
            await engine.create_many(again)
        assert (await engine.get(keyed.job_id)).status is O.EXPIRED
        moves = [Move(other.job_id, O.RUNNING), Move(late.job_id, O.RUNNING)]
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition_many(moves)
        assert (await engine.get(late.job_id)).status is O.EXPIRED
        assert await engine.get(other.job_id) == other
        with pytest.raises(VersionConflictError):
            await engine.transition(late.job_id, O.RUNNING, expected_version=1)
        assert (await engine.statistics()).expired == 2


async def test_a_repeated_create_shows_that_its_job_has_expired(new_place: NewPlace) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        given: Any = {"idempotency_key": "k", "payment_id": "p", "deadlines": IN_TIME}
        job = await engine.create("hash", **given)
        clock.now += MINUTE
        again = await engine.create("hash", **given)
        assert (again.job_id, again.status) == (job.job_id, O.EXPIRED)
        with pytest.raises(PaymentInUseError):
            await engine.create("hash", payment_id="p")


async def test_an_answer_that_comes_too_late_is_refused(new_place: NewPlace) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        job = await engine.create("hash", start=True, deadlines=IN_TIME)
        _, token = await claimed_one(engine)
        prompt = prompt_text("p", int, "n", None)
        await engine.core.ask(AskForInput(job.job_id, token, prompt, None))
        clock.now += MINUTE
        with pytest.raises(StalePromptError):
            await engine.core.ask(AnswerPrompt(job.job_id, "p", "1"))
        assert (await engine.get(job.job_id)).status is O.EXPIRED


ENDS: dict[str, Callable[[str, str], Any]] = {
    "result": lambda job_id, token: FinishJob(job_id, token, Event.SUCCEED, result="x"),
    "question": lambda job_id, token: AskForInput(
        job_id, token, prompt_text("p", int, "n", None), None
    ),
    "release": ReleaseJob,
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_attempt_that_ends_too_late_is_stale(new_place: NewPlace, end: str) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        job = await engine.create("hash", start=True, deadlines=IN_TIME)
        _, token = await claimed_one(engine)
        clock.now += MINUTE
        with pytest.raises(StaleAttemptError):
            await engine.core.ask(ENDS[end](job.job_id, token))
        assert (await engine.get(job.job_id)).status is O.EXPIRED


async def test_a_claim_passes_over_jobs_whose_time_is_up(new_place: NewPlace) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        late = await engine.create_many([NewJob("late", start=True, deadlines=IN_TIME)] * 3)
        in_time = await engine.create("in time", start=True)
        clock.now += MINUTE  # and then nothing wakes the timers before the claim
        [record] = await claimed(engine, 9)
        assert record.job_id == in_time.job_id
        for job in await engine.get_many([job.job_id for job in late]):
            assert (job.status, job.attempt) == (O.EXPIRED, 0)


async def test_a_claim_gets_past_any_number_of_late_jobs(
    new_place: NewPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.owner.waiting_claims._MOST_LATE", 2)
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        await engine.create_many([NewJob("late", start=True, deadlines=IN_TIME)] * 5)
        clock.now += MINUTE
        in_time = await engine.create("in time", start=True)
        claim = await Claim(engine.core).seen()
        for _ in range(2):
            await engine.create("another round")
        [record] = await claim.records()
        assert record.job_id == in_time.job_id


async def test_a_job_whose_engine_died_and_whose_time_is_up_has_expired(
    lasting_place: NewPlace,
) -> None:
    clock = HandSetClock()
    async with orders(lasting_place, clock) as engine:
        job = await engine.create("hash", start=True, deadlines=IN_TIME)
        await claimed_one(engine)
    clock.now += MINUTE
    async with orders(lasting_place, clock) as engine:
        await Claim(engine.core, idempotent=False).seen()
        ended = await engine.get(job.job_id)
        assert (ended.outcome, ended.error) == (Outcome.EXPIRED, "expired")


async def test_a_deadline_of_the_next_status_may_have_passed_too(new_place: NewPlace) -> None:
    lifecycle = ORDER_LIFECYCLE
    moves, expires_to = dict(lifecycle.moves), dict(lifecycle.expires_to)
    expires_to[O.RUNNING] = O.NEEDS_ATTENTION
    patient = type(lifecycle)(
        O,
        moves,
        initial=O.AWAITING_PAYMENT,
        running=O.RUNNING,
        success=lifecycle.success,
        failure=lifecycle.failure,
        fails_to=O.FAILED,
        expires_to=expires_to,
        cancels_to=dict(lifecycle.cancels_to),
    )
    clock = HandSetClock()
    async with JobEngine(new_place(), lifecycle=patient, clock=clock) as engine:
        deadlines = {O.RUNNING: NOON + MINUTE, O.NEEDS_ATTENTION: NOON + MINUTE}
        job = await engine.create("hash", start=True, deadlines=deadlines)
        clock.now += MINUTE
        with pytest.raises(JobEndedError):
            await engine.cancel(job.job_id)
        steps = [line.to_status for line in await engine.history(job.job_id)]
        assert steps == [O.RUNNING, O.NEEDS_ATTENTION, O.EXPIRED]


@pytest.mark.parametrize("late", ["created", "extended"])
async def test_what_becomes_late_within_a_round_is_late_for_the_rest_of_it(
    new_place: NewPlace, late: str
) -> None:
    async with orders(new_place, HandSetClock()) as engine:
        if late == "created":
            new = NewJob(payment_id="p", deadlines={O.AWAITING_PAYMENT: NOON})
            first: Write = CreateJobs.many(ORDER_LIFECYCLE, new_job_id, [new])
        else:
            job = await engine.create(payment_id="p")
            first = ExtendJob(job.job_id, O.AWAITING_PAYMENT.value, NOON)
        engine.core.inbox.put(first)
        with pytest.raises(JobEndedError) as ended:
            await engine.core.ask(StartJob(None, "p", NO_ACT))  # in the same round
        first.outcome()
        assert ended.value.outcome is Outcome.EXPIRED


async def test_each_expiry_is_logged_whoever_notices_it(
    new_place: NewPlace, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandSetClock()
    async with orders(new_place, clock) as engine:
        job = await engine.create("hash", deadlines=IN_TIME)
        clock.now += MINUTE
        with caplog.at_level(logging.INFO), pytest.raises(JobEndedError):
            await engine.start(job.job_id)
        await anyio.wait_all_tasks_blocked()
        assert caplog.messages.count(f"job {job.job_id} expired") == 1
