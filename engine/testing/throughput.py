"""Test that transitions are counted by minute: each once, whoever counts, and not for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
import pytest

from engine.storage.protocol import Storage
from engine.storage.record import Entry
from engine.storage.throughput import KEPT_SPAN, STEP_TRANSITIONS, MinuteCount, minute_of
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.party import created, moved
from engine.testing.shared_fixtures import OpenPair, Pair, SharedFixtures
from engine.testing.store import Session
from engine.testing.values import NOON, STATUS_OUTCOMES, TIMES, OddStatus

_MINUTE: Final = timedelta(minutes=1)
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_NAMES: Final = {OddStatus.WAITING.value: "waits", OddStatus.DONE.value: OddStatus.LOST.value}


def counts_of(lines: Iterable[Entry]) -> list[MinuteCount]:
    """Count lines of history as a storage should."""
    counts = Counter(
        (minute_of(line.at), line.to_status, line.from_status is None) for line in lines
    )
    return sorted(MinuteCount(*place, number) for place, number in counts.items())


async def counted(storage: Storage, since: datetime = _EVER) -> list[MinuteCount]:
    """Count all that is not counted yet, and return the counts."""
    while await storage.count_throughput():
        pass
    assert not await storage.count_throughput()
    counts = await storage.throughput(since)
    assert [each.minute for each in counts] == sorted(each.minute for each in counts)
    return sorted(counts)


def lines_of(session: Session) -> list[Entry]:
    """Return all lines of history that the book has."""
    return [line for lines in session.book.lines.values() for line in lines]


class ThroughputTests(StorageFixtures):
    """Tests `count_throughput` and `throughput` of the protocol."""

    async def test_transitions_are_counted_by_minute_status_and_birth(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            storage = session.storage
            assert await counted(storage) == []
            batch = session.batch().create("a").create("b", runs=True).create("c", runs=True)
            batch.move("a", OddStatus.RUNNING, at=NOON + _MINUTE - timedelta(microseconds=1))
            batch.move("b", OddStatus.DONE, at=NOON + _MINUTE)
            await session.commit(batch.amend("c", attempt=1))
            assert list(await storage.throughput(_EVER)) == []  # a commit counts nothing
            assert await counted(storage) == counts_of(lines_of(session))
            assert await counted(storage, NOON + _MINUTE) == [
                MinuteCount(NOON + _MINUTE, OddStatus.DONE, is_created=False, transitions=1)
            ]
            assert await counted(storage, NOON + 2 * _MINUTE) == []

    async def test_a_count_goes_on_where_the_last_one_has_ended(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            for number in range(3):
                await session.commit(session.batch().create(f"job {number}"))
                assert await counted(session.storage) == counts_of(lines_of(session))
            await session.commit(session.batch().create("not counted yet"))
        if self.outlives_closing:
            async with open_store() as session:
                assert (
                    sum(each.transitions for each in await session.storage.throughput(_EVER)) == 3
                )
                await session.commit(session.batch().move("job 0", OddStatus.RUNNING))
                assert await counted(session.storage) == counts_of(lines_of(session))

    async def test_many_transitions_are_counted_in_steps(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch, many = session.batch(), 2 * STEP_TRANSITIONS + 1
            for number in range(many):
                batch.create(f"job {number}", at=NOON + number * timedelta(seconds=1))
            await session.commit(batch)
            steps = []
            for has_more in (True, True, False):
                assert await session.storage.count_throughput() is has_more
                counts = await session.storage.throughput(_EVER)
                steps.append(sum(each.transitions for each in counts))
            assert steps == [STEP_TRANSITIONS, 2 * STEP_TRANSITIONS, many]

    @pytest.mark.parametrize("is_counted_before", [False, True])
    async def test_what_is_removed_stays_counted(
        self, open_store: OpenStore, *, is_counted_before: bool
    ) -> None:
        async with open_store() as session:
            batch = session.batch().create("lives", at=NOON - _MINUTE)
            for number in range(5):
                name, at = f"job {number}", NOON + number * _MINUTE
                batch.create(name, at=at, runs=True).move(name, OddStatus.DONE, at=at)
            await session.commit(batch)
            expected = counts_of(lines_of(session))
            if is_counted_before:
                assert await counted(session.storage) == expected
            await session.remove(keep=3)
            assert await counted(session.storage) == expected
            await session.remove(keep=0)
            assert await counted(session.storage) == expected
            await session.commit(session.batch().create("new", at=NOON))
        if self.outlives_closing:
            async with open_store() as session:
                born = MinuteCount(NOON, OddStatus.WAITING, is_created=True, transitions=1)
                assert await counted(session.storage) == sorted([*expected, born])

    async def test_all_is_counted_when_all_is_removed(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a", runs=True).move("a", OddStatus.LOST)
            await session.commit(batch)
            expected = counts_of(lines_of(session))
            await session.remove(keep=0)
            assert await counted(session.storage) == expected

    async def test_a_first_count_begins_a_day_back(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch, count = session.batch(), 100
            for number in range(count):
                at = NOON - (count - number) * timedelta(hours=1)
                batch.create(f"job {number}", at=at, runs=True)
                batch.move(f"job {number}", OddStatus.DONE, at=at)
            await session.commit(batch.create("newest", at=NOON))
            recent = [line for line in lines_of(session) if line.at >= NOON - KEPT_SPAN]
            assert await counted(session.storage) == counts_of(recent)
            assert {each.minute for each in counts_of(recent)} != {NOON}

    async def test_a_count_after_a_long_time_begins_a_day_back(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("old"))
            await counted(session.storage)
            later = NOON + 9 * KEPT_SPAN
            await session.commit(session.batch().create("later", at=later - 2 * KEPT_SPAN))
            await session.commit(session.batch().create("now", at=later))
            [only] = await counted(session.storage)
            assert (only.minute, only.transitions) == (later, 1)

    async def test_old_counts_go(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            for number in range(60):
                at = NOON + number * timedelta(hours=1)
                await session.commit(session.batch().create(f"job {number}", at=at))
                counts = await counted(session.storage)
                recent = [line for line in lines_of(session) if line.at >= at - KEPT_SPAN]
                assert counts == counts_of(recent)

    async def test_old_counts_go_when_nobody_counts_and_jobs_are_removed(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            for number in range(60):
                at, name = NOON + number * timedelta(hours=1), f"job {number}"
                batch = session.batch().create(name, at=at, runs=True)
                await session.commit(batch.move(name, OddStatus.DONE, at=at))
                await session.remove(keep=0)
            assert len({each.minute for each in await counted(session.storage)}) == 26

    async def test_a_clock_may_go_back_and_forth(self, open_store: OpenStore) -> None:
        hours = [0, 3, -2, 5, -20, 4]
        async with open_store() as session:
            for number, hour in enumerate(hours):
                at = NOON + hour * timedelta(hours=1)
                await session.commit(session.batch().create(f"job {number}", at=at))
                assert await counted(session.storage) == counts_of(lines_of(session))
            far = NOON + 900 * KEPT_SPAN
            await session.commit(session.batch().create("far ahead", at=far))
            assert {each.minute for each in await counted(session.storage)} == {far}
            await session.commit(session.batch().create("right again"))
            assert {each.minute for each in await counted(session.storage)} == {NOON}

    @pytest.mark.parametrize("time", TIMES)
    async def test_any_time_is_counted(self, open_store: OpenStore, time: datetime) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("a", at=time))
            assert await counted(session.storage) == counts_of(lines_of(session))

    async def test_renamed_statuses_have_their_counts(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            batch = session.batch().create("a").create("b", runs=True).create("c", runs=True)
            await session.commit(batch.move("b", OddStatus.DONE).move("c", OddStatus.LOST))
            await counted(session.storage)
            await session.commit(session.batch().create("not counted yet"))
        outcomes = {_NAMES.get(name, name): each for name, each in STATUS_OUTCOMES.items()}
        async with open_store(outcomes=outcomes, renamed=_NAMES) as session:
            counts = await counted(session.storage)
            assert counts == counts_of(lines_of(session))
            assert {each.status for each in counts} == {"waits", OddStatus.RUNNING, OddStatus.LOST}


class SharedThroughputTests(SharedFixtures):
    """Tests that each transition counts once if many engines count."""

    async def test_engines_that_count_at_once_count_once(self, open_pair: OpenPair) -> None:
        async with open_pair() as pair:
            number = 0
            for _ in range(10):
                for party in pair:
                    await party.apply(*(created(f"job {number + each}") for each in range(20)))
                    number += 20
                async with anyio.create_task_group() as tasks:
                    for party in pair:
                        tasks.start_soon(counted, party.storage)
                await _check(pair, number)

    async def test_one_removes_while_the_other_counts(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            transitions = 0
            for turn in range(10):
                ids = [f"job {turn} {number}" for number in range(20)]
                await one.apply(*map(created, ids))
                jobs = [await one.look(job_id) for job_id in ids]
                await one.apply(*(moved(job, OddStatus.DONE) for job in jobs))
                transitions += 2 * len(ids)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(counted, other.storage)
                    tasks.start_soon(one.storage.remove_ended, None, 0, 7)
                await _check((one, other), transitions)


async def _check(pair: Pair, transitions: int) -> None:
    for party in pair:
        assert sum(each.transitions for each in await counted(party.storage)) == transitions
