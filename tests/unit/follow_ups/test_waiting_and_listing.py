"""Waiting for follow-ups, and listing jobs with them or without."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import anyio
import pytest

from engine import (
    ORDER_LIFECYCLE,
    CallTimeoutError,
    FollowUp,
    InvalidValueError,
    JobEngine,
    MemoryStorage,
    Move,
    NewJob,
    SyncJobEngine,
    WriteTimeoutError,
)
from engine import OrderStatus as S
from engine.portal.bridge import TimeLimit
from engine.testing.facades import Engine
from engine.testing.virtual_clock import VirtualClock
from tests.unit.follow_ups.conftest import RULES
from tests.unit.follow_ups.families import ended, only, started

pytestmark = pytest.mark.anyio


async def test_a_wait_ends_with_the_last_of_them(engine: Engine) -> None:
    job = await ended(engine)
    waited: list[S] = []

    async def wait() -> None:
        done = await engine.wait(job.job_id, follow_ups=True, timeout=60)
        waited.append(done.status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        settle = await only(engine, job)
        await engine.transition(settle.job_id, S.COMPLETED)
        notify = await only(engine, settle)
        assert waited == []
        await engine.transition(notify.job_id, S.FAILED)
    assert waited == [S.COMPLETED]
    assert (await engine.wait(job.job_id, follow_ups=True, timeout=0)).status is S.COMPLETED


@pytest.mark.parametrize("status", [S.RUNNING, S.NEEDS_ATTENTION])
async def test_a_wait_in_vain_names_the_follow_up(engine: Engine, status: S) -> None:
    job = await ended(engine)
    settle = await only(engine, job)
    if status is not S.RUNNING:
        await engine.transition(settle.job_id, status)
    with pytest.raises(CallTimeoutError, match=f"is still {status} after 0 s") as late:
        await engine.wait(job.job_id, follow_ups=True, timeout=0)
    assert (late.value.job_id, late.value.status) == (settle.job_id, status)
    assert (await engine.wait(job.job_id, timeout=0)).status is S.COMPLETED
    with pytest.raises(InvalidValueError, match="follow_ups must be True or False"):
        await engine.wait(job.job_id, follow_ups=1)


async def test_a_limit_that_passes_names_it_too() -> None:
    clock = VirtualClock()
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=RULES, clock=clock) as engine:
        job = await ended(engine)
        settle = await only(engine, job)
        with pytest.raises(CallTimeoutError, match="is still running after 60 s") as late:
            await clock.run_until(engine.wait(job.job_id, follow_ups=True, timeout=60))
        assert late.value.job_id == settle.job_id


@pytest.mark.thorough
def test_so_does_that_of_a_blocking_call() -> None:
    with SyncJobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=RULES) as engine:
        job = engine.create(start=True)
        engine.transition(job.job_id, S.COMPLETED)
        [settle] = engine.follow_ups(job.job_id)
        with pytest.raises(CallTimeoutError, match="is still running after 1 s") as late:
            engine.wait(job.job_id, follow_ups=True, timeout=1)
        assert late.value.job_id == settle.job_id


async def test_a_cancelled_wait_changes_nothing() -> None:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=RULES) as engine:
        job = await ended(engine)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(engine.wait, job.job_id, follow_ups=True))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert (await only(engine, job)).status is S.RUNNING


async def test_cancelling_an_ended_parent_cancels_nothing(engine: Engine) -> None:
    job = await ended(engine)
    settle = await only(engine, job)
    with pytest.raises(Exception, match="completed"):
        await engine.cancel(job.job_id)
    assert await engine.get(settle.job_id) == settle
    cancelled = await engine.cancel(settle.job_id, "settled by hand")
    assert (cancelled.status, await engine.get(job.job_id)) == (S.CANCELLED, job)


async def _pages(engine: Engine, **which: Any) -> list[str]:  # noqa: ANN401 - the call's
    found, after = [], None
    while True:
        page = await engine.list_jobs(limit=2, after=after, **which)
        found += [job.job_id for job in page.jobs]
        if (after := page.next_cursor) is None:
            return found


@pytest.mark.usefixtures("short_searches")
async def test_lists_and_counts_leave_them_out_if_told(engine: Engine) -> None:
    orders = [(await ended(engine, labels={"a": "b"})).job_id for _ in range(4)]
    orders += [(await started(engine)).job_id]
    assert await engine.count() == 9
    assert await engine.count(follow_ups=False) == 5
    assert await engine.count(S.COMPLETED, follow_ups=False) == 4
    assert await engine.count(S.RUNNING, follow_ups=False) == 1
    assert await engine.count(labels={"a": "b"}) == 8
    assert await engine.count(labels={"a": "b"}, follow_ups=False) == 4
    assert await engine.count(kind="settle", follow_ups=False) == 0
    assert await _pages(engine, follow_ups=False) == orders
    assert await _pages(engine, follow_ups=False, newest_first=True) == orders[::-1]
    assert await _pages(engine, status=S.COMPLETED, follow_ups=False) == orders[:4]
    assert len(await _pages(engine)) == 9
    for call in (engine.count, engine.list_jobs):
        with pytest.raises(InvalidValueError, match="follow_ups must be True or False"):
            await call(follow_ups=None)


async def test_a_repeat_of_a_follow_up_has_the_same_parent(engine: Engine) -> None:
    job = await ended(engine)
    first = await engine.transition((await only(engine, job)).job_id, S.FAILED)
    second = await engine.repeat(first.job_id)
    assert (second.parent_id, second.parent_version) == (job.job_id, job.version)
    assert [each.job_id for each in await engine.follow_ups(job.job_id)] == [
        *(first.job_id, second.job_id),
    ]
    done = await engine.transition(second.job_id, S.COMPLETED)
    assert (await only(engine, done)).kind == "notify"
    assert await engine.follow_ups(first.job_id) == []


@pytest.mark.parametrize(("steps", "error"), [(1, CallTimeoutError), (3, WriteTimeoutError)])
def test_a_blocking_call_says_when_its_outcome_is_unknown(
    monkeypatch: pytest.MonkeyPatch, steps: int, error: type[CallTimeoutError]
) -> None:
    """A limit that passes behind a step: the third one of a backfill writes."""
    checks = itertools.count(1)

    def check(limit: TimeLimit) -> None:
        if next(checks) == steps:
            raise CallTimeoutError(limit.seconds or 0.0)

    storage, rule = MemoryStorage(), FollowUp("settle", to={S.COMPLETED})
    with SyncJobEngine(storage, lifecycle=ORDER_LIFECYCLE) as engine:
        jobs = engine.create_many([NewJob(start=True) for _ in range(300)])
        engine.transition_many([Move(job.job_id, S.COMPLETED) for job in jobs])
    with SyncJobEngine(storage, lifecycle=ORDER_LIFECYCLE, follow_ups=[rule]) as engine:
        monkeypatch.setattr(TimeLimit, "check", check)
        with pytest.raises(CallTimeoutError) as late:
            engine.backfill("settle", timeout=60)
    assert type(late.value) is error
