"""Test reopening: all committed jobs are there again, and only one engine at a time has them."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from engine.domain.exceptions import StorageInUseError
from engine.storage.filter import ALL_JOBS
from engine.storage.protocol import Storage
from engine.storage.record import NO_EXECUTION, Execution
from engine.testing.fixtures import NewStorage, OpenStore, StorageFixtures
from engine.testing.values import (
    LONGEST_RESULT,
    MICROSECOND,
    NOON,
    OUTCOMES,
    RUNNING,
    STATUS_OUTCOMES,
    TEXTS,
    TIMES,
    OddStatus,
    prompt_of,
)


class ReopeningTests(StorageFixtures):
    """Tests `open` and `aclose` of the protocol.

    Opening a store compares every job, history, key and number with the book.
    """

    async def test_an_unused_storage_is_empty_again(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        for _ in range(3):
            async with open_store() as session:
                assert await session.listings.count(ALL_JOBS, 1) == 0

    async def test_the_lifecycle_is_kept_until_the_next_opening(
        self, open_store: OpenStore
    ) -> None:
        self.needs_reopening()
        kept = None
        for text in ('{"of":"ä"}', '{"of":"ä"}', '{"of":2}'):
            async with open_store() as session:
                assert await session.storage.keep_lifecycle(text) == kept
                kept = text

    async def test_everything_goes_on_where_it_was(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        for number in range(5):
            async with open_store() as session:
                batch = session.batch()
                for name in ("live", "running", "done", "lost"):
                    labels = {"of": name, "number": f"{number}"}
                    batch.create(f"{name} {number}", key=f"of {name} {number}", labels=labels)
                    batch.create(f"{name} {number}, without a key")
                batch.move(f"running {number}", OddStatus.RUNNING)
                batch.move(f"done {number}", OddStatus.DONE, result="done")
                await session.commit(batch.move(f"lost {number}", OddStatus.LOST, error="lost"))
                if number:
                    at = NOON + number * MICROSECOND
                    await session.commit(
                        session.batch().move(f"running {number - 1}", OddStatus.DONE, at=at)
                    )
        async with open_store():
            pass

    async def test_odd_values_are_read_back(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(TEXTS):
                key, input_hash, identifier = (TEXTS[number - shift] for shift in (1, 2, 3))
                batch.create(text, key=key, input_hash=input_hash, identifier=identifier)
                if number % 2:
                    batch.move(text, OddStatus.DONE, result=text, error=text)
            for number, outcome in enumerate(OUTCOMES):
                batch.create(f"outcome {number}")
                batch.move(f"outcome {number}", OddStatus.DONE, result=outcome)
            for number, at in enumerate(TIMES):
                batch.create(f"at {number}", at=at).create(f"ended at {number}", at=TIMES[0])
                batch.move(f"ended at {number}", OddStatus.DONE, at=at)
            batch.create("long").move("long", OddStatus.DONE, result=LONGEST_RESULT)
            await session.commit(batch)
        async with open_store():
            pass

    async def test_many_changes_are_read_back(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            batch = session.batch().create("a").create("b")
            for _ in range(300):
                batch.move("a", OddStatus.RUNNING).move("a", OddStatus.WAITING)
            await session.commit(batch.move("b", OddStatus.DONE))
        async with open_store() as session:
            await session.commit(session.batch().move("a", OddStatus.DONE).create("c"))
        async with open_store():
            pass

    async def test_each_opening_sets_the_final_statuses(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            batch = session.batch().create("waits").create("runs").create("done")
            await session.commit(batch.move("runs", OddStatus.RUNNING).move("done", OddStatus.DONE))
        async with open_store(outcomes=_finals(OddStatus.LOST)) as session:
            assert await session.remove(keep=0) == 0
        async with open_store(outcomes=_finals(OddStatus.RUNNING, OddStatus.DONE)) as session:
            assert await session.remove(keep=0) == 2
        async with open_store():
            pass

    async def test_an_opening_leaves_jobs_in_statuses_that_it_does_not_know(
        self, open_store: OpenStore
    ) -> None:
        """Ended ones keep their outcomes, and what they had."""
        self.needs_reopening()
        execution = Execution(attempt=2, deadlines=json.dumps({OddStatus.LOST: 1})).ended()
        async with open_store() as session:
            batch = session.batch().create("waits").create("runs").create("done").create("lost")
            batch.move("runs", OddStatus.RUNNING).move("done", OddStatus.DONE)
            await session.commit(batch.move("lost", OddStatus.LOST, execution=execution))
        for unknown in (OddStatus.LOST, OddStatus.DONE, OddStatus.RUNNING, OddStatus.LOST):
            known = {status: its for status, its in STATUS_OUTCOMES.items() if status != unknown}
            async with open_store(outcomes=known):
                pass
        async with open_store() as session:
            await session.commit(session.batch().move("runs", OddStatus.LOST))
            assert await session.remove(keep=0) == 3

    @pytest.mark.parametrize("how", ["renamed", "running"])
    async def test_jobs_have_started_if_their_status_is_the_running_one_at_the_next_opening(
        self, open_store: OpenStore, how: str
    ) -> None:
        self.needs_reopening()
        async with open_store() as session:
            batch = session.batch().create("waits").create("runs").create("done")
            await session.commit(batch.move("runs", OddStatus.RUNNING).move("done", OddStatus.DONE))
        waiting = OddStatus.WAITING.value
        roles = {"renamed": {waiting: RUNNING}} if how == "renamed" else {"running": waiting}
        async with open_store(**roles) as session:
            assert session.book.jobs["waits"].started_at == NOON
            await session.commit(session.batch().move("waits", OddStatus.DONE))
        async with open_store():
            pass

    async def test_openings_go_on_with_the_epoch(self, new_storage: NewStorage, path: Path) -> None:
        self.needs_reopening()
        epochs = []
        for _ in range(2):
            storage = new_storage(path)
            opened = await storage.open(STATUS_OUTCOMES, {}, RUNNING)
            epochs.append([*opened.epochs])
            await storage.aclose()
        [first] = epochs[0]
        assert first.first_sequence == 1
        assert epochs[1] == epochs[0]

    async def test_an_opening_renames_statuses_for_good(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        deadlines = json.dumps({OddStatus.RUNNING: 1, OddStatus.DONE: 2})
        async with open_store() as session:
            batch = session.batch().create("waits", execution=Execution(deadlines=deadlines))
            batch.create("runs", key="a", kind="report", labels={"of": "c1"})
            batch.create("done", labels={"of": "c1"}).create("lost", kind="report")
            batch.move("runs", OddStatus.RUNNING).move("done", OddStatus.RUNNING)
            await session.commit(batch.move("done", OddStatus.DONE).move("lost", OddStatus.LOST))
        names = {OddStatus.RUNNING.value: OddStatus.WAITING.value}
        ends = {OddStatus.DONE.value: OddStatus.LOST.value}
        async with open_store(renamed=names) as session:
            await session.commit(session.batch().move("runs", OddStatus.DONE).create("b"))
        for renamed in (names | ends, names | ends, {}):
            async with open_store(renamed=renamed):
                pass
        async with open_store() as session:
            await session.commit(session.batch().move("waits", OddStatus.RUNNING))
        async with open_store(renamed=names) as session:
            assert await session.remove(keep=0) == 3

    @pytest.mark.parametrize("how", ["renamed", "final"])
    async def test_live_jobs_may_have_ended_at_the_next_opening(
        self, open_store: OpenStore, how: str
    ) -> None:
        """Then no attempt has them, no answer is awaited, and no deadline is left."""
        self.needs_reopening()
        live = {
            "asks": Execution(prompt=prompt_of("?"), answers="{}", deadline_at=NOON),
            "works": Execution(attempt=1, token="token", deadline_at=NOON, deadline_since=NOON),  # noqa: S106
            "rests": Execution(attempt=1, retry_at=NOON, retry_since=NOON, died_attempt=1),
            "has no execution": NO_EXECUTION,
        }
        async with open_store() as session:
            batch = session.batch().create("waits")
            for job_id, execution in live.items():
                batch.create(job_id).move(job_id, OddStatus.RUNNING, execution=execution)
            await session.commit(batch)
        names = {OddStatus.RUNNING.value: OddStatus.LOST.value} if how == "renamed" else {}
        finals = {**STATUS_OUTCOMES, OddStatus.RUNNING.value: "failed"}
        opening = {"renamed": names} if names else {"outcomes": finals}
        async with open_store(**opening) as session:
            assert all(
                session.book.jobs[job_id].execution == execution.ended()
                for job_id, execution in live.items()
            )
            assert await session.remove(keep=0) == len(live)

    async def test_a_second_opening_is_refused_and_harms_nothing(
        self, open_store: OpenStore, new_storage: NewStorage, path: Path
    ) -> None:
        self.needs_reopening()
        self.needs_one_engine()
        async with open_store() as session:
            await session.commit(session.batch().create("a").create("b"))
            for _ in range(2):
                await _refused(new_storage(path))
            await session.commit(session.batch().move("a", OddStatus.DONE))
            await session.check()
            await _refused(new_storage(path))
        async with open_store() as session:
            await session.commit(session.batch().create("c"))

    async def test_a_cancelled_opening_leaves_it_free(
        self, open_store: OpenStore, new_storage: NewStorage, path: Path
    ) -> None:
        self.needs_reopening()
        async with open_store() as session:
            await session.commit(session.batch().create("a"))
        storage = new_storage(path)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await storage.open(STATUS_OUTCOMES, {}, RUNNING)
        await storage.aclose()
        async with open_store() as session:
            await session.commit(session.batch().create("b"))
        async with open_store():
            pass


def _finals(*statuses: OddStatus) -> dict[str, str | None]:
    """Return all statuses, with an outcome for the final ones."""
    return {status.value: "failed" if status in statuses else None for status in OddStatus}


async def _refused(storage: Storage) -> None:
    """Open a storage that is in use, and close it after the refusal, as an engine does."""
    with pytest.raises(StorageInUseError):
        await storage.open(STATUS_OUTCOMES, {}, RUNNING)
    await storage.aclose()
