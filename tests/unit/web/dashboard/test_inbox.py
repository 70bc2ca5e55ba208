"""The inbox finds failed follow-ups of any lifecycle, by a bounded number of reads."""

from __future__ import annotations

from enum import StrEnum

import pytest

from engine import FollowUp, JobEngine, Lifecycle
from engine.web.dashboard import Dashboard
from tests.unit.web.dashboard.browsing import Browser
from tests.unit.web.dashboard.conftest import as_said, client_of
from tests.unit.web.dashboard.test_feed import CountingDesk

pytestmark = pytest.mark.anyio


class Two(StrEnum):
    NEW = "new"
    RUNS = "runs"
    DONE = "done"
    REFUSED = "refused"
    LOST = "lost"


TWO_FAILURES = Lifecycle(
    Two,
    {
        Two.NEW: {Two.RUNS, Two.REFUSED},
        Two.RUNS: {Two.DONE, Two.REFUSED, Two.LOST},
        Two.DONE: set(),
        Two.REFUSED: set(),
        Two.LOST: set(),
    },
    initial=Two.NEW,
    running=Two.RUNS,
    success={Two.DONE},
    failure={Two.REFUSED, Two.LOST},
    fails_to=Two.REFUSED,
)


@pytest.mark.parametrize("failed_to", [Two.REFUSED, Two.LOST])
async def test_the_inbox_has_follow_ups_that_failed_in_any_way(failed_to: Two) -> None:
    refund = FollowUp("refund", to={Two.DONE}, started=True)
    async with JobEngine(lifecycle=TWO_FAILURES, follow_ups=[refund]) as engine:
        paid = await engine.create(start=True)
        await engine.transition(paid.job_id, Two.DONE)
        [refund_job] = await engine.follow_ups(paid.job_id)
        await engine.transition(refund_job.job_id, failed_to, error="the bank is closed")
        async with client_of(Dashboard(engine, authorize=as_said)) as client:
            assert "the bank is closed" in (await Browser(client).get("/inbox")).text
            assert "1 follow-ups failed" in (await Browser(client).get("/")).text


async def test_an_inbox_that_has_not_looked_everywhere_says_so() -> None:
    rules = [FollowUp(f"rule-{number}", to={Two.DONE}) for number in range(5)]
    async with JobEngine(lifecycle=TWO_FAILURES, follow_ups=rules) as engine:
        desk = CountingDesk(engine)
        async with client_of(Dashboard(desk, authorize=as_said)) as client:
            page = await Browser(client).get("/inbox")
            assert "Nothing waits" not in page.text
            assert page.links["refused"] == "/ops/jobs?status=refused"
            assert page.links["lost"] == "/ops/jobs?status=lost"
            assert desk.asked.count("jobs") == 8
