"""Starting: a job starts once in its life, however often and in whatever order callbacks come."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    DuplicateJobIdError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    Lifecycle,
    LifecycleError,
    NewJob,
    OrderStatus,
    Outcome,
    PaymentConflictError,
    PaymentInUseError,
    Started,
)
from engine.owner.commands.create import CreateJobs
from engine.owner.commands.start import StartJob
from engine.storage.record import NO_ACT
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.claiming import NewPlace

pytestmark = pytest.mark.anyio

O = OrderStatus  # noqa: E741 - it stands in many lines
LARGE = "i" * 100_000
"""An input that keeps an ended job out of memory."""


@pytest.fixture(params=FACADES)
async def orders(request: pytest.FixtureRequest, new_place: NewPlace) -> Any:  # noqa: ANN401 - either facade
    async with opened_engine(request.param, new_place(), lifecycle=ORDER_LIFECYCLE) as opened:
        yield opened


async def test_a_callback_that_comes_again_starts_nothing(orders: Engine) -> None:
    job = await orders.create("hash", payment_id="p")
    started = await orders.start(payment_id="p")
    assert (started.first, started.job.status, started.job.version) == (True, O.RUNNING, 2)
    assert started.job.started_at == started.job.updated_at
    assert await orders.get(job.job_id) == started.job
    for again in ({"payment_id": "p"}, {"job_id": job.job_id}, {"job_id": job.job_id} | P):
        assert await orders.start(**again) == Started(started.job, first=False)
    assert len(await orders.history(job.job_id)) == 2


P = {"payment_id": "p"}
LATER: dict[str, tuple[OrderStatus, ...]] = {
    "asking": (O.AWAITING_INPUT,),
    "needing attention": (O.NEEDS_ATTENTION,),
    "completed": (O.COMPLETED,),
    "failed": (O.NEEDS_ATTENTION, O.FAILED),
    "cancelled": (O.CANCELLED,),
    "expired": (O.AWAITING_INPUT, O.EXPIRED),
}


@pytest.mark.parametrize("stage", LATER)
async def test_whatever_came_after_the_start_is_left_alone(orders: Engine, stage: str) -> None:
    job = await orders.create("hash", input=LARGE, payment_id="p")
    await orders.start(job.job_id)
    for status in LATER[stage]:
        moved = await orders.transition(job.job_id, status)
    for names in (P, {"job_id": job.job_id}):
        assert await orders.start(**names) == Started(moved, first=False)
    assert await orders.get(job.job_id) == moved


@pytest.mark.parametrize(
    ("end", "outcome"), [(O.CANCELLED, Outcome.CANCELLED), (O.EXPIRED, Outcome.EXPIRED)]
)
async def test_a_job_that_ended_without_starting_says_so_each_time(
    orders: Engine, end: OrderStatus, outcome: Outcome
) -> None:
    job = await orders.create("hash", input=LARGE)
    ended = await orders.transition(job.job_id, end)
    for names in ({}, P, {}, P):
        with pytest.raises(JobEndedError) as caught:
            await orders.start(job.job_id, **names)
        told = (caught.value.job_id, caught.value.status, caught.value.outcome)
        assert told == (job.job_id, end.value, outcome)
        assert str(caught.value).endswith("any more: give the money back")
    assert await orders.get(job.job_id) == ended, "its payment is not recorded"
    with pytest.raises(JobNotFoundError):
        await orders.start(payment_id="p")


async def test_a_job_that_is_not_known_is_named_as_it_was_asked_for(orders: Engine) -> None:
    for names, job_id, text in (
        ({"job_id": "nobody"}, "nobody", "id 'nobody'"),
        ({"job_id": "nobody"} | P, "nobody", "id 'nobody'"),
        (P, None, "payment 'p'"),
        ({"payment_id": "mock_bc_nobody"}, None, "payment 'mock_bc_nobody'"),
        ({"payment_id": "mock_bc_"}, None, "payment 'mock_bc_'"),
    ):
        with pytest.raises(JobNotFoundError, match=text) as caught:
            await orders.start(**names)
        payment_id = names.get("payment_id") if job_id is None else None
        assert (caught.value.job_id, caught.value.payment_id) == (job_id, payment_id)


async def test_the_default_name_of_a_payment_is_that_of_its_job(orders: Engine) -> None:
    job = await orders.create("hash")
    name = {"payment_id": job.blockchain_identifier}
    started = await orders.start(**name)
    assert (started.first, started.job.job_id, started.job.payment_id) == (True, job.job_id, None)
    assert await orders.start(job.job_id, **name) == Started(started.job, first=False)
    other = await orders.create("hash")
    with pytest.raises(PaymentInUseError):
        await orders.start(other.job_id, **name)
    paid = await orders.start(job.job_id, payment_id="p")
    for names in (name, name | {"job_id": job.job_id}):
        assert await orders.start(**names) == paid
    assert await orders.find(**name) == paid.job


async def test_the_longest_default_name_is_no_longer_than_an_argument_may_be() -> None:
    async with JobEngine(new_id=lambda: "i" * 256) as engine:
        job = await engine.create("hash")
        assert (await engine.start(payment_id=job.blockchain_identifier)).first
        with pytest.raises(InvalidValueError):
            await engine.start(payment_id=f"{job.blockchain_identifier}i")


@pytest.mark.parametrize("stage", ["new", "started", "completed"])
async def test_a_payment_is_recorded_where_the_job_has_none(orders: Engine, stage: str) -> None:
    job = await orders.create("hash", input=LARGE, idempotency_key="k")
    if stage != "new":
        await orders.start(job.job_id)
    if stage == "completed":
        await orders.transition(job.job_id, O.COMPLETED)
    before = await orders.get(job.job_id)
    started = await orders.start(job.job_id, payment_id="p")
    assert (started.first, started.job.payment_id) == (stage == "new", "p")
    assert started.job.blockchain_identifier == "p"
    assert started.job.version == before.version + (stage == "new")
    assert await orders.get(job.job_id) == started.job
    for names in (P, {"job_id": job.job_id} | P):
        assert await orders.start(**names) == Started(started.job, first=False)
    assert await orders.create("hash", input=LARGE, idempotency_key="k", **P) == started.job


async def test_a_job_has_one_payment_and_a_payment_one_job(orders: Engine) -> None:
    paid, unpaid = await orders.create("hash", payment_id="p"), await orders.create("hash")
    for _ in range(2):
        with pytest.raises(PaymentConflictError) as conflict:
            await orders.start(paid.job_id, payment_id="q")
        assert (conflict.value.job_id, conflict.value.payment_id) == (paid.job_id, "q")
        with pytest.raises(PaymentInUseError) as in_use:
            await orders.start(unpaid.job_id, payment_id="p")
        assert paid.job_id not in str(in_use.value)
        assert await orders.get_many([paid.job_id, unpaid.job_id]) == [paid, unpaid]
        assert (await orders.start(paid.job_id)).job.payment_id == "p"
        paid = await orders.get(paid.job_id)
    await orders.start(unpaid.job_id, payment_id="q")
    with pytest.raises(PaymentInUseError):
        await orders.create("hash", payment_id="q")


async def test_a_payment_that_pays_for_another_job_is_not_given_back(orders: Engine) -> None:
    """Its own job has it, so an end of this one is no reason."""
    await orders.create("hash", payment_id="p")
    ended = await orders.cancel((await orders.create("hash")).job_id)
    with pytest.raises(PaymentInUseError):
        await orders.start(ended.job_id, payment_id="p")


async def test_a_start_that_is_decided_again_is_not_first_by_the_first_decision(
    new_place: NewPlace,
) -> None:
    """The first one starts a job that the storage refuses, as an ended one has its id."""
    ids = iter(["taken", "taken", "free"])
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "new_id": lambda: next(ids)}
    async with JobEngine(new_place(), **how) as engine:
        await engine.cancel((await engine.create(input=LARGE)).job_id)
        refused, created = (
            CreateJobs.many(**how, jobs=[NewJob(payment_id="p", start=start)])
            for start in (False, True)
        )
        again = StartJob(None, "p", NO_ACT)
        for each in (refused, created):
            engine.core.inbox.put(each)
        await engine.core.ask(again)  # in the same round
        with pytest.raises(DuplicateJobIdError):
            refused.outcome()
        assert created.outcome() == again.outcome()
        assert not again.is_first


async def test_a_recorded_payment_outlives_its_engine(lasting_place: NewPlace) -> None:
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        at_once = (await engine.start((await engine.create("1")).job_id, payment_id="p")).job
        later = (await engine.start((await engine.create("2")).job_id)).job
        later = (await engine.start(later.job_id, payment_id="q")).job
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        assert await engine.start(payment_id="p") == Started(at_once, first=False)
        assert await engine.start(payment_id="q") == Started(later, first=False)


async def test_who_starts_a_job_and_why_stands_in_its_history(orders: Engine) -> None:
    job = await orders.create("hash")
    await orders.start(job.job_id, by="the bank", reason="paid")
    await orders.start(job.job_id, by="the bank", reason="paid again")
    [_, line] = await orders.history(job.job_id)
    assert (line.by, line.reason) == ("the bank", "paid")
    for wrong in ({"by": ""}, {"by": "x" * 257}, {"by": 1}, {"reason": "x" * 4_097}):
        with pytest.raises(InvalidValueError):
            await orders.start(job.job_id, **wrong)


@pytest.mark.parametrize(
    ("names", "field"),
    [
        ({}, "job_id"),
        ({"job_id": ""}, "job_id"),
        ({"job_id": 1}, "job_id"),
        ({"payment_id": ""}, "payment_id"),
        ({"payment_id": 1}, "payment_id"),
        ({"payment_id": "p" * 257}, "payment_id"),
        ({"payment_id": "mock_bc_" + "i" * 257}, "payment_id"),
    ],
)
async def test_a_start_names_a_job(orders: Engine, names: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        await orders.start(**names)
    assert caught.value.field == field


class Step(StrEnum):
    NEW = "new"
    CHECKED = "checked"
    BUSY = "busy"
    DONE = "done"


def _steps(*first: Step, running: Step = Step.BUSY) -> Lifecycle[Step]:
    moves = {Step.NEW: {*first, Step.DONE}, Step.CHECKED: {Step.BUSY}, Step.BUSY: {Step.DONE}}
    moves[Step.DONE] = set()
    moves[Step.NEW] |= set() if Step.CHECKED in first else {Step.CHECKED}
    success = {Step.DONE}
    return Lifecycle(Step, moves, initial=Step.NEW, running=running, success=success, failure=set())


@pytest.mark.parametrize("facade", FACADES)
async def test_a_job_on_another_way_is_not_started(facade: type) -> None:
    lifecycle = _steps(Step.BUSY, Step.CHECKED)
    async with opened_engine(facade, lifecycle=lifecycle) as engine:
        job = await engine.create("hash")
        checked = await engine.transition(job.job_id, Step.CHECKED)
        for names in ({}, P):
            with pytest.raises(InvalidStateTransitionError, match="can't be started"):
                await engine.start(job.job_id, **names)
            assert await engine.get(job.job_id) == checked
        born = await engine.create("hash", start=True)
        assert await engine.start(born.job_id) == Started(born, first=False)


async def test_a_job_has_started_whose_status_has_become_the_running_one(
    lasting_place: NewPlace,
) -> None:
    """Its payment came: when it is done, nobody is told to give the money back."""
    before, after = _steps(Step.CHECKED), _steps(Step.CHECKED, running=Step.CHECKED)
    async with JobEngine(lasting_place(), lifecycle=before) as engine:
        job = await engine.create("hash", payment_id="p")
        checked = await engine.transition(job.job_id, Step.CHECKED)
        assert checked.started_at is None
    async with JobEngine(lasting_place(), lifecycle=after) as engine:
        for stage in (None, Step.BUSY, Step.DONE):
            if stage is not None:
                await engine.transition(job.job_id, stage)
            started = await engine.start(payment_id="p")
            assert (started.first, started.job.started_at) == (False, checked.updated_at)


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize(
    "lifecycle", [_steps(Step.CHECKED), _steps(Step.BUSY, running=Step.NEW)], ids=["no way", "born"]
)
async def test_a_lifecycle_that_starts_no_jobs_says_so(
    facade: type, lifecycle: Lifecycle[Step]
) -> None:
    async with opened_engine(facade, lifecycle=lifecycle) as engine:
        job = await engine.create("hash")
        with pytest.raises(LifecycleError, match="no job can be started"):
            await engine.start(job.job_id)


async def test_its_answer_is_a_small_frozen_value() -> None:
    with pytest.raises(AttributeError):
        Started(None, first=True).first = False  # type: ignore[misc, arg-type]
