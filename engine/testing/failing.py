"""Test failed attempts: the newest of each job are kept, with the change that ends each."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import pytest

from engine.domain.validation import MAX_LAST_ERROR_CHARACTERS
from engine.storage.record import KEPT_ATTEMPTS, MAX_NUMBER, AttemptRecord, Execution
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import MICROSECOND, NOON, TEXTS, TIMES, OddStatus

_LONGEST: Final = ("a'\u0301ß🐍\n" * MAX_LAST_ERROR_CHARACTERS)[:MAX_LAST_ERROR_CHARACTERS]
_FAILED: Final = Execution(attempt=1, failures=1, last_error="failed")


def failed(
    number: int,
    error: str = "failed",
    *,
    began_at: datetime = NOON,
    ended_at: datetime = NOON + MICROSECOND,
    outcome: Literal["failed", "died"] = "failed",
) -> AttemptRecord:
    """Return a failed attempt."""
    return AttemptRecord(number, began_at, ended_at, outcome, error)


class FailingTests(StorageFixtures):
    """Tests `Change.failed_attempt` and `attempts` of the protocol.

    Each `Session.check` and each opening compare them with the book.
    """

    async def test_failed_attempts_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("numbers").create("long").create("none")
            for number, error in enumerate(("", *TEXTS)):
                batch.create(f"job {number}").amend(f"job {number}", failed=failed(1, error))
            for number, time in enumerate(TIMES):
                name = f"time {number}"
                batch.create(name).amend(name, failed=failed(1, began_at=TIMES[0], ended_at=time))
                batch.amend(name, failed=failed(2, began_at=time, ended_at=TIMES[-1]))
            for number in (1, MAX_NUMBER):
                batch.amend("numbers", failed=failed(number, outcome="died"))
            await session.commit(batch.amend("long", failed=failed(1, _LONGEST)))
            await session.check()
        await self._check_reopened(open_store)

    async def test_attempts_fail_with_every_sort_of_change(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a").create("b")
            batch.move("a", OddStatus.RUNNING).amend("a", attempt=1, failed=failed(1))
            batch.amend("a", attempt=2, failed=failed(2, outcome="died"))
            await session.commit(batch.move("b", OddStatus.LOST, error="lost", failed=failed(7)))
            await session.check()
            batch = session.batch().amend("a", attempt=3, failed=failed(4, "after a pause"))
            await session.commit(batch.move("a", OddStatus.WAITING, failed=failed(5)))
            await session.check()
            await session.commit(session.batch().move("a", OddStatus.DONE, failed=failed(6)))
            await session.check()
        await self._check_reopened(open_store)

    @pytest.mark.parametrize("together", [1, 3, KEPT_ATTEMPTS, 2 * KEPT_ATTEMPTS + 1])
    async def test_only_the_newest_are_kept(self, open_store: OpenStore, together: int) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("few").create("many").create("others"))
            batch = session.batch()
            for number in range(1, 2 * KEPT_ATTEMPTS + 2):
                batch.amend("many", attempt=number, failed=failed(number, f"error {number}"))
                batch.amend("others", attempt=3 * number, failed=failed(3 * number))
                if number <= KEPT_ATTEMPTS:
                    batch.amend("few", attempt=number, failed=failed(number))
                if number % together == 0:
                    await session.commit(batch)
                    batch = session.batch()
            await session.commit(batch)
            await session.check()
        await self._check_reopened(open_store)

    async def test_a_batch_that_is_refused_leaves_no_failed_attempt(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            if session.keeps_table:
                pytest.skip("the owner itself refuses the id of an ended job")
            batch = session.batch().create("a").create("ended")
            await session.commit(batch.move("ended", OddStatus.DONE))
            session.book.jobs.pop("ended")
            batch = session.batch().amend("a", attempt=1, failed=failed(1)).create("ended")
            await session.refuse(batch, "ended")
            assert list(await session.storage.attempts("a") or ()) == []

    async def test_failed_attempts_go_with_their_jobs(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await _end_with_failures(session)
            await session.remove(keep=2)
            for name in ("job 0", "job 1"):
                assert await session.storage.attempts(name) is None
            await session.commit(session.batch().create("job 0").create("job 1"))
            await session.check()
        await self._check_reopened(open_store)

    async def _check_reopened(self, open_store: OpenStore) -> None:
        if self.outlives_closing:
            async with open_store():
                pass


async def _end_with_failures(session: Session) -> None:
    """Commit four ended jobs, each after a failed attempt, one after the other."""
    for number in range(4):
        name, at = f"job {number}", NOON + number * MICROSECOND
        batch = session.batch().create(name)
        batch.amend(name, attempt=1, failures=1, last_error="failed", failed=failed(1))
        await session.commit(batch.move(name, OddStatus.DONE, at=at, execution=_FAILED))
