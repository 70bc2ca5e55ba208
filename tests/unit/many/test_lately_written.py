"""What an engine decides without a read, on what it has written lately, and what it reads again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import anyio
import pytest

from engine import (
    AgentJobStatus,
    EngineError,
    InvalidStateTransitionError,
    JobEndedError,
    JobEngine,
    JobNotFoundError,
    Lifecycle,
    Move,
    NewJob,
    VersionConflictError,
    Worker,
)
from engine.owner.commands.look import LookAround
from engine.owner.commands.release import ReleaseJob
from engine.storage import CheckedOut, Names
from engine.storage.answers import Committed
from engine.storage.audit import AuditLine
from engine.storage.record import Change, Record
from tests.proof.shared_storage import Place, PlainShared
from tests.unit.claiming import AgentJob, Claim, agents, claimed_one, release, token_of
from tests.unit.worker.at_work import ASKING, COMPLETED, FAILED, RUNNING, SECONDS, ended, until

pytestmark = pytest.mark.anyio


async def nothing() -> None:
    """Do nothing."""


class Told(PlainShared):
    """Keeps its calls, tells nothing of the others, and lets these act between its calls."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, 0)
        self.calls: list[str] = []
        self.behind_checkout: Callable[[], Awaitable[object]] = nothing
        self.before_commit: Callable[[], Awaitable[object]] = nothing

    async def checkout(self, names: Names) -> CheckedOut:
        self.calls.append("checkout")
        found = await self.place.content.checkout(names)
        do, self.behind_checkout = self.behind_checkout, nothing
        await do()
        return found

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        self.calls.append("commit")
        do, self.before_commit = self.before_commit, nothing
        await do()
        return await super().commit(changes, lines)

    async def take(
        self, kinds: Mapping[str, int], limit: int, *, suspects: bool
    ) -> Sequence[Record]:
        self.calls.append("take")
        return await super().take(kinds, limit, suspects=suspects)

    async def newest_sequence(self) -> int:
        self.calls.append("newest")
        return await super().newest_sequence()

    async def news(self, seconds: float) -> None:
        del seconds
        await anyio.sleep_forever()


async def work(job: AgentJob) -> str:
    return f"did {job.input}"


async def test_a_lone_job_is_read_once_in_three_commits() -> None:
    told = Told(Place())
    with anyio.fail_after(SECONDS):
        async with agents(told) as engine, Worker(engine, work):
            await ended(engine, "one")  # the worker has found no other
            assert "newest" not in told.calls
            told.calls.clear()
            job = await engine.create(input="it")
            await engine.transition(job.job_id, RUNNING)
            assert await engine.result(job.job_id) == "did it"
            assert told.calls == ["commit", "commit", "checkout", "commit"]


async def test_a_job_that_was_left_while_all_places_were_taken_is_found_without_news() -> None:
    begun, may_end = anyio.Event(), anyio.Event()

    async def wait(_: AgentJob) -> None:
        begun.set()
        await may_end.wait()

    with anyio.fail_after(SECONDS):
        async with agents(Told(Place())) as engine, Worker(engine, wait, concurrency=1):
            await engine.create(start=True)
            await begun.wait()
            second = await engine.create(start=True)
            may_end.set()
            await engine.wait(second.job_id)


async def test_a_move_that_others_have_made_is_seen_by_the_next_one() -> None:
    place = Place()
    with anyio.fail_after(SECONDS):
        async with agents(Told(place)) as engine, agents(PlainShared(place, 1)) as other:
            calls: list[tuple[AgentJobStatus, dict[str, Any], type[EngineError]]] = [
                (RUNNING, {}, InvalidStateTransitionError),
                (FAILED, {"expected_version": 1}, VersionConflictError),
            ]
            for target, given, error in calls:
                job = await engine.create()
                await other.transition(job.job_id, FAILED)
                with pytest.raises(error):
                    await engine.transition(job.job_id, target, **given)


async def test_a_key_of_a_job_that_others_have_moved_gives_it_as_it_is_now() -> None:
    place = Place()
    with anyio.fail_after(SECONDS):
        async with agents(Told(place)) as engine, agents(PlainShared(place, 1)) as other:
            job = await engine.create(idempotency_key="a")
            await other.transition(job.job_id, RUNNING)
            assert (await engine.create(idempotency_key="a")).status is RUNNING


async def test_a_job_that_others_have_removed_is_not_moved_any_more() -> None:
    place = Place()
    with anyio.fail_after(SECONDS):
        async with agents(Told(place)) as engine, agents(PlainShared(place, 1)) as other:
            job = await engine.create(idempotency_key="a")
            await other.transition(job.job_id, FAILED)
            await place.content.remove_ended(None, 0, 10)
            with pytest.raises(JobNotFoundError):
                await engine.transition(job.job_id, RUNNING)
            again = await engine.create(idempotency_key="a")
            assert again.job_id != job.job_id


async def test_jobs_that_one_call_shows_are_all_as_they_were_when_it_created_some() -> None:
    place = Place()
    told = Told(place)
    with anyio.fail_after(SECONDS):
        async with agents(told) as engine, agents(PlainShared(place, 1)) as other:
            old = await other.create(idempotency_key="a")

            async def start() -> None:
                await other.transition(old.job_id, RUNNING)

            told.before_commit = start
            new = [NewJob(idempotency_key="a"), NewJob(idempotency_key="b")]
            assert [job.status for job in await engine.create_many(new)] == [
                RUNNING,
                AgentJobStatus.AWAITING_PAYMENT,
            ]


async def test_a_job_that_comes_while_others_are_moved_is_not_missing_behind_these() -> None:
    place = Place()
    told = Told(place)
    ids = iter(["first", "late"])
    with anyio.fail_after(SECONDS):
        async with (
            agents(told) as engine,
            agents(PlainShared(place, 1), new_id=ids.__next__) as other,
            anyio.create_task_group() as tasks,
        ):
            await other.create()
            may_go_on = anyio.Event()
            told.before_commit = may_go_on.wait
            tasks.start_soon(engine.create)
            await until(lambda: "commit" in told.calls)
            told.before_commit = partial(other.create, start=True)
            tasks.start_soon(engine.transition, "first", RUNNING)  # both in one round
            await until(lambda: engine.core.inbox.waiting)
            may_go_on.set()
            both = [Move("first", ASKING), Move("late", COMPLETED)]
            assert [each.status for each in await engine.transition_many(both)] == [
                ASKING,
                COMPLETED,
            ]


async def test_a_job_that_is_missing_and_one_that_is_known_are_read_at_one_moment() -> None:
    place = Place()
    ids = iter(["known", "late"])
    told = Told(place)
    with anyio.fail_after(SECONDS):
        async with (
            agents(told, new_id=ids.__next__) as engine,
            agents(PlainShared(place, 1), new_id=ids.__next__) as other,
        ):
            await engine.create()

            async def create_and_start() -> None:
                await other.create(start=True)
                await other.transition("known", RUNNING)

            told.behind_checkout = create_and_start
            both = [Move("known", COMPLETED), Move("late", COMPLETED)]
            moved = await engine.transition_many(both)
            assert [each.status for each in moved] == [COMPLETED, COMPLETED]


async def test_a_job_is_read_for_a_caller_beside_an_attempt_of_this_engine() -> None:
    place = Place()
    told = Told(place)
    with anyio.fail_after(SECONDS):
        async with (
            agents(told) as engine,
            agents(PlainShared(place, 1)) as other,
            anyio.create_task_group() as tasks,
        ):

            async def cancel(job_id: str) -> None:
                with pytest.raises(JobEndedError):
                    await engine.cancel(job_id)

            job = await engine.create(start=True)
            _, old_token = await claimed_one(engine)
            claim = await Claim(engine.core).seen()
            await release(engine, job.job_id, old_token, failed=False)
            [again] = await claim.records()
            await other.cancel(job.job_id)
            await engine.core.ask(LookAround())  # the engine sees the wish
            await other.transition(job.job_id, FAILED, attempt_token=token_of(again))

            may_go_on = anyio.Event()
            told.before_commit = may_go_on.wait
            tasks.start_soon(engine.create)
            await until(lambda: told.before_commit is nothing)
            tasks.start_soon(cancel, job.job_id)
            await until(lambda: engine.core.inbox.waiting)
            engine.core.inbox.put(ReleaseJob(job.job_id, old_token))  # in the same round
            may_go_on.set()


class Turns(StrEnum):
    """Two statuses whose deadlines lead to each other, and three more."""

    ONE = "one"
    OTHER = "other"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


async def test_a_refusal_beside_deadlines_that_go_on_for_ever_is_answered() -> None:
    lifecycle = Lifecycle(
        Turns,
        {
            Turns.ONE: {Turns.OTHER, Turns.RUNNING},
            Turns.OTHER: {Turns.ONE, Turns.RUNNING},
            Turns.RUNNING: {Turns.DONE, Turns.FAILED},
            Turns.DONE: set(),
            Turns.FAILED: set(),
        },
        initial=Turns.ONE,
        running=Turns.RUNNING,
        success={Turns.DONE},
        failure={Turns.FAILED},
        expires_to={Turns.ONE: Turns.OTHER, Turns.OTHER: Turns.ONE},
    )
    times = [datetime.now(UTC)]
    soon = times[0] + timedelta(seconds=1)
    with anyio.fail_after(SECONDS):
        async with JobEngine(Told(Place()), lifecycle=lifecycle, clock=lambda: times[-1]) as engine:
            job = await engine.create(deadlines={Turns.ONE: soon, Turns.OTHER: soon})
            times.append(soon + timedelta(seconds=1))
            both = [Move(job.job_id, Turns.RUNNING), Move("none", Turns.RUNNING)]
            with pytest.raises(JobNotFoundError):
                await engine.transition_many(both)
