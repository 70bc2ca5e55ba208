"""Follow-ups by hand: one for an ended job, or those that a later rule owes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine import (
    FollowUp,
    InvalidStateTransitionError,
    InvalidValueError,
    JobNotFoundError,
    Move,
    NewJob,
)
from engine import OrderStatus as S
from engine.testing.facades import Engine
from tests.unit.follow_ups.conftest import RULES, Open
from tests.unit.follow_ups.families import ended, kinds, only, started

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_a_completed_job_is_refunded_once(engine: Engine) -> None:
    job = await ended(engine, labels={"customer": "ann"})
    child = await engine.follow_up(job.job_id, "refund", by="ann", reason="she is unhappy")
    assert (child.kind, child.status, child.parent_id) == ("refund", S.RUNNING, job.job_id)
    assert dict(child.labels) == {"customer": "ann"}
    [birth] = await engine.history(child.job_id)
    assert (birth.by, birth.reason) == ("ann", "she is unhappy")
    again = await engine.follow_up(job.job_id, "refund", by="bob")
    assert again == child
    assert await kinds(engine, job) == ["settle", "refund"]
    assert await engine.get(job.job_id) == job


async def test_what_it_refuses_it_says(engine: Engine) -> None:
    live, job = await started(engine), await ended(engine)
    child = await only(engine, job)
    with pytest.raises(InvalidStateTransitionError, match="can't be followed up by hand before it"):
        await engine.follow_up(live.job_id, "refund")
    with pytest.raises(
        InvalidValueError, match="rule 'refnd' is not one of those that are kept: n"
    ):
        await engine.follow_up(job.job_id, "refnd")
    with pytest.raises(InvalidValueError, match="refund is about jobs that are no follow-ups"):
        await engine.follow_up(child.job_id, "refund")
    with pytest.raises(InvalidValueError, match="notify is about settle, not about a default"):
        await engine.follow_up(job.job_id, "notify")
    with pytest.raises(JobNotFoundError, match=r"^no job has the id 'unheard of'"):
        await engine.follow_up("unheard of", "refund")
    with pytest.raises(JobNotFoundError, match=r"^no job has the id 'unheard of'"):
        await engine.follow_ups("unheard of")
    with pytest.raises(InvalidValueError, match=r"^kind must be"):
        await engine.follow_up(job.job_id, 7)
    with pytest.raises(InvalidValueError, match=r"^by must"):
        await engine.follow_up(job.job_id, "refund", by="")
    assert await engine.count() == 3


async def _end_many(engine: Engine, count: int, status: S) -> list[str]:
    jobs = await engine.create_many([NewJob(start=True) for _ in range(count)])
    await engine.transition_many([Move(each.job_id, status) for each in jobs])
    return [each.job_id for each in jobs]


async def test_a_backfill_needs_a_rule_and_makes_nothing_twice(engine: Engine) -> None:
    await engine.remove_rule("settle")
    await _end_many(engine, 3, S.FAILED)
    with pytest.raises(InvalidValueError, match="'settle' is not one of those that are kept"):
        await engine.backfill("settle")
    with pytest.raises(InvalidValueError, match="since must be an aware datetime"):
        await engine.backfill("refund", since="now")
    assert await engine.backfill("refund") == 0
    assert await engine.backfill("notify") == 0
    assert await engine.count(kind="refund") == 3


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_backfill_is_complete_and_idempotent(reopen_engine: Open) -> None:
    async with reopen_engine() as engine:
        done = await _end_many(engine, 405, S.COMPLETED)
        failed = await _end_many(engine, 3, S.FAILED)
        await engine.cancel((await engine.create()).job_id)
        live = await started(engine)
    async with reopen_engine(FollowUp("note", to={S.COMPLETED, S.FAILED, S.RUNNING})) as engine:
        assert await engine.follow_up(done[7], "note")
        assert await engine.backfill("note", by="ann", reason="late") == 407
        assert await engine.backfill("note") == 0
        children = (await engine.list_jobs(kind="note", limit=1_000)).jobs
        assert {each.parent_id for each in children} == {*done, *failed}
        assert len(children) == 408
        assert await kinds(engine, live) == []
        [birth] = await engine.history(children[-1].job_id)
        assert (birth.by, birth.reason) == ("ann", "late")


async def test_a_backfill_since_a_time_leaves_out_what_ended_before(reopen_engine: Open) -> None:
    now = NOON
    async with reopen_engine(clock=lambda: now) as engine:
        old = await ended(engine)
        now += timedelta(hours=1)
        young = await ended(engine)
    rules = [FollowUp("note", to={S.COMPLETED}), RULES[0]]
    async with reopen_engine(*rules, clock=lambda: now) as engine:
        assert await engine.backfill("note", since=young.updated_at) == 1
        assert [await kinds(engine, each) for each in (old, young)] == [[], ["note"]]
        assert await engine.backfill("note", since=old.updated_at) == 1


async def test_a_backfill_knows_the_conditions_of_the_rule(reopen_engine: Open) -> None:
    async with reopen_engine() as engine:
        paid = await ended(engine, S.CANCELLED)
        unpaid = await engine.cancel((await engine.create()).job_id)
    async with reopen_engine(*RULES) as engine:
        assert await engine.backfill("refund") == 1
        assert [await kinds(engine, each) for each in (paid, unpaid)] == [["refund"], []]


@pytest.mark.usefixtures("ended_jobs_leave")
async def test_a_backfill_passes_over_nothing_because_it_is_large(reopen_engine: Open) -> None:
    async with reopen_engine() as engine:
        for _ in range(20):
            job = await started(engine)
            await engine.transition(job.job_id, S.COMPLETED, result="r" * 1_000_000)
    async with reopen_engine(*RULES) as engine:
        assert await engine.backfill("settle") == 20
