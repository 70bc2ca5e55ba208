"""A follow-up whose handler runs in a process has its parent there."""

from __future__ import annotations

from typing import Any

import pytest

from engine import ORDER_LIFECYCLE, FollowUp, Handler, Job, JobEngine, Processes, Worker
from engine import OrderStatus as S
from engine.domain.validation import MAX_INPUT_CHARACTERS, MAX_RESULT_CHARACTERS
from tests.tries import trio_later
from tests.unit.processes.handlers import told_of_parent

pytestmark = pytest.mark.anyio

SETTLE = FollowUp("settle", to={S.COMPLETED})


@trio_later
async def test_the_largest_parent_gets_there() -> None:
    """Each character has three bytes, or six in JSON."""
    handlers: Any = {"settle": Handler(told_of_parent, processes=Processes())}
    async with (
        JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=[SETTLE]) as engine,
        Worker(engine, handlers),
    ):
        given = "\N{SNOWMAN}" * (MAX_INPUT_CHARACTERS - 2)
        for result in ("\N{SNOWMAN}" * MAX_RESULT_CHARACTERS, "\x01" * MAX_RESULT_CHARACTERS):
            job: Job[S] = await engine.create(input=given, start=True)
            await engine.transition(job.job_id, S.COMPLETED, result=result)
            await engine.wait(job.job_id, follow_ups=True, timeout=60)
            [child] = await engine.follow_ups(job.job_id)
            told = f"{job.job_id} completed {len(given)} {len(result)} {child.job_id}"
            assert (child.result, child.last_error) == (told, None)
