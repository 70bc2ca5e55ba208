"""Test that engines take each job once, whoever dies, and that each job is due for one of them."""

from __future__ import annotations

from datetime import timedelta
from operator import is_
from pathlib import Path
from typing import Final

import anyio
from msgspec.structs import replace

from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage.record import Execution, dead_token
from engine.storage.shared import ReadyCounts
from engine.testing.fixtures import NewStorage
from engine.testing.party import amended, claimed, created, joined, moved
from engine.testing.shared_fixtures import EndLease, OpenPair, SharedFixtures
from engine.testing.values import LONGEST_INPUT, NOON, STATUS_OUTCOMES, OddStatus

_SECOND: Final = timedelta(seconds=1)
_SECONDS_AGAINST_HANGS: Final = 60
_LONG_JOBS: Final = 4 * MAX_READ_CHARACTERS // len(LONGEST_INPUT.encode()) + 2


class TakingTests(SharedFixtures):
    """Tests `Shared` of two storages on one place."""

    async def test_a_job_is_taken_once(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(*(created(f"{number}") for number in range(10)))
            assert await one.take_ids(4) == ["0", "1", "2", "3"]
            assert await other.take_ids() == ["4", "5", "6", "7", "8", "9"]
            assert await one.take_ids() == await other.take_ids() == []
            assert len(await one.shared.held()) == 4

    async def test_a_taken_job_is_claimed_or_let_go_by_the_next_commit(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"), created("c"))
            a, b, c = sorted(await one.take(), key=lambda each: each.position)
            await one.apply(claimed(a), amended(b), moved(c, OddStatus.WAITING))
            assert await other.take_ids() == ["b"]
            assert [each.job_id for each in await one.shared.held()] == ["a"]
            await one.apply(amended(await one.look("a"), token=None))
            assert await other.take_ids() == ["a"]

    async def test_only_ready_jobs_are_taken(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(
                created("waits", OddStatus.WAITING),
                created("rests", execution=Execution(retry_at=NOON)),
                created("is late", execution=Execution(deadline_at=NOON)),
                created("of another kind", kind="other"),
            )
            assert await other.take_ids() == ["is late"]
            assert await other.take_ids(unheard=1) == []

    async def test_kinds_are_taken_in_turns_and_jobs_by_priority(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            for number in range(4):
                execution = Execution(priority=number)
                names = [
                    created(f"{kind}{number}", kind=kind, execution=execution) for kind in "ab"
                ]
                await one.apply(*names)
            assert await other.take_ids(1, b=4, a=4) == ["b3"]
            assert await other.take_ids(4, none=1, a=2, b=1) == ["a2", "b2", "a3"]
            assert await one.take_ids(a=9, b=9) == ["a0", "b0", "a1", "b1"]

    async def test_one_suspect_is_taken_at_most(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            died = Execution(attempt=1, died_attempt=1)
            await one.apply(*(created(name, execution=died) for name in "ab"), created("c"))
            assert await other.take_ids(suspects=False) == ["c"]
            assert await other.take_ids() == ["a"]
            assert await one.take_ids() == ["b"]

    async def test_no_more_is_taken_or_found_at_once_than_one_read_may_give(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            for place in range(_LONG_JOBS):
                change = created(f"{place}")
                record = replace(change.record, input=LONGEST_INPUT)
                await one.apply(replace(change, record=record))
            taken: list[str] = []
            while some := await other.take_ids(_LONG_JOBS):
                assert len(some) < _LONG_JOBS
                taken += some
            held: list[str] = []
            while found := await other.shared.held(held):
                assert len(found) < _LONG_JOBS
                held += [each.job_id for each in found]
            assert sorted(taken) == sorted(held) == sorted(f"{n}" for n in range(_LONG_JOBS))

    async def test_jobs_are_counted_for_all_engines(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            died = Execution(attempt=1, died_attempt=1)
            await one.apply(*(created(name) for name in "abc"), created("d", kind="other"))
            await one.apply(*(created(name, execution=died) for name in "ef"))
            await one.apply(*map(claimed, await one.take(2)))
            counts = await other.shared.ready_counts({"other"}, [])
            assert counts == ReadyCounts(ready=3, running=2, unhandled=2, paused=0)
            counts = await other.shared.ready_counts([], ["other", "unheard-of"])
            assert counts == ReadyCounts(ready=2, running=2, unhandled=2, paused=1)

    async def test_an_attempt_stays_whoever_writes_its_job(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            await one.apply(created("a"), created("b"))
            await one.apply(*map(claimed, await one.take(2)))
            before = [await one.look("a"), await one.look("b")]
            assert [*map(is_, await one.shared.changed(before), before)] == [True, True]
            await other.apply(amended(await other.look("a"), cancel_reason="x"))
            changed, same = await one.shared.changed(before)
            assert changed is not None
            assert same is before[1]
            assert (changed.execution.cancel_reason, changed.execution.token) == ("x", "token")
            assert len(await one.shared.held()) == 2
            await other.apply(moved(changed, OddStatus.DONE))
            ended, _ = await one.shared.changed(before)
            assert ended is not None
            assert ended.status == OddStatus.DONE
            await other.storage.remove_ended(None, 0, 10)
            assert await one.shared.changed(before) == [None, before[1]]
            assert [each.job_id for each in await one.shared.held()] == ["b"]

    async def test_a_job_is_held_back_for_its_engine(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            held_back = {"a"}
            one.shared.hold_back(held_back)
            await one.apply(created("a"), created("b"))
            assert await other.take_ids() == ["b"]
            [held] = await one.shared.held()
            held_back.clear()
            await one.apply(amended(held))
            assert await other.take_ids() == ["a"]

    async def test_a_reserved_job_stays_whoever_writes_it(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            one.shared.hold_back({"a"})
            await one.apply(created("a"), created("b"), created("c"))
            assert await one.take_ids(1) == ["b"]
            for name in "abc":
                await other.apply(amended(await other.look(name), cancel_reason="x"))
            assert await other.take_ids() == ["c"]
            held = {each.job_id: each for each in await one.shared.held()}
            assert [held[name].execution.cancel_reason for name in "ab"] == ["x", "x"]
            await other.apply(moved(held["a"], OddStatus.DONE))
            await one.apply(claimed(held["b"]))
            assert [each.job_id for each in await one.shared.held()] == ["b"]

    async def test_a_late_job_is_due_for_one_engine(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, other):
            late = Execution(deadline_at=NOON)
            await one.apply(created("a", OddStatus.WAITING, execution=late), created("b"))
            assert list((await one.shared.due(NOON - _SECOND, 10)).late) == []
            assert list((await one.shared.due(NOON, 10)).late) == ["a"]
            assert list((await other.shared.due(NOON + 4 * _SECOND, 10)).late) == []
            assert list((await other.shared.due(NOON + 5 * _SECOND, 10)).late) == ["a"]
            await one.apply(amended(await one.look("a"), deadline_at=None))
            assert list((await other.shared.due(NOON + 60 * _SECOND, 10)).late) == []

    async def test_a_late_job_is_left_to_engines_that_know_its_status(
        self, new_storage: NewStorage, path: Path
    ) -> None:
        known = {each: its for each, its in STATUS_OUTCOMES.items() if each != OddStatus.WAITING}
        async with joined(new_storage(path)) as one, joined(new_storage(path), known) as other:
            late = Execution(deadline_at=NOON)
            await one.apply(created("a", OddStatus.WAITING, execution=late))
            assert list((await other.shared.due(NOON, 10)).late) == []
            assert list((await one.shared.due(NOON, 10)).late) == ["a"]

    async def test_a_job_is_ready_again_when_its_next_attempt_is_due(
        self, open_pair: OpenPair
    ) -> None:
        async with open_pair() as (one, other):
            rests = Execution(retry_at=NOON, deadline_at=NOON + 9 * _SECOND)
            await one.apply(created("a", execution=rests))
            assert list((await one.shared.due(NOON - _SECOND, 10)).late) == []
            assert await other.take_ids() == []
            assert list((await one.shared.due(NOON, 10)).late) == []
            assert await other.take_ids() == ["a"]
            assert list((await one.shared.due(NOON + 9 * _SECOND, 10)).late) == ["a"]

    async def test_a_late_job_is_ready_again_when_its_next_attempt_is_due(
        self, open_pair: OpenPair
    ) -> None:
        """Not every lifecycle expires jobs that run."""
        async with open_pair() as (one, other):
            for retry_at in (NOON + _SECOND, NOON - _SECOND):
                rests = Execution(retry_at=retry_at, deadline_at=NOON)
                await one.apply(created(f"{retry_at}", execution=rests))
                await one.shared.due(NOON, 10)
                assert await other.take_ids() == ([] if retry_at > NOON else [f"{retry_at}"])
            assert len((await one.shared.due(NOON + _SECOND, 10)).late) == 1
            assert await other.take_ids() == [f"{NOON + _SECOND}"]

    async def test_news_come_by_waking_or_by_time(self, open_pair: OpenPair) -> None:
        async with open_pair() as (one, _):
            await one.shared.news(0.01)
            one.shared.wake()
            with anyio.fail_after(_SECONDS_AGAINST_HANGS):
                await one.shared.news(3_600)

    async def test_the_jobs_of_a_dead_engine_are_free(
        self, open_pair: OpenPair, end_lease: EndLease
    ) -> None:
        async with open_pair() as (one, other):
            one.shared.hold_back({"rests"})
            rests = Execution(retry_at=NOON + _SECOND)
            await one.apply(*(created(name) for name in "abc"), created("rests", execution=rests))
            await one.apply(*map(claimed, await one.take(2)))
            assert await one.take_ids() == ["c"]
            await end_lease(one.storage)
            taken = {each.job_id: each.execution.token for each in await other.take()}
            assert taken == {"a": dead_token(2), "b": dead_token(2), "c": None}
            await other.shared.due(NOON + _SECOND, 10)
            assert await other.take_ids() == ["rests"]
