"""Test commits: a committed change is readable at once and unchanged, and nothing else is."""

from __future__ import annotations

import pytest

from engine.storage.filter import ALL_JOBS
from engine.storage.record import Act
from engine.testing.book import Batch
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import (
    EXECUTIONS,
    LONGEST_RESULT,
    MICROSECOND,
    NOON,
    OUTCOMES,
    TEXTS,
    TIMES,
    OddStatus,
)

_MANY = 10_000


class CommittingTests(StorageFixtures):
    """Tests `commit` of the protocol, and the answers of every reading call after it.

    Each `Session.check` compares all answers with the book.
    """

    async def test_a_new_storage_is_empty(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            assert await session.listings.count(ALL_JOBS, 1) == 0
            assert await session.storage.history("a") is None
            assert await session.remove() == 0

    async def test_every_batch_can_be_read_when_it_is_committed(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("a").create("b", key="of b"))
            await session.check()
            await session.commit(session.batch().move("b", OddStatus.RUNNING).create("c"))
            await session.check()
            await session.commit(
                session.batch()
                .move("b", OddStatus.DONE, result="done")
                .move("a", OddStatus.LOST, error="lost")
            )
            await session.check()

    async def test_a_job_may_change_many_times_in_a_batch(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("a"))
            batch = session.batch().create("b", key="of b")
            for number in range(300):
                at = NOON + number * MICROSECOND
                batch.move("a", OddStatus.RUNNING, at=at).move("a", OddStatus.WAITING, at=at)
            batch.move("b", OddStatus.RUNNING).move("b", OddStatus.DONE, result="done")
            await session.commit(batch)
            await session.check()

    async def test_texts_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(TEXTS):
                # Each text meets other texts as an id, a key, a hash and an identifier.
                key, input_hash, identifier = (TEXTS[number - shift] for shift in (1, 2, 3))
                batch.create(text, key=key, input_hash=input_hash, identifier=identifier)
            await session.commit(batch)
            await session.check()

    async def test_kinds_and_labels_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            names = [text[:64].replace("=", ":") for text in TEXTS]
            for number, text in enumerate(TEXTS):
                labels = {names[number]: TEXTS[number - 1], names[number - 2]: text}
                batch.create(f"waits {number}", kind=f"kind-{number}", labels=labels)
                batch.create(f"done {number}", labels={"of": text}, kind="report", runs=True)
                batch.move(f"done {number}", OddStatus.DONE)
            await session.commit(batch)
            await session.check()

    async def test_jobs_are_found_by_kinds_and_labels(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number in range(40):
                labels = {"customer": f"C{number % 3}"} | ({"Region": "EU"} if number % 2 else {})
                kind = ("default", "report", "r-2")[number % 5 % 3]
                batch.create(f"job {number}", kind=kind, labels=labels if number % 7 else None)
                if number % 4:
                    batch.move(f"job {number}", OddStatus.RUNNING)
                if number % 4 > 1:
                    batch.move(f"job {number}", OddStatus.DONE)
            await session.commit(batch)
            await session.check()

    async def test_jobs_are_found_by_the_time_of_their_creation(
        self, open_store: OpenStore
    ) -> None:
        """Though the clock went back meanwhile."""
        async with open_store() as session:
            batch = session.batch()
            for number in range(30):
                at = NOON + (number * 7 % 30) * MICROSECOND
                labels = {"of": "a" if number % 3 else "b"}
                batch.create(f"job {number}", at=at, labels=labels)
            await session.commit(batch)
            await session.check()

    async def test_who_made_a_transition_and_why_is_kept(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(TEXTS):
                why = Act(text, TEXTS[number - 1])
                batch.create(f"job {number}", act=why)
                batch.move(f"job {number}", OddStatus.RUNNING, act=Act(by=text))
                batch.move(f"job {number}", OddStatus.DONE, act=Act(reason=text))
            await session.commit(batch.create("no reason", act=Act(reason="")))
            await session.check()

    async def test_outcomes_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(OUTCOMES):
                batch.create(f"done {number}").create(f"lost {number}")
                batch.move(f"done {number}", OddStatus.DONE, result=text)
                batch.move(f"lost {number}", OddStatus.LOST, error=text)
            await session.commit(batch)
            await session.check()

    async def test_long_results_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a").create("b")
            batch.move("a", OddStatus.DONE, result=LONGEST_RESULT)
            await session.commit(batch.move("b", OddStatus.LOST, error=LONGEST_RESULT[:65_536]))
            await session.check()

    async def test_times_are_kept_to_the_microsecond(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, at in enumerate(TIMES):
                batch.create(f"live {number}", at=at).create(f"ended {number}", at=TIMES[0])
                batch.move(f"ended {number}", OddStatus.DONE, at=at)
            await session.commit(batch)
            await session.check()

    async def test_a_default_identifier_is_not_a_given_one(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a").create("b", identifier="mock_bc_b")
            batch.move("a", OddStatus.DONE).move("b", OddStatus.DONE)
            await session.commit(batch.create("c", identifier="mock_bc_a"))
            await session.check()

    async def test_a_payment_may_come_later(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, execution in enumerate(EXECUTIONS):
                batch.create(f"job {number}", execution=execution, key=f"key {number}")
            batch.create("done").create("started").move("done", OddStatus.DONE, result="x")
            await session.commit(batch.create("at once").pay("at once", "of at once"))
            await session.check()
            batch = session.batch()
            for number in range(len(EXECUTIONS)):
                batch.pay(f"job {number}", TEXTS[number % len(TEXTS)] + str(number))
            batch.pay("started", "of started").move("started", OddStatus.RUNNING)
            batch.move("job 7", OddStatus.DONE, result="x").create("other", identifier="of other")
            await session.commit(batch.pay("done", "of done"))
            await session.check()

    async def test_pages_go_by_position(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number in range(40):
                batch.create(f"job {number * 17 % 40}")
            for number in range(0, 40, 3):
                batch.move(f"job {number}", OddStatus.RUNNING)
            for number in range(39, -1, -6):
                batch.move(f"job {number}", OddStatus.DONE)
            await session.commit(batch)
            await session.check()

    async def test_large_batches(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            created = session.batch()
            for number in range(_MANY):
                created.create(f"job {number}", key=f"key {number}")
            await session.commit(created)
            moved = session.batch()
            for number in range(_MANY):
                moved.move(f"job {number}", OddStatus(sorted(OddStatus)[number % 4]))
            await session.commit(moved)
            await session.check(every=_MANY // 4 + 1)

    async def test_an_id_of_an_ended_job_is_taken(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            if session.keeps_table:
                pytest.skip("keeps_table is True: the owner finds the id in the table")
            batch = session.batch().create("ended").create("live")
            await session.commit(batch.move("ended", OddStatus.DONE, result="done"))
            await self._refused(session.batch().create("ended"), session)
            batch = session.batch().move("live", OddStatus.RUNNING).create("new", key="of new")
            await self._refused(batch.create("ended").create("newer"), session)
            await session.commit(session.batch().create("new", key="of new"))
            await session.check()

    async def _refused(self, batch: Batch, session: Session) -> None:
        """Check that a batch that creates the job `ended` again is refused as a whole."""
        await session.refuse(batch, "ended")
        await session.check()
