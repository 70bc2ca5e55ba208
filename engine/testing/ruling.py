"""Test that engines decide by the same rules of follow-ups, and that these have their parents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import anyio
import pytest

from engine.domain.follow_up_rules import NO_RULES, StoredRules
from engine.storage.answers import CheckedOut, Committed
from engine.storage.audit import AuditLine
from engine.storage.filter import ALL_JOBS
from engine.storage.record import Change, Origin, Record
from engine.testing.fixtures import NewStorage
from engine.testing.party import Party, amended, claimed, compared, created, joined, moved, paid
from engine.testing.shared_fixtures import OpenPair, SharedFixtures
from engine.testing.values import NOON, OddStatus, json_of

_DONE: Final = OddStatus.DONE
_FIRST: Final = json_of([{"kind": "settle", "to": ["done"]}])
_SECOND: Final = json_of([{"kind": "refund", "to": ["Done"]}])
_FAMILIES: Final = 30


def follow_up_of(parent: Record, job_id: str) -> Change:
    """Return the creation of a follow-up of a job that was read before."""
    origin = Origin(parent.job_id, parent.version, parent.root_id)
    return created(job_id, kind="settle", origin=origin)


class RulingTests(SharedFixtures):
    """Tests `rules`, `keep_rules`, and commits and removals of follow-ups, of two storages."""

    async def test_each_sees_the_rules_that_the_other_keeps(
        self, open_pair: OpenPair, new_storage: NewStorage, path: Path
    ) -> None:
        async with open_pair() as (one, other):
            assert one.rules == other.rules == NO_RULES
            assert await one.storage.keep_rules(_FIRST) == StoredRules(1, _FIRST)
            assert await other.storage.rules() == StoredRules(1, _FIRST)
            assert await other.storage.keep_rules(_SECOND) == StoredRules(2, _SECOND)
            async with joined(new_storage(path)) as third:
                assert third.rules == StoredRules(2, _SECOND) == await one.storage.rules()

    async def test_older_rules_replace_no_newer_ones(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.storage.keep_rules(_FIRST)
            line = AuditLine(NOON, "us", "remove rule")
            for _ in range(2):
                assert await other.storage.keep_rules(_SECOND, [line]) is None
            assert not await other.storage.audit(None, 9)
            newest = StoredRules(1, _FIRST)
            assert await one.storage.rules() == await other.storage.rules() == newest
            assert await other.storage.keep_rules(_SECOND) == StoredRules(2, _SECOND)

    @pytest.mark.parametrize("how", ["create", "move", "move and create", "move and pay", "all"])
    async def test_a_transition_by_older_rules_is_not_applied(
        self, open_pair: OpenPair, how: str
    ) -> None:
        """It comes back with the newer ones, also if its moves were written before."""
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"), created("c"))
            a, b, c = [await other.look(name) for name in "abc"]
            changes = {
                "create": [created("d", key="k")],
                "move": [moved(a, _DONE)],
                "move and create": [amended(b), moved(a, _DONE), follow_up_of(a, "d")],
                "move and pay": [moved(a, _DONE), paid(b, "p")],
                "all": [paid(b, "p"), created("d"), moved(a, _DONE), compared(c)],
            }[how]
            newest = await one.storage.keep_rules(_FIRST)
            before = await one.everything()
            expected = Committed(in_the_way=CheckedOut(), rules=newest)
            assert await other.commit(*changes) == expected
            assert await one.everything() == before
            await other.apply(*changes)  # which has got the newest ones by this answer

    async def test_what_is_no_transition_goes_by_no_rules(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"), created("c"))
            a, b, c = [await other.look(name) for name in "abc"]
            await one.storage.keep_rules(_FIRST)
            await other.apply(claimed(a), paid(b, "p"), compared(c))
            await other.apply(amended(c, cancel_reason="x"))
            assert (await other.commit(moved(await other.look("c"), _DONE))).rules is not None

    async def test_whoever_has_asked_for_the_newest_rules_goes_by_them(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            await one.storage.keep_rules(_FIRST)
            await other.storage.rules()
            await other.apply(created("a"))
            await one.storage.keep_rules(_SECOND)
            assert (await other.commit(created("b"))).rules == StoredRules(2, _SECOND)

    async def test_a_follow_up_of_another_engine_is_in_the_way(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a", _DONE))
            parent = await other.look("a")
            await one.apply(compared(parent), follow_up_of(parent, "derived"))
            again = (compared(parent), follow_up_of(parent, "derived"))
            found = (await other.in_the_way(*again)).ids.jobs["derived"]
            assert found == await one.look("derived")
            assert (found.parent_id, found.root_id, found.kind) == ("a", "a", "settle")

    async def test_a_removed_job_is_not_followed(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a", _DONE), created("b", _DONE))
            a, b = await other.look("a"), await other.look("b")
            await other.apply(follow_up_of(b, "of b"))
            assert list(await one.storage.remove_ended(None, 0, 10)) == ["a"]
            committed = await other.commit(compared(a), follow_up_of(a, "of a"), amended(b))
            assert (committed.in_the_way is not None, set(committed.gone)) == (True, {"a"})
            [kept, follow_up] = await _all_jobs(one)
            assert (kept.job_id, follow_up.root_id) == ("b", "b")

    async def test_a_removal_leaves_no_follow_up_behind(self, open_pair: OpenPair) -> None:
        """Whether it comes before the commit that follows, after it, or in the middle."""
        async with open_pair() as (one, other):
            names = [f"{number}" for number in range(_FAMILIES)]
            await one.apply(*(created(name, _DONE) for name in names))
            parents = [await other.look(name) for name in names]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_follow_all, other, parents)
                tasks.start_soon(_remove_all, one)
            jobs = {job.job_id: job for job in await _all_jobs(one)}
            for job in jobs.values():
                assert job.root_id in jobs, f"{job.job_id!r} has lost its parent"
            await one.apply(*(moved(job, _DONE) for job in jobs.values() if job.parent_id))
            await _remove_all(one)
            assert await _all_jobs(other) == []


async def _all_jobs(party: Party) -> list[Record]:
    page = await party.storage.page(ALL_JOBS, 0, 10 * _FAMILIES)
    jobs = [job for job in page.jobs if isinstance(job, Record)]
    assert len(jobs) == len(page.jobs)
    return jobs


async def _follow_all(party: Party, parents: list[Record]) -> None:
    for parent in parents:
        committed = await party.commit(
            compared(parent), follow_up_of(parent, f"of {parent.job_id}")
        )
        assert committed.in_the_way is None or set(committed.gone) == {parent.job_id}


async def _remove_all(party: Party) -> None:
    while await party.storage.remove_ended(None, 0, 1):
        pass
