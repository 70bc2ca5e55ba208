"""Whatever moves a job also makes its follow-ups, in the same commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    DuplicateJobIdError,
    FollowUp,
    InvalidStateTransitionError,
    JobEngine,
    Move,
    NewJob,
    WaitingJobs,
)
from engine import Gate as EngineGate
from engine import OrderStatus as S
from engine.testing.facades import Engine
from engine.testing.virtual_clock import VirtualClock
from tests.unit.claiming import NewPlace
from tests.unit.follow_ups.conftest import RULES, Open
from tests.unit.follow_ups.families import ended, kinds, numbers, only, started

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(S.COMPLETED, "settle"), (S.FAILED, "refund"), (S.CANCELLED, "refund")],
)
async def test_a_move_makes_the_follow_up_right_behind_it(
    engine: Engine, status: S, kind: str
) -> None:
    job = await ended(engine, status)
    follow_up = await only(engine, job)
    assert (follow_up.kind, follow_up.status) == (kind, S.RUNNING)
    lines = [*await engine.history(job.job_id), *await engine.history(follow_up.job_id)]
    assert [line.sequence for line in lines] == [1, 2, 3, 4]
    assert follow_up.created_at == job.updated_at


async def test_a_birth_is_a_transition(open_engine: Open) -> None:
    rules = [FollowUp("remind", to={S.AWAITING_PAYMENT}), FollowUp("thank", to={S.RUNNING})]
    async with open_engine(*rules) as engine:
        waiting, running = await engine.create(), await engine.create(start=True)
        assert [await kinds(engine, each) for each in (waiting, running)] == [["remind"], ["thank"]]
        await engine.start(waiting.job_id)
        assert await kinds(engine, waiting) == ["remind", "thank"]
        many = await engine.create_many([NewJob(), NewJob(start=True)])
        assert [await kinds(engine, each) for each in many] == [["remind"], ["thank"]]
        assert await numbers(engine) == [*range(1, 11)]


async def test_the_same_key_again_makes_no_other_one(open_engine: Open) -> None:
    async with open_engine(FollowUp("remind", to={S.AWAITING_PAYMENT})) as engine:
        for _ in range(2):
            job = await engine.create(idempotency_key="key")
            assert await kinds(engine, job) == ["remind"]
        assert await engine.count() == 2


async def test_each_transition_into_a_status_has_its_own(open_engine: Open) -> None:
    async with open_engine(FollowUp("note", to={S.RUNNING, S.NEEDS_ATTENTION})) as engine:
        job = await started(engine)
        for status in (S.NEEDS_ATTENTION, S.RUNNING):
            before = (await engine.get(job.job_id)).version
            await engine.transition(job.job_id, status, expected_version=before)
        versions = [each.parent_version for each in await engine.follow_ups(job.job_id)]
        assert versions == [2, 3, 4]


async def test_a_deadline_that_any_message_notices_makes_one(open_engine: Open) -> None:
    now = NOON
    limit = {S.RUNNING: timedelta(minutes=1)}
    async with open_engine(*RULES, clock=lambda: now) as engine:
        paid = await engine.create(start=True, deadlines=limit)
        unpaid = await engine.create(deadlines={S.AWAITING_PAYMENT: timedelta(minutes=1)})
        now += timedelta(hours=1)
        for job in (paid, unpaid):
            with pytest.raises(InvalidStateTransitionError):
                await engine.transition(job.job_id, S.AWAITING_INPUT)
        assert [await kinds(engine, each) for each in (paid, unpaid)] == [["refund"], []]


async def test_a_timer_and_a_cancel_make_one(new_place: NewPlace) -> None:
    clock = VirtualClock()
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": RULES, "clock": clock}
    async with JobEngine(new_place(), **how) as engine:
        paid = await engine.create(start=True, deadlines={S.RUNNING: timedelta(hours=1)})
        unwanted = await engine.create(start=True)
        await engine.cancel(unwanted.job_id, "not wanted")
        ended_job = await clock.run_until(engine.wait(paid.job_id))
        assert ended_job.status is S.EXPIRED
        for job in (paid, unwanted):
            assert await kinds(engine, job) == ["refund"]


async def test_a_retry_and_an_answer_move_a_job(open_engine: Open) -> None:
    async with open_engine(FollowUp("again", to={S.RUNNING}, started=True)) as engine:
        job = await ended(engine, S.NEEDS_ATTENTION)
        await engine.retry(job.job_id)
        assert await kinds(engine, job) == ["again"]


async def test_a_gate_makes_one() -> None:
    async def all_paid(jobs: WaitingJobs[S]) -> list[str]:
        return [each.job_id for each in jobs]

    rules = [FollowUp("thank", to={S.RUNNING})]
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=rules) as engine:
        job = await engine.create()
        async with EngineGate(engine, all_paid, interval_seconds=0.01):
            with anyio.fail_after(60):
                await engine.wait(job.job_id, until=[S.RUNNING])
        [follow_up] = await engine.follow_ups(job.job_id)
        assert follow_up.kind == "thank"


async def test_many_moves_make_theirs_or_none(engine: Engine) -> None:
    jobs = [await started(engine) for _ in range(3)]
    before = await numbers(engine)
    moves = [Move(each.job_id, S.COMPLETED) for each in jobs]
    with pytest.raises(InvalidStateTransitionError) as refused:
        await engine.transition_many([*moves, moves[0]])
    assert refused.value.item == 3
    assert await numbers(engine) == before
    assert [await kinds(engine, each) for each in jobs] == [[], [], []]
    await engine.transition_many(moves)
    assert [await kinds(engine, each) for each in jobs] == [["settle"]] * 3
    assert await numbers(engine) == [*range(1, 13)]
    positions = [each.job_id for each in (await engine.list_jobs(kind="settle")).jobs]
    assert positions == [(await only(engine, each)).job_id for each in jobs]


async def test_many_creations_make_theirs_or_none(open_engine: Open) -> None:
    ids = iter(["a", "b", "a", "c", "d"])
    rule = FollowUp("remind", to={S.AWAITING_PAYMENT})
    async with open_engine(rule, new_id=lambda: next(ids)) as engine:
        with pytest.raises(DuplicateJobIdError):
            await engine.create_many([NewJob(), NewJob(), NewJob()])
        assert await engine.count() == 0
        await engine.create_many([NewJob(), NewJob()])
        assert await numbers(engine) == [1, 2, 3, 4]


async def test_follow_ups_of_follow_ups(engine: Engine) -> None:
    job = await ended(engine)
    settle = await only(engine, job)
    done = await engine.transition(settle.job_id, S.COMPLETED)
    notify = await only(engine, done)
    assert (notify.kind, notify.parent_id) == ("notify", settle.job_id)
    assert await kinds(engine, job) == ["settle"]
    await engine.transition(notify.job_id, S.COMPLETED)
    assert await kinds(engine, notify) == []


async def test_a_birth_may_be_followed_in_the_same_commit(open_engine: Open) -> None:
    chain = [FollowUp("1", to={S.RUNNING})]
    chain += [FollowUp(f"{n}", of=f"{n - 1}", to={S.RUNNING}) for n in range(2, 65)]
    async with open_engine(*chain) as engine:
        await engine.create(start=True)
        assert await engine.count() == 65
        assert (await engine.statistics()).last_sequence == 65
