"""Test follow-ups: the origins of jobs, families that leave together, and the rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pytest
from msgspec.structs import asdict

from engine.domain.exceptions import InvalidStateTransitionError, JobNotFoundError
from engine.domain.follow_ups import FollowUp
from engine.storage.filter import ALL_JOBS, JobFilter
from engine.storage.record import NO_EXECUTION
from engine.testing.engines import end, everything
from engine.testing.fixtures import OpenEngine, OpenStore, StorageFixtures
from engine.testing.store import Session
from engine.testing.values import (
    EXECUTIONS,
    MICROSECOND,
    NOON,
    ORIGINS,
    TEXTS,
    TIMES,
    OddStatus,
    json_of,
)

_DONE: Final = OddStatus.DONE
_SETTLE: Final = FollowUp("settle", to={_DONE})
_NOTIFY: Final = FollowUp("notify", of="settle", to={_DONE, OddStatus.LOST})


def _at(number: int) -> datetime:
    return NOON + number * MICROSECOND


def _rule_of(status: str) -> str:
    return json_of([{"kind": "a", "to": [status]}])


async def fill(session: Session) -> None:
    """Commit families in which each job ends at the time that its name has."""
    batch = session.batch()
    for name in ("3", "1", "4", "6"):
        batch.create(name, key=f"of {name}").move(name, OddStatus.RUNNING)
    batch.move("1", _DONE, at=_at(1)).follow("2", "1").follow("9", "1", labels={"of": "1"})
    batch.move("2", OddStatus.LOST, at=_at(2)).follow("8", "2")
    batch.move("3", _DONE, at=_at(3)).move("4", _DONE, at=_at(4)).follow("5", "4")
    batch.move("5", OddStatus.LOST, at=_at(5)).move("6", _DONE, at=_at(6)).follow("7", "6")
    await session.commit(batch)


class FollowingTests(StorageFixtures):
    """Tests origins, families and rules.

    Each `Session.check` and each opening compare all answers with the book.
    """

    @pytest.mark.parametrize("of", ["plain", "labelled"])
    async def test_origins_are_kept_through_every_change(
        self, open_store: OpenStore, of: str
    ) -> None:
        async with open_store() as session:
            batch, executions = session.batch(), [NO_EXECUTION, EXECUTIONS[-1]]
            how: dict[str, Any] = {"kind": "settle", "labels": {"of": "ß"}}
            how = how if of == "labelled" else {}
            for number, origin in enumerate(ORIGINS):
                for place, execution in enumerate(executions):
                    for name in ("new", "moved", "amended", "paid", "ended"):
                        job_id = f"{name} {place} {number}"
                        batch.create(job_id, execution=execution, origin=origin, **how)
                    batch.move(job_id, _DONE, result="done", execution=execution.ended())
            await session.commit(batch)
            await session.check()
            batch = session.batch()
            for number in range(len(ORIGINS)):
                for place in range(2):
                    its = f"{place} {number}"
                    batch.move(f"moved {its}", OddStatus.RUNNING, execution=executions[1 - place])
                    batch.amend(f"amended {its}", **asdict(executions[1 - place]))
                    batch.pay(f"paid {its}", f"of {its}").amend(f"ended {its}", repeated_by="x")
            await session.commit(batch)
            await session.check(every=7)
        await self._check_reopened(open_store)

    async def test_follow_ups_are_found_and_left_out(self, open_store: OpenStore) -> None:
        """By each sort of filter, in both orders of pages; see `engine.testing.listings`."""
        async with open_store() as session:
            batch = session.batch()
            for number, text in enumerate(TEXTS):
                labels = {"of": f"{number % 3}"} if number % 2 else None
                batch.create(text, kind=f"k{number % 2}", labels=labels)
                if number % 4:
                    batch.move(text, OddStatus.RUNNING).move(text, _DONE)
                    batch.follow(f"s{text}", text, kind="settle", labels=labels)
                if number % 4 > 1:
                    batch.move(f"s{text}", _DONE).follow(f"n{text}", f"s{text}", labels=labels)
            await session.commit(batch)
            await session.check(every=7)
            for text in TEXTS[2::12]:
                its = JobFilter(root_id=text)
                assert await session.listings.count(its, 9) == 2
                assert await session.listings.count(its._replace(kind="settle"), 9) == 1
            roots = JobFilter(follow_ups=False)
            assert await session.listings.count(roots, 1_000) == len(TEXTS)
        await self._check_reopened(open_store)

    # Families.

    async def test_a_family_waits_for_its_last_end(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await fill(session)
            assert await session.remove(keep=0) == 3
            assert sorted(session.book.jobs) == ["1", "2", "6", "7", "8", "9"]
            await session.commit(session.batch().move("8", _DONE, at=_at(8)))
            await session.commit(session.batch().move("7", _DONE, at=_at(7)))
            assert await session.remove(keep=0) == 2
            await session.commit(session.batch().move("9", _DONE, at=_at(9)))
            assert await session.remove(keep=0) == 4
            await session.commit(session.batch().create("1", key="of 1").create("9"))
            await session.check()
        await self._check_reopened(open_store)

    async def test_the_last_end_is_the_age_of_a_family(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            await fill(session)
            await session.commit(session.batch().move("9", _DONE, at=_at(9)))
            await session.commit(session.batch().move("8", _DONE, at=_at(8)))
            await session.commit(session.batch().move("7", _DONE, at=_at(7)))
            for end, removed in ((3, 0), (4, 1), (5, 0), (6, 2), (7, 0), (8, 2), (9, 0), (10, 4)):
                assert await session.remove(before=_at(end)) == removed, end
            assert await session.listings.count(ALL_JOBS, 1) == 0

    @pytest.mark.parametrize("keep", [0, 1, 2, 3, 5, 7, 8, 9])
    async def test_follow_ups_count(self, open_store: OpenStore, keep: int) -> None:
        async with open_store() as session:
            await fill(session)
            batch = session.batch()
            for number in (7, 8, 9):
                batch.move(f"{number}", _DONE, at=_at(number))
            await session.commit(batch)
            await session.remove(keep=keep)
            assert session.book.count_ended() <= keep

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
    async def test_no_family_is_divided_by_a_limit(self, open_store: OpenStore, limit: int) -> None:
        async with open_store() as session:
            await fill(session)
            await session.commit(session.batch().move("9", _DONE, at=_at(9)))
            await session.commit(session.batch().move("8", _DONE, at=_at(8)))
            while await session.remove_some(before=TIMES[-1], limit=limit):
                pass
            assert sorted(session.book.jobs) == ["6", "7"]

    async def test_a_repeat_is_no_part_of_a_family(self, open_store: OpenStore) -> None:
        """Unless it repeats a follow-up: then it is one, too."""
        async with open_store() as session:
            batch = session.batch()
            for name, origin in (("first", None), ("repeat", ORIGINS[1])):
                batch.create(name, origin=origin).move(name, OddStatus.RUNNING)
            batch.move("first", OddStatus.LOST, at=_at(1))
            await session.commit(batch)
            assert await session.remove(keep=0) == 1
            batch = session.batch().move("repeat", _DONE, at=_at(2)).follow("settle", "repeat")
            await session.commit(batch)
            assert await session.remove(keep=0) == 0
            await session.commit(session.batch().move("settle", _DONE, at=_at(3)))
            assert await session.remove(keep=0) == 2

    # Rules.

    async def test_rules_are_kept(self, open_store: OpenStore) -> None:
        async with open_store() as session:
            assert session.rules.text == "[]"
            for text in ("[]", *map(_rule_of, TEXTS)):
                await self._keep_rules(session, text)
            await session.commit(session.batch().create("a"))
            await self._keep_rules(session, _rule_of("last"))
        if self.outlives_closing:
            async with open_store() as session:
                assert session.rules.text == _rule_of("last")
                await self._keep_rules(session, "[]")
            async with open_store() as session:
                assert session.rules.text == "[]"

    async def _keep_rules(self, session: Session, text: str) -> None:
        """Keep rules, and check their number if others may have to know it."""
        before = await session.storage.rules()
        kept = await session.storage.keep_rules(text)
        assert kept is not None, "no other engine is there"
        assert kept.text == text
        assert not self.is_shared or kept.number == before.number + 1
        assert await session.storage.rules() == kept

    # Through the engine.

    async def test_what_follows_is_there_after_a_restart(self, open_engine: OpenEngine) -> None:
        self.needs_reopening()
        async with open_engine(follow_ups=[_SETTLE, _NOTIFY]) as engine:
            paid = await end(engine, await engine.create("a", labels={"of": "ß"}))
            lost = await engine.create("b", start=True)
            await engine.transition(lost.job_id, OddStatus.LOST)
            [settle] = await engine.follow_ups(paid.job_id)
            assert (settle.kind, settle.labels, settle.parent_version) == ("settle", paid.labels, 3)
            assert await engine.follow_ups(lost.job_id) == []
            before = await everything(engine)
        async with open_engine() as engine:  # the rules are those that are kept
            assert await everything(engine) == before
            await engine.transition(settle.job_id, OddStatus.LOST)
            failed = await engine.repeat(settle.job_id)
            [notify] = await engine.follow_ups(settle.job_id)
            assert failed.parent_id == settle.parent_id == paid.job_id
            by_hand = await engine.follow_up(lost.job_id, "settle", by="us")
            assert await engine.follow_up(lost.job_id, "settle") == by_hand
            with pytest.raises(InvalidStateTransitionError):
                await engine.follow_up(by_hand.job_id, "notify")
            with pytest.raises(JobNotFoundError):
                await engine.follow_ups("unheard of")
            before = await everything(engine)
        async with open_engine(follow_ups=[FollowUp("settle", to={OddStatus.LOST})]) as engine:
            assert await everything(engine) == before
            assert {rule.kind: rule.to for rule in await engine.rules()} == {
                "settle": {OddStatus.LOST},
                "notify": {_DONE, OddStatus.LOST},
            }
            assert [await engine.backfill("settle") for _ in range(2)] == [0, 0]
            assert await engine.follow_ups(settle.job_id) == [notify]
            await end(engine, await engine.create("c"))
            assert await engine.count(follow_ups=False) == 3
            assert await engine.count() == 7

    async def _check_reopened(self, open_store: OpenStore) -> None:
        if self.outlives_closing:
            async with open_store():
                pass
