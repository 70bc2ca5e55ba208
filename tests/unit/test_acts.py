"""Acts: the history says who made each transition, and why."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine import (
    ORDER_LIFECYCLE,
    Context,
    Gate,
    InvalidValueError,
    Job,
    JobEngine,
    Move,
    NewJob,
    OrderStatus,
    Retry,
    Worker,
)
from engine.owner.acts import worker_act
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.claiming import Claim, NewPlace, claimed_one, release

pytestmark = pytest.mark.anyio

O = OrderStatus  # noqa: E741 - it stands in many lines
US = {"by": "us", "reason": "why not"}
WORKER = f"worker {socket.gethostname()}:{os.getpid()}"


@pytest.fixture(params=FACADES)
async def orders(request: pytest.FixtureRequest, new_place: NewPlace) -> Any:  # noqa: ANN401 - either facade
    async with opened_engine(request.param, new_place(), lifecycle=ORDER_LIFECYCLE) as opened:
        yield opened


async def acts(engine: Engine, job_id: str) -> list[tuple[str | None, str | None]]:
    return [(line.by, line.reason) for line in await engine.history(job_id)]


async def test_every_call_that_moves_a_job_says_who_and_why(orders: Engine) -> None:
    told = ("us", "why not")
    job = await orders.create("hash", **US)
    await orders.start(job.job_id, **US)
    await orders.transition(job.job_id, O.AWAITING_INPUT, **US)
    await orders.transition_many(
        [Move(job.job_id, O.RUNNING, expected_status=O.AWAITING_INPUT, by="them", reason="because")]
    )
    await orders.cancel(job.job_id, "why not", by="us")
    assert await acts(orders, job.job_id) == [told, told, told, ("them", "because"), told]
    silent = await orders.create("hash")
    await orders.cancel(silent.job_id)
    assert await acts(orders, silent.job_id) == [(None, None)] * 2


async def test_who_and_why_are_bounded(orders: Engine) -> None:
    job = await orders.create("hash")
    calls: list[Callable[[Any], Awaitable[object]]] = [
        lambda by: orders.create("hash", by=by),
        lambda by: orders.create_many([NewJob("hash", by=by)]),
        lambda by: orders.start(job.job_id, by=by),
        lambda by: orders.transition(job.job_id, O.RUNNING, by=by),
        lambda by: orders.transition_many([Move(job.job_id, O.RUNNING, by=by)]),
        lambda by: orders.cancel(job.job_id, by=by),
        lambda by: orders.provide_input(job.job_id, "p", 1, by=by),
    ]
    for wrong in ("", "x" * 257, 3, "\0"):
        for call in calls:
            with pytest.raises(InvalidValueError, match="by must"):
                await call(wrong)
    await orders.start(job.job_id, by="x" * 256, reason="y" * 4_096)
    assert (await acts(orders, job.job_id))[1] == ("x" * 256, "y" * 4_096)


async def test_a_wish_to_cancel_keeps_who_and_why_until_it_is_a_transition(
    new_place: NewPlace,
) -> None:
    async with JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job = await engine.create("hash", start=True)
        _, token = await claimed_one(engine)
        await engine.cancel(job.job_id, "too slow", by="the buyer")
        await engine.cancel(job.job_id, "again", by="somebody else")
        assert await acts(engine, job.job_id) == [(None, None)]
        await release(engine, job.job_id, token, failed=True)
        assert (await acts(engine, job.job_id))[1] == ("the buyer", "too slow")


async def test_a_wish_to_cancel_outlives_its_engine(lasting_place: NewPlace) -> None:
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job = await engine.create("hash", start=True)
        await claimed_one(engine)
        await engine.cancel(job.job_id, "too slow", by="the buyer")
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        await Claim(engine.core, by=worker_act()).seen()
        assert (await acts(engine, job.job_id))[1] == ("the buyer", "too slow")


async def test_the_end_of_an_orphan_is_made_by_the_worker_that_finds_it(
    lasting_place: NewPlace,
) -> None:
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        job = await engine.create("hash", start=True)
        await claimed_one(engine)
    async with JobEngine(lasting_place(), lifecycle=ORDER_LIFECYCLE) as engine:
        await Claim(engine.core, idempotent=False, by=worker_act()).seen()
        assert (await engine.get(job.job_id)).status is O.NEEDS_ATTENTION
        assert (await acts(engine, job.job_id))[1] == (WORKER, None)


async def test_an_attempt_moves_its_job_as_its_worker(new_place: NewPlace) -> None:
    def handler(job: Job[OrderStatus], context: Context[OrderStatus]) -> int:
        if job.input == "fail":
            raise ValueError(job.input)
        answer: int = context.request_input(int)
        return answer

    once = Retry(max_attempts=1)
    async with (
        JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine,
        Worker(engine, handler, retry=once),
    ):
        asks = await engine.create(input="ask", start=True, by="us")
        asking = await engine.wait(asks.job_id, until=[O.AWAITING_INPUT])
        assert asking.prompt is not None
        await engine.provide_input(asks.job_id, asking.prompt.prompt_id, 7, by="them")
        assert await engine.result(asks.job_id, int) == 7
        by = [who for who, _ in await acts(engine, asks.job_id)]
        assert by == ["us", WORKER, "them", WORKER]
        fails = await engine.create(input="fail", start=True)
        await engine.wait(fails.job_id, until=[O.NEEDS_ATTENTION, O.FAILED])
        assert (await acts(engine, fails.job_id))[1] == (WORKER, None)


async def test_a_gate_moves_jobs_as_the_gate(new_place: NewPlace) -> None:
    async def check(jobs: Any) -> Any:  # noqa: ANN401 - all of them
        return jobs

    async with (
        JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE) as engine,
        Gate(engine, check, interval_seconds=0.01),
    ):
        job = await engine.create("hash")
        await engine.wait(job.job_id, until=[O.RUNNING], timeout=60)
        assert (await acts(engine, job.job_id))[1] == ("gate", None)


def test_the_name_of_a_long_host_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 300)
    name = worker_act().by
    assert name is not None
    assert len(name) == 256
    assert name.endswith(f"h:{os.getpid()}")
