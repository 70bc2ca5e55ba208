"""Repeating an ended job, and giving a job another deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    AgentJobStatus,
    InvalidStateTransitionError,
    InvalidValueError,
    Job,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    OrderStatus,
    Retention,
)
from engine.owner.commands.remove import RemoveEnded
from engine.testing import VirtualClock
from engine.testing.facades import FACADES, opened_engine

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LARGE = "r" * 100_000  # such a job leaves the owner's table when it has ended


@pytest.fixture(params=FACADES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    place = tmp_path / "jobs.db"
    async with opened_engine(request.param, place, lifecycle=ORDER_LIFECYCLE) as opened:
        yield opened


async def _failed(engine: Any, **how: Any) -> Job[OrderStatus]:  # noqa: ANN401 - either facade
    job = await engine.create(start=True, **how)
    failed: Job[OrderStatus] = await engine.transition(
        job.job_id, OrderStatus.FAILED, error="no paper"
    )
    return failed


async def test_a_repeat_is_like_the_job_and_linked_both_ways(engine: Any) -> None:  # noqa: ANN401
    deadlines = {OrderStatus.RUNNING: HOUR, OrderStatus.NEEDS_ATTENTION: NOON + 99_999 * HOUR}
    job = await _failed(
        engine,
        kind="report",
        input={"a": LARGE},
        labels={"customer": "c17"},
        payment_id="p1",
        idempotency_key="key",
        priority=3,
        trace={"traceparent": PARENT, "tracestate": "vendor=7"},
        not_before=NOON - HOUR,
        deadlines=deadlines,
    )
    repeat = await engine.repeat(job.job_id, by="ann", reason="there is paper again")
    assert repeat.job_id != job.job_id
    assert (repeat.kind, repeat.input_hash, repeat.input) == ("report", job.input_hash, job.input)
    assert (repeat.labels, repeat.priority) == (job.labels, 3)
    assert repeat.trace == job.trace == {"traceparent": PARENT, "tracestate": "vendor=7"}
    assert (job.not_before, repeat.not_before) == (NOON - HOUR, None)
    assert repeat.deadlines == {OrderStatus.RUNNING: HOUR}
    assert (repeat.payment_id, repeat.idempotency_key, repeat.error) == (None, None, None)
    assert (repeat.status, repeat.attempt, repeat.version) == (OrderStatus.RUNNING, 0, 1)
    assert (repeat.repeat_of, repeat.repeated_by) == (job.job_id, None)
    now = await engine.get(job.job_id)
    assert now == job.model_copy(update={"repeated_by": repeat.job_id})
    [birth] = await engine.history(repeat.job_id)
    assert (birth.from_status, birth.by, birth.reason) == (None, "ann", "there is paper again")


async def test_a_job_has_one_repeat_whoever_calls(engine: Any) -> None:  # noqa: ANN401
    job = await _failed(engine)
    repeats: list[Job[OrderStatus]] = []

    async def repeat() -> None:
        repeats.append(await engine.repeat(job.job_id))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(repeat)
    assert len({each.job_id for each in repeats}) == 1
    moved = await engine.transition(repeats[0].job_id, OrderStatus.COMPLETED, result=LARGE)
    assert await engine.repeat(job.job_id) == moved.model_copy()
    again = await engine.repeat(moved.job_id)
    assert again.repeat_of == moved.job_id
    assert await engine.count() == 3


async def test_only_an_ended_job_is_repeated(engine: Any) -> None:  # noqa: ANN401
    job = await engine.create()
    with pytest.raises(InvalidStateTransitionError, match="can't be repeated before it has ended"):
        await engine.repeat(job.job_id)
    with pytest.raises(JobNotFoundError):
        await engine.repeat("unheard of")
    assert await engine.count() == 1


async def test_a_repeat_survives_a_restart_and_its_removal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        job = await _failed(engine)
        repeat = await engine.repeat(job.job_id)
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        assert await engine.repeat(job.job_id) == repeat
        assert (await engine.get(job.job_id)).repeated_by == repeat.job_id
        await engine.cancel(repeat.job_id)
        await engine.core.ask(RemoveEnded(Retention(max_jobs=0), 1))  # the oldest end
        with pytest.raises(JobNotFoundError):
            await engine.repeat(job.job_id)


async def test_another_deadline_counts_from_now_or_from_entering(tmp_path: Path) -> None:
    clock = VirtualClock(NOON)
    async with JobEngine(tmp_path / "jobs.db", lifecycle=ORDER_LIFECYCLE, clock=clock) as engine:
        waiting = OrderStatus.AWAITING_PAYMENT
        job = await engine.create(deadlines={waiting: HOUR})
        await clock.advance(HOUR / 2)
        job = await engine.extend(job.job_id, waiting, HOUR)
        assert job.deadline_at == NOON + 1.5 * HOUR
        job = await engine.extend(job.job_id, OrderStatus.RUNNING, 2 * HOUR)
        assert job.deadline_at == NOON + 1.5 * HOUR
        assert job.deadlines == {waiting: HOUR, OrderStatus.RUNNING: 2 * HOUR}
        assert len(await engine.history(job.job_id)) == job.version == 1
        await clock.advance(HOUR * 0.75)
        job = await engine.transition(job.job_id, OrderStatus.RUNNING)
        assert job.deadline_at == NOON + 3.25 * HOUR
        job = await engine.extend(job.job_id, OrderStatus.RUNNING, NOON + 9 * HOUR)
        assert job.deadline_at == NOON + 9 * HOUR
        job = await engine.extend(job.job_id, OrderStatus.RUNNING, None)
        assert (job.deadline_at, job.deadlines) == (None, {waiting: HOUR})
        await clock.advance(100 * HOUR)
        assert (await engine.get(job.job_id)).status is OrderStatus.RUNNING


async def test_another_deadline_expires_the_job(engine: Any) -> None:  # noqa: ANN401
    job = await engine.create()
    job = await engine.extend(job.job_id, OrderStatus.AWAITING_PAYMENT, timedelta(milliseconds=1))
    assert (await engine.wait(job.job_id)).status is OrderStatus.EXPIRED
    with pytest.raises(JobEndedError):
        await engine.extend(job.job_id, OrderStatus.AWAITING_PAYMENT, HOUR)


@pytest.mark.parametrize(
    ("status", "deadline", "field"),
    [
        (OrderStatus.COMPLETED, HOUR, "deadline"),
        (AgentJobStatus.AWAITING_INPUT, 5, "deadline"),
        (OrderStatus.RUNNING, -HOUR, "deadline"),
        (OrderStatus.RUNNING, datetime(2026, 1, 1), "deadline"),  # noqa: DTZ001 - without a zone
        ("unheard of", HOUR, "status"),
    ],
)
async def test_a_wrong_deadline_is_refused(
    engine: Any,  # noqa: ANN401
    status: Any,  # noqa: ANN401
    deadline: Any,  # noqa: ANN401
    field: str,
) -> None:
    job = await engine.create()
    with pytest.raises(InvalidValueError) as refused:
        await engine.extend(job.job_id, status, deadline)
    assert refused.value.field == field
    assert await engine.get(job.job_id) == job
