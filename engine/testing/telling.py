"""Test what engines tell each other: the progress of attempts, their kinds, and who leads."""

from __future__ import annotations

import pytest

from engine.domain.exceptions import LeaseLostError
from engine.domain.models import Progress
from engine.testing.party import created
from engine.testing.shared_fixtures import EndLease, OpenPair, SharedFixtures


def progress(job_id: str, attempt: int = 1, done: float = 0.5, note: str | None = None) -> Progress:
    """Return the progress of an attempt."""
    return Progress(job_id=job_id, attempt=attempt, done=done, total=1.0, note=note)


class TellingTests(SharedFixtures):
    """Tests what engines tell each other by `Shared`."""

    async def test_the_progress_of_one_is_seen_by_the_other(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            reports = [progress("a", note="ß\n"), progress("b")]
            assert list(await one.shared.exchange_progress(reports, [])) == []
            seen = await other.shared.exchange_progress([progress("c")], [])
            assert sorted(seen, key=lambda each: each.job_id) == reports
            newer = progress("a", done=0.75)
            assert list(await one.shared.exchange_progress([newer], ["b"])) == [progress("c")]
            for _ in range(2):
                assert list(await other.shared.exchange_progress([], ["c"])) == [newer]
            assert list(await one.shared.exchange_progress([], [])) == []

    async def test_the_progress_of_the_newest_attempt_counts(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.shared.exchange_progress([progress("a", attempt=2)], [])
            await other.shared.exchange_progress([progress("a", attempt=1)], ["a"])
            assert list(await other.shared.exchange_progress([], [])) == [progress("a", attempt=2)]
            newest = progress("a", attempt=3)
            assert list(await other.shared.exchange_progress([newest], [])) == []
            assert list(await one.shared.exchange_progress([], ["a"])) == [newest]

    async def test_a_dead_engine_tells_nothing(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            await one.shared.exchange_progress([progress("a")], [])
            assert await one.shared.lead("gate")
            await end_lease(one.storage)
            with pytest.raises(LeaseLostError):
                await one.shared.exchange_progress([progress("b")], [])
            with pytest.raises(LeaseLostError):
                await one.shared.lead("gate")
            assert list(await other.shared.exchange_progress([], [])) == []
            assert await other.shared.lead("gate")

    async def test_one_engine_leads(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for _ in range(2):
                assert await one.shared.lead("gate")
                assert not await other.shared.lead("gate")
            assert await other.shared.lead("another gate")
            await other.shared.resign("gate")
            assert await one.shared.lead("gate")
            await one.shared.resign("gate")
            assert await other.shared.lead("gate")

    async def test_another_engine_leads_when_the_leader_has_died(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            assert await one.shared.lead("gate")
            await end_lease(one.storage)
            assert await other.shared.lead("gate")

    async def test_kinds_of_ready_jobs_that_nobody_handles_are_found(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            await one.apply(*(created(f"{kind} {n}", kind=kind) for kind in "abc" for n in "12"))
            await other.take(a=2)
            assert sorted(await one.shared.unhandled_kinds(["b"], 9)) == ["c"]
            assert len(await one.shared.unhandled_kinds([], 1)) == 1
            assert sorted(await one.shared.unhandled_kinds([], 9)) == ["b", "c"]
