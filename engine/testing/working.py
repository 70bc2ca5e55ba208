"""Test executions: the part of a job that only handlers, deadlines and priorities use."""

from __future__ import annotations

from typing import Final

from msgspec.structs import asdict

from engine.storage.record import NO_EXECUTION, Execution
from engine.testing.fixtures import OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import (
    EXECUTIONS,
    INPUTS,
    LONGEST_INPUT,
    NOON,
    TIMES,
    OddStatus,
    prompt_of,
)

_PROMPT: Final = prompt_of("asked")
_FIRST: Final = "the first attempt"
_SECOND: Final = "the second"
_CLAIMED: Final = Execution(attempt=1, token=_FIRST)
_ALL: Final = Execution(
    *(7, 3, 2, "token", NOON, '{"done":1.0}', NOON, TIMES[-1], _PROMPT, "{}", "reason", "json"),
    *("{}", 5, 4),
)
_MANY: Final = 1_000


class WorkingTests(StorageFixtures):
    """Tests inputs and executions, and changes without a sequence number: they are no transitions.

    Each `Session.check` and each opening compare all answers with the book.
    """

    async def test_inputs_are_kept_through_every_change(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(INPUTS):
                batch.create(f"new {number}", given_input=text)
                batch.create(f"at work {number}", given_input=text, execution=_CLAIMED)
                batch.create(f"ended {number}", given_input=text)
                batch.move(f"ended {number}", OddStatus.DONE, result="done")
            await session.commit(batch.create("long", given_input=LONGEST_INPUT))
            await session.check()
            batch = session.batch()
            for number in range(len(INPUTS)):
                batch.move(f"new {number}", OddStatus.RUNNING)
                batch.amend(f"at work {number}", attempt=2)
            await session.commit(batch.move("long", OddStatus.RUNNING, execution=_CLAIMED))
            await session.check()
        await self._check_reopened(open_store)

    async def test_executions_are_kept_as_they_are(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch()
            for number, execution in enumerate(EXECUTIONS):
                batch.create(f"new {number}", execution=execution)
                batch.create(f"moved {number}").create(f"ended {number}")
                batch.move(
                    f"ended {number}", OddStatus.LOST, error="lost", execution=execution.ended()
                )
            await session.commit(batch)
            await session.check()
            batch = session.batch()
            for number, execution in enumerate(EXECUTIONS):
                batch.move(f"moved {number}", OddStatus.RUNNING, execution=execution)
                batch.amend(f"new {number}", **asdict(EXECUTIONS[-1 - number]))
            await session.commit(batch)
            await session.check()
        await self._check_reopened(open_store)

    async def test_an_execution_may_come_and_go(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("a").create("b", execution=_ALL))
            for execution in (NO_EXECUTION, _ALL, NO_EXECUTION, _ALL):
                batch = session.batch().move("a", OddStatus.RUNNING, execution=execution)
                await session.commit(batch.move("b", OddStatus.WAITING, execution=execution))
                await session.check()
        await self._check_reopened(open_store)

    async def test_a_change_of_an_execution_is_no_transition(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            batch = session.batch().create("a").create("b").create("c", key="of c")
            await session.commit(batch.move("b", OddStatus.RUNNING))
            await session.commit(session.batch().amend("a", token=_FIRST, attempt=1))
            await session.check()
            for number in range(2, 5):  # "c" is new, and has had no change so far
                batch = session.batch().amend("a", attempt=number).amend("c", attempt=number)
                await session.commit(batch)
                await session.check()
            await session.commit(session.batch().move("a", OddStatus.DONE).create("d"))
            await session.check()
        await self._check_reopened(open_store)

    async def test_the_newest_of_many_changes_counts(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await session.commit(session.batch().create("a").create("b", key="of b"))
            batch = session.batch().create("new", key="of new", given_input="{}")
            batch.amend("new", token=_FIRST).amend("new", token=_SECOND)
            batch.amend("a", token=_FIRST).move("a", OddStatus.RUNNING, execution=_CLAIMED)
            batch.amend("a", prompt=_PROMPT).amend("b", failures=1)
            batch.move("b", OddStatus.RUNNING, execution=_CLAIMED).move("b", OddStatus.DONE)
            batch.create("ended").amend("ended", token=_FIRST).move("ended", OddStatus.LOST)
            await session.commit(batch)
            await session.check()
            batch = session.batch()
            for number in range(300):
                batch.amend("new", attempt=number, token=f"token {number}")
            await session.commit(batch)
            await session.check()
        await self._check_reopened(open_store)

    async def test_work_goes_on_where_it_was(self, open_store: OpenStore) -> None:
        self.needs_reopening()
        async with open_store() as session:
            await session.commit(session.batch().create("a").create("b").create("c"))
            await session.commit(session.batch().amend("a", **asdict(_ALL)))
        async with open_store() as session:
            await session.commit(session.batch().amend("a", token=None).amend("b", token=_FIRST))
        async with open_store() as session:
            batch = session.batch().amend("a", token=_SECOND, attempt=4)
            await session.commit(batch.move("b", OddStatus.DONE))
        async with open_store() as session:
            await session.commit(session.batch().move("a", OddStatus.LOST, execution=_ALL.ended()))
        await self._check_reopened(open_store)

    async def test_large_batches_of_executions(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            created = session.batch()
            for number in range(_MANY):
                execution = Execution(priority=number) if number % 3 else NO_EXECUTION
                given = "[]" if number % 2 else None
                created.create(f"job {number}", given_input=given, execution=execution)
            await session.commit(created)
            claimed = session.batch()
            for number in range(_MANY):
                claimed.amend(f"job {number}", attempt=1, token=f"token {number}")
            await session.commit(claimed)
            moved = session.batch()
            for number in range(0, _MANY, 2):
                execution = _CLAIMED.ended() if number % 3 else NO_EXECUTION
                moved.move(f"job {number}", OddStatus.DONE, execution=execution)
                moved.amend(f"job {number + 1}", token=None)
            await session.commit(moved)
            await session.check(every=_MANY // 4 + 1)

    async def test_transitions_of_removed_jobs_are_gone(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await _fill_and_amend(session)
            for keep in (7, 4, 0):
                await session.remove(keep=keep)
            await session.commit(session.batch().create("next").move("a", OddStatus.DONE))
            await session.check()
            await session.remove(keep=0)
        await self._check_reopened(open_store)

    async def _check_reopened(self, open_store: OpenStore) -> None:
        if self.outlives_closing:
            async with open_store():
                pass


async def _fill_and_amend(session: Session) -> None:
    """Commit jobs with interleaved transitions, ten of them ended."""
    batch = session.batch().create("a", execution=_CLAIMED)
    for number in range(20):
        batch.create(f"job {number}", execution=_CLAIMED)
    for status, execution in (
        (OddStatus.RUNNING, _CLAIMED),
        (OddStatus.DONE, _CLAIMED.ended()),
    ):
        for number in range(0, 20, 2):
            batch.move(f"job {number}", status, execution=execution).amend("a", attempt=number)
    # A change of its execution must not make an ended job be removed twice.
    await session.commit(batch.amend("job 4", cancel_reason="late"))
    await session.remove(keep=8)
    await session.commit(
        session.batch().amend("job 8", cancel_reason="late").amend("job 9", attempt=2)
    )
