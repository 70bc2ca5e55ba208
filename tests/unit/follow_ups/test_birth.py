"""What a follow-up has at its birth, and which jobs have one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import FollowUp, Job, Outcome
from engine import OrderStatus as S
from engine.testing.facades import Engine
from tests.unit.follow_ups.conftest import Open
from tests.unit.follow_ups.families import ended, kinds, only, started

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


async def test_it_is_born_running_linked_and_without_an_input(engine: Engine) -> None:
    given: dict[str, Any] = {
        "labels": {"customer": "ann"},
        "trace": TRACE,
        "payment_id": "p",
        "priority": 7,
    }
    deadlines = {S.RUNNING: timedelta(days=1)}
    job = await ended(engine, input={"a": 1}, deadlines=deadlines, **given)
    child: Job[S] = await only(engine, job)
    assert (child.kind, child.status, child.version) == ("settle", S.RUNNING, 1)
    assert (child.parent_id, child.parent_version) == (job.job_id, job.version)
    assert (dict(child.labels), child.trace) == ({"customer": "ann"}, TRACE)
    assert (child.input, child.payment_id, child.idempotency_key) == (None, None, None)
    assert (child.priority, child.deadlines, child.not_before) == (0, {}, None)
    assert child.started_at == child.created_at
    [birth] = await engine.history(child.job_id)
    assert (birth.from_status, birth.to_status) == (None, S.RUNNING)
    assert (birth.by, birth.reason) == ("rule", None)
    assert (job.parent_id, job.parent_version) == (None, None)


async def test_a_delay_keeps_it_from_workers(open_engine: Open) -> None:
    rule = FollowUp("ask", to={S.COMPLETED}, delay=timedelta(days=3))
    async with open_engine(rule, clock=lambda: NOON) as engine:
        job = await ended(engine)
        child = await only(engine, job)
        assert child.not_before == child.created_at + timedelta(days=3)
        assert (await engine.statistics()).ready == 0


async def test_a_follow_up_may_get_a_deadline(open_engine: Open) -> None:
    now = NOON
    rule = FollowUp("settle", to={S.COMPLETED})
    async with open_engine(rule, clock=lambda: now) as engine:
        child = await only(engine, await ended(engine))
        await engine.extend(child.job_id, S.RUNNING, timedelta(hours=1))
        now += timedelta(hours=2)
        with pytest.raises(Exception, match="expired"):
            await engine.transition(child.job_id, S.COMPLETED)
        assert (await engine.get(child.job_id)).status is S.EXPIRED


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        (FollowUp("x", to={S.COMPLETED, S.FAILED}), {"report", "order", "failed"}),
        (FollowUp("x", to={S.FAILED, S.CANCELLED}), {"failed", "unpaid"}),
        (FollowUp("x", to={S.COMPLETED}, of="report"), {"report"}),
        (FollowUp("x", to=[*S], of=["report", "order"], outcomes=[Outcome.SUCCEEDED]), None),
        (FollowUp("x", to={S.CANCELLED}, started=True), set()),
        (FollowUp("x", to={S.CANCELLED, S.FAILED}, started=False), {"unpaid"}),
        (FollowUp("x", to={S.COMPLETED, S.FAILED}, labels={"a": "1"}), {"report", "failed"}),
        (FollowUp("x", to={S.COMPLETED}, labels={"a": "1", "b": "2"}), {"report"}),
        (FollowUp("x", to={S.FAILED, S.COMPLETED}, outcomes={Outcome.FAILED}), {"failed"}),
    ],
)
async def test_a_rule_is_about_jobs_that_meet_all_its_conditions(
    open_engine: Open, rule: FollowUp[S], admitted: set[str] | None
) -> None:
    async with open_engine(rule) as engine:
        jobs = {
            "report": await ended(engine, kind="report", labels={"a": "1", "b": "2"}),
            "order": await ended(engine, kind="order"),
            "failed": await ended(engine, S.FAILED, kind="order", labels={"a": "1"}),
            "unpaid": await engine.create(kind="free"),
        }
        await engine.cancel(jobs["unpaid"].job_id)
        followed = {name for name, job in jobs.items() if await kinds(engine, job)}
        assert followed == ({"report", "order"} if admitted is None else admitted)


@pytest.mark.parametrize(
    ("has_started", "expected"), [(True, [False, True]), (False, [True, False])]
)
async def test_a_job_has_started_before_it_enters_the_status(
    open_engine: Open, *, has_started: bool, expected: list[bool]
) -> None:
    async with open_engine(FollowUp("x", to={S.RUNNING}, started=has_started)) as engine:
        job = await started(engine)
        first = len(await kinds(engine, job))
        await engine.transition(job.job_id, S.NEEDS_ATTENTION)
        await engine.retry(job.job_id)
        both = len(await kinds(engine, job))
        assert [bool(first), both > first] == expected


async def test_a_paid_job_that_expires_while_it_asks_is_owed(open_engine: Open) -> None:
    now = NOON
    rule = FollowUp("refund", to={S.EXPIRED}, started=True)
    async with open_engine(rule, clock=lambda: now) as engine:
        limits = {S.AWAITING_INPUT: timedelta(hours=1), S.AWAITING_PAYMENT: timedelta(hours=1)}
        asking, unpaid = (
            await started(engine, deadlines=limits),
            await engine.create(deadlines=limits),
        )
        await engine.transition(asking.job_id, S.AWAITING_INPUT)
        now += timedelta(hours=2)
        for job in (asking, unpaid):
            await engine.wait(job.job_id, timeout=60)
        assert [await kinds(engine, each) for each in (asking, unpaid)] == [["refund"], []]


async def test_a_repeat_is_owed_only_what_was_paid_for_it(open_engine: Open) -> None:
    rule = FollowUp("refund", to={S.FAILED}, started=True)
    async with open_engine(rule) as engine:
        first = await ended(engine, S.FAILED)
        unpaid = await engine.repeat(first.job_id)
        await engine.transition(unpaid.job_id, S.FAILED)
        paid = await engine.repeat(unpaid.job_id)
        await engine.start(paid.job_id, payment_id="another")
        await engine.transition(paid.job_id, S.FAILED)
        assert await engine.backfill("refund") == 0
        jobs = (first, unpaid, paid)
        assert [await kinds(engine, job) for job in jobs] == [["refund"], [], ["refund"]]


async def test_a_rule_of_a_kind_is_about_any_job_of_that_kind(open_engine: Open) -> None:
    rules = [FollowUp("settle", to={S.COMPLETED}), FollowUp("note", of="settle", to={S.COMPLETED})]
    async with open_engine(*rules) as engine:
        by_hand = await ended(engine, kind="settle")
        assert sorted(await kinds(engine, by_hand)) == ["note", "settle"]
        [child] = [c for c in await engine.follow_ups(by_hand.job_id) if c.kind == "settle"]
        await engine.transition(child.job_id, S.COMPLETED)
        assert await kinds(engine, child) == ["note"]
