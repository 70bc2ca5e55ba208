"""Test removal: ended jobs go with their histories, oldest end first, and nothing else goes."""

from __future__ import annotations

from datetime import datetime

import pytest

from engine.storage.filter import ALL_JOBS
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import MICROSECOND, NOON, TIMES, OddStatus

_ENDED = 7


async def fill(session: Session) -> None:
    """Commit jobs, seven of them ended: each a microsecond after the other, the newest first."""
    batch = session.batch().create("old", at=TIMES[0], key="of old").create("runs", at=TIMES[0])
    for number in range(_ENDED):
        batch.create(f"job {number}", at=TIMES[0], key=f"key {number}", identifier=f"x {number}")
    batch.move("runs", OddStatus.RUNNING, at=TIMES[0])
    for number in range(_ENDED):
        ends = OddStatus.LOST if number % 2 else OddStatus.DONE
        batch.move(f"job {number}", ends, at=_end(_ENDED - number))
    await session.commit(batch)


def _end(number: int) -> datetime:
    """Return the time at which the n-th job ended, in the order of the ends."""
    return NOON + number * MICROSECOND


class RemovingTests(StorageFixtures):
    """Tests `remove_ended` of the protocol.

    `Session.remove` and `remove_some` compare the jobs that are left with the book.
    """

    @pytest.mark.parametrize(
        ("before", "removed"),
        [
            (TIMES[0], 0),
            (_end(1), 0),
            (_end(2), 1),
            (_end(4), 3),
            (_end(_ENDED), _ENDED - 1),
            (TIMES[-1], _ENDED),
        ],
        ids=str,
    )
    async def test_by_age(self, open_store: OpenStore, before: datetime, removed: int) -> None:
        async with open_store() as session:
            await fill(session)
            assert await session.remove(before=before) == removed

    @pytest.mark.parametrize("keep", [0, 1, 4, _ENDED - 1, _ENDED, _ENDED + 1, 2**63 - 1])
    async def test_by_count(self, open_store: OpenStore, keep: int) -> None:
        async with open_store() as session:
            await fill(session)
            assert await session.remove(keep=keep) == max(0, _ENDED - keep)

    @pytest.mark.parametrize(("before", "keep"), [(_end(3), 2), (_end(6), 5), (_end(1), 3)])
    async def test_by_either_rule(self, open_store: OpenStore, before: datetime, keep: int) -> None:
        async with open_store() as session:
            await fill(session)
            await session.remove(before=before, keep=keep)
            assert await session.remove(before=before) == 0
            assert await session.remove(keep=keep) == 0

    async def test_without_a_rule_nothing_is_removed(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await fill(session)
            assert await session.remove() == 0

    @pytest.mark.parametrize("limit", [1, 2, _ENDED - 1, _ENDED, _ENDED + 1])
    async def test_in_steps_of_a_limit(self, open_store: OpenStore, limit: int) -> None:
        async with open_store() as session:
            await fill(session)
            await session.remove_some(before=TIMES[-1], limit=limit)
            await session.remove_some(keep=0, limit=limit)

    async def test_what_ends_later_is_removed_later(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await fill(session)
            assert await session.remove(keep=3) == _ENDED - 3
            await session.commit(session.batch().move("runs", OddStatus.DONE, at=TIMES[-1]))
            assert await session.remove(keep=3) == 1
            assert await session.remove(before=TIMES[-1]) == 2
            assert await session.remove(keep=0) == 1
            assert list(session.book.jobs) == ["old"]

    async def test_jobs_that_ended_at_once_are_removed_once(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number in range(10):
                batch.create(f"job {number}").move(f"job {number}", OddStatus.DONE)
            await session.commit(batch)
            storage, removed = session.storage, 0
            while step := await storage.remove_ended(None, 4, 3):
                removed += len(step)
                assert await session.listings.count(ALL_JOBS, 10) == 10 - removed
            assert removed == 6

    async def test_an_id_and_a_key_are_free_again(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await fill(session)
            await session.remove(keep=0)
            batch = session.batch().create("job 1", key="key 1").create("job 2", key="key 3")
            await session.commit(batch.create("job 3", key="key 2"))
            await session.check()
            await session.commit(session.batch().move("job 1", OddStatus.DONE, result="again"))
            await session.check()

    async def test_what_is_removed_is_not_found_by_its_labels(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number in range(24):
                labels = {"customer": f"c{number % 2}", "all": "jobs"}
                batch.create(f"job {number}", kind="report", labels=labels)
                if number % 8:
                    batch.move(f"job {number}", OddStatus.DONE, at=_end(number * 5 % 24))
            await session.commit(batch)
            assert await session.remove(keep=5) == 16
            await session.commit(session.batch().create("new", kind="report", labels=labels))
            assert await session.remove(keep=0) == 5
            await session.check()

    async def test_what_is_removed_does_not_come_back(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            await fill(session)
            await session.remove(keep=2)
        async with open_store() as session:
            await session.commit(session.batch().create("job 4", key="key 4"))
            await session.remove(keep=1)
        async with open_store() as session:
            await session.remove(keep=0)
        async with open_store():
            pass

    async def test_numbers_of_removed_jobs_are_not_given_again(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        for number in range(3):
            async with open_store() as session:
                name = f"newest {number}"
                batch = session.batch().create("before it").create(name)
                batch.move("before it", OddStatus.LOST)
                await session.commit(batch.move(name, OddStatus.DONE))
                assert await session.remove(keep=0) == 2
                assert not session.book.jobs
        async with open_store() as session:
            assert session.book.last_sequence == 12
            assert session.book.last_position == 6
            await session.commit(session.batch().create("next"))
            await session.check()
