"""A batch counts the follow-ups that its jobs may make, and others see them as any job."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from engine import ORDER_LIFECYCLE, FollowUp, JobEngine, Transition
from engine import OrderStatus as S
from tests.unit.failing import FailingStorage
from tests.unit.follow_ups.conftest import RULES
from tests.unit.follow_ups.families import ended, only

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("rules", "most"), [(0, 12), (1, 6), (3, 3), (30, 1)])
async def test_a_batch_takes_fewer_jobs(rules: int, most: int) -> None:
    storage = FailingStorage()
    given = [FollowUp(f"k{n}", to={S.AWAITING_PAYMENT}) for n in range(rules)]
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": given, "max_batch": 12}
    async with JobEngine(storage, **how) as engine, anyio.create_task_group() as tasks:
        for _ in range(24):
            tasks.start_soon(engine.create)
    jobs = [sum(each.record.parent_id is None for each in batch) for batch in storage.batches]
    assert sum(jobs) == 24
    assert max(jobs) == most


async def test_a_removed_rule_does_not_count() -> None:
    storage = FailingStorage()
    given = [FollowUp("remind", to={S.AWAITING_PAYMENT})]
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": given, "max_batch": 12}
    async with JobEngine(storage, **how) as engine:
        await engine.remove_rule("remind")
        async with anyio.create_task_group() as tasks:
            for _ in range(24):
                tasks.start_soon(engine.create)
    assert max(map(len, storage.batches)) == 12


async def test_hooks_and_watchers_see_them_in_order() -> None:
    hooked: list[Transition[S]] = []
    how: dict[str, Any] = {"lifecycle": ORDER_LIFECYCLE, "follow_ups": RULES}
    async with JobEngine(on_transition=hooked.append, **how) as engine:
        job = await ended(engine)
        child = await only(engine, job)
        watched: list[Transition[S]] = []
        async for each in engine.watch(after=0):
            watched.append(each)
            if len(watched) == 4:
                break
        assert [each.job_id for each in watched] == [job.job_id] * 3 + [child.job_id]
        assert watched[-1].by == "rule"
        assert hooked == watched
