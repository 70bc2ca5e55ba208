"""What an engine learns of the changes that others make: of all of them, or that some are gone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import (
    AgentJobStatus,
    CursorExpiredError,
    EngineError,
    Job,
    JobEngine,
    Lifecycle,
    Outcome,
    PastStatus,
    Retention,
    Worker,
)
from engine.storage.record import Entry, Record
from engine.testing.virtual_clock import VirtualClock
from tests.proof.shared_storage import Place, PlainShared
from tests.unit.claiming import AgentJob, agents
from tests.unit.many.conftest import NewEngine
from tests.unit.worker.at_work import COMPLETED, RUNNING, SECONDS, until

pytestmark = pytest.mark.anyio


class Slow(PlainShared):
    """Tells its engine of nothing that others have changed until it may."""

    may_tell = True

    async def _until_it_may(self) -> None:
        while not self.may_tell:
            await checkpoint()

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        await self._until_it_may()
        return await self.place.content.transitions(after, limit, job_id)

    async def changed(self, records: Sequence[Record]) -> Sequence[Record | None]:
        await self._until_it_may()
        return await super().changed(records)


async def finished(engine: JobEngine[AgentJobStatus]) -> None:
    job = await engine.create(start=True)
    await engine.transition(job.job_id, COMPLETED)


async def test_a_watch_from_now_on_has_nothing_from_before(new_engine: NewEngine) -> None:
    with anyio.fail_after(SECONDS):
        async with new_engine() as watching, new_engine() as other:
            await finished(other)
            watch, seen = watching.watch(), []

            async def look() -> None:
                seen.append((await anext(watch)).sequence)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                while not len(watching.core.state.events):
                    await checkpoint()
                await watching.statistics()  # behind the read of the newest number
                await other.create()
            assert seen == [3]


async def test_a_watch_says_that_transitions_were_removed_before_it_saw_them() -> None:
    place = Place()
    slow = Slow(place, 0)
    with anyio.fail_after(SECONDS):
        async with agents(slow) as watching, agents(PlainShared(place, 1)) as other:
            await other.create()
            watch = watching.watch(after=0)
            assert (await anext(watch)).sequence == 1
            slow.may_tell = False
            await finished(other)
            await slow.remove_ended(None, 0, 10)
            await other.create()
            slow.may_tell = True
            with pytest.raises(CursorExpiredError):
                await anext(watch)


async def test_the_attempt_of_a_job_that_another_has_removed_is_stopped() -> None:
    place, begun, stopped = Place(), anyio.Event(), anyio.Event()
    slow = Slow(place, 0)

    async def work(_: AgentJob) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    with anyio.fail_after(SECONDS):
        async with (
            agents(slow) as working,
            agents(PlainShared(place, 1)) as other,
            Worker(working, work),
        ):
            job_id = (await other.create(start=True)).job_id
            await begun.wait()
            slow.may_tell = False
            await other.extend(job_id, RUNNING, timedelta(microseconds=1))
            with suppress(EngineError):  # it has failed, because its time is over
                await other.cancel(job_id)
            assert list(await slow.remove_ended(None, 0, 10)) == [job_id]
            slow.may_tell = True
            await stopped.wait()
            await until(lambda: not [*working.core.state.table.records()])


class Newer(StrEnum):
    AWAITING_PAYMENT = "awaiting_payment"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"


NEWER = Lifecycle(
    Newer,
    initial=Newer.AWAITING_PAYMENT,
    running=Newer.RUNNING,
    success={Newer.COMPLETED},
    failure={Newer.FAILED, Newer.REFUNDED},
    moves={
        Newer.AWAITING_PAYMENT: {Newer.RUNNING, Newer.FAILED, Newer.REFUNDED},
        Newer.RUNNING: {Newer.COMPLETED, Newer.FAILED},
        Newer.COMPLETED: set(),
        Newer.FAILED: set(),
        Newer.REFUNDED: set(),
    },
    fails_to=Newer.FAILED,
)


async def test_a_job_that_ends_in_a_status_that_this_engine_does_not_know_has_ended() -> None:
    place, seen = Place(), list[Job[AgentJobStatus]]()
    with anyio.fail_after(SECONDS):
        async with (
            agents(PlainShared(place, 0)) as older,
            JobEngine(PlainShared(place, 1), lifecycle=NEWER) as newer,
        ):
            job_id = (await newer.create()).job_id

            async def wait() -> None:
                seen.append(await older.wait(job_id))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                while not len(older.core.state.events):
                    await checkpoint()
                await newer.transition(job_id, Newer.REFUNDED)
            lines = [line.to_status async for line in older.watch(job_id)]
    assert isinstance(seen[0].status, PastStatus)
    assert seen[0].outcome is Outcome.FAILED
    assert lines[1:] == [seen[0].status]


async def test_retention_goes_by_the_clock_of_the_storage() -> None:
    place, clock = Place(), VirtualClock()
    ahead = PlainShared(place, 0)
    ahead.clock_offset = timedelta(hours=-1)
    rule = Retention(max_age=timedelta(minutes=30), interval_seconds=60)
    late = VirtualClock(start=clock() + timedelta(hours=1))
    async with agents(PlainShared(place, 1), clock=clock) as other:
        await finished(other)
        async with agents(ahead, clock=late, retention=rule) as engine:
            await late.advance(timedelta(minutes=10))
            assert await engine.count() == 1
