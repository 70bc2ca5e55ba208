"""Follow-ups: their order, the count of a backfill, and errors that are about one job."""

from __future__ import annotations

from typing import Any

import pytest

from engine import FollowUp, JobNotFoundError, JobStatus, MemoryStorage
from engine.testing.facades import FACADES, opened_engine
from tests.unit.finishing import finished

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("facade", FACADES)]


async def test_the_error_about_one_job_speaks_of_no_item(facade: type[Any]) -> None:
    async with opened_engine(facade) as engine:
        for call in (engine.follow_ups, lambda job_id: engine.follow_up(job_id, "settle")):
            with pytest.raises(JobNotFoundError) as caught:
                await call("nobody")
            assert caught.value.item is None


async def test_a_backfill_counts_its_own_follow_ups(facade: type[Any]) -> None:
    """Not theirs, though the same commit creates them."""
    rules = [
        FollowUp("settle", to={JobStatus.COMPLETED}),
        FollowUp("notify", of="settle", to={JobStatus.RUNNING}),
    ]
    storage = MemoryStorage()
    async with opened_engine(facade, storage) as engine:
        jobs = [await finished(engine) for _ in range(3)]
    async with opened_engine(facade, storage, follow_ups=rules) as engine:
        assert await engine.backfill("settle") == len(jobs)
        assert await engine.count(kind="notify") == len(jobs)
        assert await engine.backfill("settle") == 0


async def test_follow_ups_of_one_transition_come_in_the_order_of_their_kinds(
    facade: type[Any],
) -> None:
    """Whether their rules are about kinds or about all jobs that are no follow-ups."""
    rules = [
        FollowUp(kind, to={JobStatus.COMPLETED}, of="default" if kind in "bd" else None)
        for kind in "dcba"
    ]
    async with opened_engine(facade, follow_ups=rules) as engine:
        job = await finished(engine)
        assert [each.kind for each in await engine.follow_ups(job.job_id)] == [*"abcd"]
