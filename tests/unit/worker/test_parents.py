"""A follow-up's handler learns which transition it follows, though its parent has moved on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from engine import Context, FollowUp, InvalidValueError, JobEngine, JobStatus, Worker
from engine.testing import Lab, VirtualClock
from tests.tries import thorough
from tests.unit.claiming import NewPlace
from tests.unit.worker.at_work import ONCE

pytestmark = pytest.mark.anyio
RUNNING, COMPLETED = JobStatus.RUNNING, JobStatus.COMPLETED
TELL = FollowUp("tell", to={RUNNING, COMPLETED})


def told_of(context: Context[Any]) -> list[str]:
    """Return which transition a follow-up follows, and where its parent is now; for processes."""
    entered = context.parent_entered_at
    return [str(context.parent_status), str(context.parent.status), entered.isoformat()]


async def told_of_async(context: Context[Any]) -> list[str]:
    return told_of(context)


@pytest.mark.parametrize("options", [{}, *thorough({"processes": True})], ids=["task", "process"])
async def test_it_is_told_the_status_that_made_it(
    new_place: NewPlace, options: dict[str, Any]
) -> None:
    clock = VirtualClock()
    handler = told_of if options else told_of_async
    async with JobEngine(new_place(), follow_ups=[TELL], clock=clock) as engine:
        job = await engine.create("a hash")
        await clock.advance(60)
        started = await engine.transition(job.job_id, RUNNING)
        await clock.advance(60)
        done = await engine.transition(job.job_id, COMPLETED, result="done")
        async with Worker(engine, {"tell": handler}, **options):
            await engine.wait(job.job_id, follow_ups=True)
        first, second = await engine.follow_ups(job.job_id)
        assert first.value == ["running", "completed", started.updated_at.isoformat()]
        assert second.value == ["completed", "completed", done.updated_at.isoformat()]


async def test_a_job_that_is_no_follow_up_has_no_parent() -> None:
    async def handle(context: Context[JobStatus]) -> None:
        for name in ("parent", "parent_status", "parent_entered_at"):
            with pytest.raises(InvalidValueError, match=f"context.{name} is there for follow-ups"):
                getattr(context, name)

    async with Lab(handle) as lab:
        assert (await lab.run()).status is COMPLETED


async def test_time_stands_still_while_a_handler_waits_for_something_real() -> None:
    async def handle(context: Context[JobStatus]) -> str:
        with context.at_work():
            await anyio.sleep(0.05)  # a server's answer
        return lab.clock().isoformat()

    async with Lab(handle, timeout_seconds=60, retry=ONCE) as lab:
        begun = lab.clock().isoformat()
        assert (await lab.run()).value == begun
