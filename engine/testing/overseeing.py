"""Test what engines that share a storage tell of it as a whole: its live jobs and its engines."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import anyio

from engine.storage.overview import KindCounts, merged
from engine.storage.record import Execution
from engine.testing.party import Party, claimed, created, moved
from engine.testing.shared_fixtures import EndLease, OpenPair, SharedFixtures
from engine.testing.values import NOON, OddStatus

_SECOND: Final = timedelta(seconds=1)
_SECONDS_AGAINST_HANGS: Final = 60
_MANY_JOBS: Final = 4_500
_BATCH_JOBS: Final = 500


async def _counted(party: Party, status: OddStatus) -> list[KindCounts]:
    """Count the jobs of a status in as many steps as it takes."""
    parts, after = list[KindCounts](), 0
    is_running = status is OddStatus.RUNNING
    while True:
        found, next_after = await party.shared.kinds(
            status.value, after, NOON, is_running=is_running
        )
        parts += found
        if next_after is None:
            return merged(parts)
        assert next_after > after
        after = next_after


class OverseeingTests(SharedFixtures):
    """Tests `Shared.kinds` and `Shared.engines`."""

    async def test_jobs_of_a_status_are_counted_by_kind(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(
                *(created(name, kind="report") for name in "abc"),
                created("d", execution=Execution(retry_at=NOON + _SECOND)),
                created("e", execution=Execution(retry_at=NOON)),
                created("f", OddStatus.WAITING, kind="report"),
                created("g"),
            )
            await one.apply(*map(claimed, await one.take(report=1)))
            await one.apply(moved(await one.look("g"), OddStatus.DONE))
            assert await _counted(other, OddStatus.RUNNING) == [
                KindCounts("default", 1, 0, 1, NOON),
                KindCounts("report", 2, 1, 0, NOON),
            ]
            assert await _counted(one, OddStatus.WAITING) == [KindCounts("report", 0, 0, 1, None)]

    async def test_a_job_is_ready_since_something_has_begun_last(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            later = NOON + _SECOND
            await one.apply(created("a", execution=Execution(claimed_at=later)))
            await one.apply(created("b", execution=Execution(claimed_at=later + _SECOND)))
            assert await _counted(other, OddStatus.RUNNING) == [
                KindCounts("default", 2, 0, 0, later)
            ]

    async def test_many_jobs_are_counted_in_steps(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for first in range(0, _MANY_JOBS, _BATCH_JOBS):
                numbers = range(first, first + _BATCH_JOBS)
                await one.apply(*(created(f"{n}", kind=f"kind {n % 3}") for n in numbers))
            counted = await _counted(other, OddStatus.RUNNING)
            assert [each.ready for each in counted] == [_MANY_JOBS // 3] * 3

    async def test_the_jobs_of_a_dead_engine_are_ready(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"))
            await one.apply(*map(claimed, await one.take()))
            assert [each.running for each in await _counted(other, OddStatus.RUNNING)] == [1]
            await end_lease(one.storage)
            assert [each.ready for each in await _counted(other, OddStatus.RUNNING)] == [1]

    async def test_the_engines_are_told(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"))
            await one.apply(*map(claimed, await one.take()))
            other.shared.handles(["report"])
            first, second = await other.shared.engines()
            assert first.engine_id < second.engine_id
            assert ([first.jobs, second.jobs], first.state, second.state) == (
                [2, 0],
                "alive",
                "alive",
            )
            assert await one.shared.drain(None, draining=True)
            assert (await other.shared.engines())[0].state == "draining"
            for name in ("b", "a"):
                assert await other.shared.lead(name)
            assert [[*each.gates] for each in await one.shared.engines()] == [[], ["a", "b"]]
            await other.shared.resign("a")
            assert [[*each.gates] for each in await one.shared.engines()] == [[], ["b"]]
            with anyio.fail_after(_SECONDS_AGAINST_HANGS):
                while [*(await other.shared.engines())[1].kinds] != ["report"]:
                    await other.shared.news(1.0)

    async def test_a_dead_engine_is_told_from_others(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            first, second = await other.shared.engines()
            await end_lease(one.storage)
            states = {each.engine_id: each.state for each in await other.shared.engines()}
            assert states.get(first.engine_id) != "alive"  # it may be there no more
            assert states[second.engine_id] == "alive"
