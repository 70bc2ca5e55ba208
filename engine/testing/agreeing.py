"""Test that engines agree: each sees what the others commit, and none overwrites it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import anyio
import pytest

from engine.domain.exceptions import CommitUnknownError, LeaseLostError, StorageError
from engine.storage.answers import Names
from engine.storage.audit import AuditLine, KeptAuditLine
from engine.storage.record import Origin
from engine.testing.fixtures import NewStorage
from engine.testing.party import Party, amended, claimed, compared, created, joined, moved, paid
from engine.testing.shared_fixtures import EndLease, LoseAnswer, OpenPair, SharedFixtures
from engine.testing.values import NOON, STATUS_OUTCOMES, OddStatus

_DONE: Final = OddStatus.DONE
_SECOND: Final = timedelta(seconds=1)
_BATCHES: Final = 20


class AgreeingTests(SharedFixtures):
    """Tests `commit`, `resolve` and `remove_ended` of two storages on one place."""

    async def test_each_sees_what_the_other_has_committed(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a", key="k", payment="p"))
            await other.apply(moved(await other.look("a"), OddStatus.DONE))
            assert await one.everything() == await other.everything()
            found = await one.storage.checkout(Names(["a"], ["k"], ["p"]))
            assert all(len(part.jobs) == 1 for part in found.parts)
            assert (await one.look("a")).status == OddStatus.DONE

    async def test_a_stale_commit_is_refused_as_a_whole(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"))
            stale, sound = await other.look("a"), await other.look("b")
            await one.apply(moved(stale, OddStatus.WAITING))
            changes = (moved(sound, OddStatus.DONE), moved(stale, OddStatus.DONE), created("c"))
            found = await other.in_the_way(*changes)
            assert found.ids.jobs == {"a": await one.look("a")}
            newer = moved(found.ids.jobs["a"], OddStatus.DONE)
            await other.apply(changes[0], newer, changes[2])
            assert (await one.look("a")).version == 3

    async def test_a_commit_that_is_refused_leaves_no_line(
        self, open_pair: OpenPair, lose_answer: LoseAnswer
    ) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"))
            line, stale = AuditLine(NOON, "us", "extend", "a"), await other.look("a")
            committed = await one.commit(amended(stale), lines=[line])
            assert committed.in_the_way is None
            late = line._replace(by="them")
            committed = await other.commit(amended(stale), lines=[late])
            assert committed.in_the_way is not None
            assert list(await other.storage.audit(None, 9)) == [KeptAuditLine(1, *line)]
            async with lose_answer(other.storage):
                with pytest.raises(CommitUnknownError):
                    await other.commit(amended(await other.look("a")), lines=[late])
            await other.resolve()
            await one.storage.note_acts([line])
            kept = [KeptAuditLine(number, *each) for number, each in enumerate((line, late, line))]
            expected = [each._replace(number=each.number + 1) for each in kept[::-1]]
            for party in (one, other):
                assert list(await party.storage.audit(None, 9)) == expected

    async def test_every_write_makes_others_stale(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"))
            for change in (amended, lambda record: paid(record, "p"), claimed):
                stale = await other.look("a")
                await one.apply(change(await one.look("a")))
                assert [*(await other.in_the_way(amended(stale))).ids.jobs] == ["a"]

    async def test_a_job_that_is_only_compared_stays_as_it_is(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"), created("c"))
            await one.apply(moved(await one.look("a"), OddStatus.WAITING))
            seen = [await other.look(each) for each in "abc"]
            changes = (compared(seen[0]), moved(seen[1], OddStatus.DONE), created("d"))
            await other.apply(*changes)
            assert await one.look("a") == seen[0]
            assert len(await one.storage.history("a") or ()) == 2
            await one.apply(amended(seen[0]))
            found = await other.in_the_way(
                compared(seen[0]), moved(seen[2], OddStatus.DONE), created("e")
            )
            assert found.ids.jobs == {"a": await one.look("a")}
            assert await one.look("c") == seen[2]
            await one.apply(moved(await one.look("a"), OddStatus.DONE))
            gone = await other.look("a")
            assert {*await one.storage.remove_ended(None, 0, 10)} == {"a", "b"}
            committed = await other.commit(compared(gone), created("f"))
            assert (committed.in_the_way is not None, set(committed.gone)) == (True, {"a"})

    async def test_a_removed_job_is_in_the_way(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"))
            await one.apply(moved(await one.look("a"), OddStatus.DONE))
            stale = await other.look("a")
            assert list(await one.storage.remove_ended(None, 0, 10)) == ["a"]
            committed = await other.commit(paid(stale, "p"), moved(await other.look("b"), _DONE))
            assert (committed.in_the_way is not None, set(committed.gone)) == (True, {"a"})
            assert (await one.look("b")).status == OddStatus.RUNNING

    @pytest.mark.parametrize("name", ["ids", "keys", "payments"])
    async def test_a_name_is_taken_once(self, open_pair: OpenPair, name: str) -> None:
        names = {"ids": "a", "keys": "k", "payments": "p"}
        async with open_pair() as (one, other):
            await one.apply(created("a", key="k", payment="p"), created("z"))
            again = {
                "ids": created("a"),
                "keys": created("b", key="k"),
                "payments": created("b", payment="p"),
            }[name]
            found = await other.in_the_way(amended(await other.look("z")), created("c"), again)
            by_name = {part: getattr(found, part).jobs for part in names}
            expected = {names[name]: await one.look("a")}
            assert by_name == {part: expected if part == name else {} for part in names}

    async def test_a_later_payment_is_taken_once(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"))
            await one.apply(paid(await one.look("a"), "p"))
            by_payment = {"p": await one.look("a")}
            for change in (paid(await other.look("b"), "p"), created("c", payment="p")):
                assert (await other.in_the_way(change)).payments.jobs == by_payment

    async def test_numbers_have_no_gaps_and_the_order_of_the_commits(
        self, open_pair: OpenPair, new_storage: NewStorage, path: Path
    ) -> None:
        async with open_pair() as pair, joined(new_storage(path)) as reader:
            async with anyio.create_task_group() as tasks:
                for name, party in zip("xy", pair, strict=True):
                    tasks.start_soon(_create_in_turn, party, name)
                seen = 0
                while seen < 2 * 3 * _BATCHES:  # a transition is never seen before an earlier one
                    for entry in await reader.storage.transitions(seen, 7):
                        assert entry.sequence == seen + 1
                        seen = entry.sequence
            jobs, entries = await reader.everything()
            assert [entry.sequence for entry in entries] == [*range(1, seen + 1)]
            assert await reader.shared.newest_sequence() == seen
            positions = [job.position for job in jobs]  # type: ignore[attr-defined]
            assert positions == [*range(1, len(jobs) + 1)]
            for name in "xy":
                own = [entry.job_id for entry in entries if entry.job_id.startswith(name)]
                assert own == [f"{name} {n} {part}" for n in range(_BATCHES) for part in "aba"]

    async def test_a_commit_says_which_numbers_its_changes_got(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"), created("c"))
            changes = (created("d"), moved(await other.look("a"), _DONE), created("e"))
            committed = await other.apply(*changes)
            await other.check_numbers(committed, sequence=4, position=4)

    async def test_the_outcome_of_a_lost_answer_is_found(
        self, open_pair: OpenPair, lose_answer: LoseAnswer
    ) -> None:
        async with open_pair() as (one, other):
            await other.apply(created("a"), created("b"))
            origin = Origin("a", 2, "a")
            changes = (created("c", origin=origin), moved(await one.look("a"), _DONE))
            with pytest.raises(CommitUnknownError):
                async with lose_answer(one.storage):
                    await one.commit(*changes)
            assert (await other.look("c")).origin == origin
            await other.apply(created("d"))
            with pytest.raises(StorageError):
                await one.commit(created("not yet"))
            committed = await one.resolve()
            await one.check_numbers(committed, sequence=3, position=3)
            await one.apply(created("e"))

    async def test_a_dead_engine_writes_nothing(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            await other.apply(created("a"), created("b"))
            a, b = [await one.look(name) for name in "ab"]
            await end_lease(one.storage)
            before = await other.everything()
            for changes in ([moved(a, _DONE)], [amended(b)], [created("c")]):
                with pytest.raises(LeaseLostError):
                    await one.commit(*changes)
            with pytest.raises(LeaseLostError):
                await one.take()
            assert await other.everything() == before

    async def test_an_answer_that_was_lost_before_the_death_is_found(
        self, open_pair: OpenPair, lose_answer: LoseAnswer, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            with pytest.raises(CommitUnknownError):
                async with lose_answer(one.storage):
                    await one.commit(created("a"))
            await end_lease(one.storage)
            committed = await one.resolve()
            await other.check_numbers(committed, sequence=1, position=1)

    async def test_an_engine_leaves_jobs_in_statuses_that_it_does_not_know(
        self, new_storage: NewStorage, path: Path
    ) -> None:
        """Those of another lifecycle: ended ones stay as they are, and can be removed."""
        async with joined(new_storage(path)) as one:
            await one.apply(created("a", OddStatus.LOST), created("b", _DONE), created("c"))
            before = await one.everything()
            known = {each: its for each, its in STATUS_OUTCOMES.items() if each != OddStatus.LOST}
            async with joined(new_storage(path), known) as other:
                assert await other.everything() == before
                await other.apply(paid(await other.look("a"), "p"))
            assert sorted(await one.storage.remove_ended(None, 0, 10)) == ["a", "b"]

    async def test_removals_count_what_others_have_ended_and_removed(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            await one.apply(*(created(f"{number}", _DONE) for number in range(10)))
            assert len(await one.storage.remove_ended(None, 8, 100)) == 2
            await other.apply(*(created(f"live {number}") for number in range(5)))
            await other.apply(*[moved(await one.look(f"live {n}"), _DONE) for n in range(4)])
            assert len(await one.storage.remove_ended(None, 12, 100)) == 0
            assert len(await other.storage.remove_ended(NOON + _SECOND, None, 3)) == 3
            await one.apply(created("late", _DONE))
            assert len(await one.storage.remove_ended(None, 9, 100)) == 1
            await other.apply(moved(await one.look("live 4"), _DONE))
            assert len(await other.storage.remove_ended(NOON + _SECOND, 0, 7)) == 7
            assert len(await one.storage.remove_ended(None, 2, 100)) == 1
            assert len(await other.storage.remove_ended(None, 0, 100)) == 2

    async def test_two_engines_remove_no_more_than_one(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(*(created(f"{number}", _DONE) for number in range(40)))
            removed: list[str] = []

            async def remove(party: Party) -> None:
                while some := await party.storage.remove_ended(None, 7, 5):
                    removed.extend(some)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(remove, one)
                tasks.start_soon(remove, other)
            assert sorted(removed, key=int) == [f"{number}" for number in range(33)]
            await other.apply(created("next"))
            assert await other.shared.newest_sequence() == 41


async def _create_in_turn(party: Party, name: str) -> None:
    for number in range(_BATCHES):
        await party.apply(created(f"{name} {number} a"), created(f"{name} {number} b"))
        await party.apply(moved(await party.look(f"{name} {number} a"), _DONE))
