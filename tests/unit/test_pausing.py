"""Pause and resume kinds, and drain an engine, in memory and in a file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import (
    ORDER_LIFECYCLE,
    AgentJobStatus,
    CallTimeoutError,
    InvalidValueError,
    Job,
    JobEngine,
    MemoryStorage,
    OrderStatus,
    Pause,
    StorageDamagedError,
    StorageFullError,
    SyncJobEngine,
    Worker,
)
from engine.domain.pauses import MAX_PAUSES
from engine.owner import handled_kinds
from engine.storage import AuditLine
from engine.testing.facades import Engine
from engine.testing.virtual_clock import VirtualClock
from tests.proof.storages import PlainStorage
from tests.unit.claiming import (
    Claim,
    NewPlace,
    agents,
    claimed,
    claimed_one,
    release,
    running,
    token_of,
)

pytestmark = pytest.mark.anyio

SECONDS = 60.0  # against hangs
RUNNING, COMPLETED = AgentJobStatus.RUNNING, AgentJobStatus.COMPLETED


async def test_a_kind_is_paused_and_resumed_once(engine: Engine) -> None:
    assert await engine.paused() == []
    assert await engine.pause("report", by="ann", reason="the printer is on fire")
    assert not await engine.pause("report", by="bob")
    [paused] = await engine.paused()
    assert (paused.kind, paused.by, paused.reason) == ("report", "ann", "the printer is on fire")
    assert await engine.pause("mail")
    assert [each.kind for each in await engine.paused()] == ["mail", "report"]
    assert await engine.resume("report", by="bob", reason="put out")
    assert not await engine.resume("report")
    assert [each.kind for each in await engine.paused()] == ["mail"]


async def test_wrong_arguments_are_refused(engine: Engine) -> None:
    for call in (engine.pause, engine.resume):
        wrong_ones: list[dict[str, Any]] = [{"kind": "A"}, {"kind": "a", "by": ""}]
        for how in (*wrong_ones, {"kind": "a", "reason": 5}):
            with pytest.raises(InvalidValueError):
                await call(**how)
    for wrong in (0, 1, "1", 1.5):
        with pytest.raises(InvalidValueError, match="engine_id"):
            await engine.drain(wrong)
    with pytest.raises(InvalidValueError, match="undo"):
        await engine.drain(undo=1)
    with pytest.raises(InvalidValueError, match="by"):
        await engine.drain(by="")
    assert (await engine.paused(), (await engine.statistics()).draining) == ([], False)


async def test_too_many_pauses_are_refused(engine: Engine) -> None:
    for number in range(MAX_PAUSES):
        await engine.pause(f"kind-{number}")
    with pytest.raises(InvalidValueError, match="resume others first"):
        await engine.pause("another")
    assert len(await engine.paused()) == MAX_PAUSES
    assert not await engine.pause("kind-7")


async def test_the_pause_has_the_time_of_the_engine() -> None:
    clock = VirtualClock()
    async with agents(clock=clock) as engine:
        await engine.pause("report")
        assert await engine.paused() == [Pause(kind="report", at=clock())]


# Claims.


async def test_no_job_of_a_paused_kind_is_claimed(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        await engine.pause("a")
        paused = await running(engine, kind="a")
        other = await running(engine, kind="b")
        both = {"a": 9, "b": 9}
        assert [each.job_id for each in await claimed(engine, 9, kinds=both)] == [other.job_id]
        claim = await Claim(engine.core, 9, kinds=both).seen()
        await engine.create("another", kind="a", start=True)
        await engine.create("before the pause is over", kind="c", start=True)
        assert not claim.is_told
        await engine.resume("a")
        assert (await claim.records())[0].job_id == paused.job_id


async def test_resume_wakes_a_claim_that_waits(new_place: NewPlace) -> None:
    """Though nothing else is written."""
    async with agents(new_place()) as engine:
        job = await running(engine, kind="a")
        await engine.pause("a")
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        assert not claim.is_told
        await engine.resume("a")
        [record] = await claim.records()
        assert record.job_id == job.job_id


async def test_a_claim_waits_on_while_its_kind_is_paused(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        await engine.pause("a")
        jobs = [await running(engine, kind="a") for _ in range(3)]
        assert not claim.is_told
        await engine.cancel(jobs[0].job_id)
        await engine.resume("a")
        assert (await claim.records())[0].job_id == jobs[1].job_id


async def test_the_other_kinds_have_their_turns(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        for kind in "abcabcabc":
            await running(engine, kind=kind)
        await engine.pause("b")
        records = await claimed(engine, 4, kinds=dict.fromkeys("abc", 9))
        assert sorted(each.kind for each in records) == ["a", "a", "c", "c"]


async def test_an_attempt_at_work_goes_on(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        await running(engine, kind="a")
        job_id, token = await claimed_one(engine, kinds={"a": 1})
        await engine.pause("a")
        assert (await engine.statistics()).running == 1
        await engine.transition(job_id, COMPLETED, attempt_token=token, result="done")
        assert (await engine.get(job_id)).result == "done"


async def test_a_retry_of_a_paused_kind_waits(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        await running(engine, kind="a")
        job_id, token = await claimed_one(engine, kinds={"a": 1})
        await engine.pause("a")
        await release(engine, job_id, token, failed=True)
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        assert not claim.is_told
        assert (await engine.statistics()).paused == 1
        await engine.resume("a")
        assert (await claim.records())[0].execution.attempt == 2


async def test_a_suspect_of_a_paused_kind_stays(lasting_place: NewPlace) -> None:
    clock = VirtualClock()
    async with agents(lasting_place(), clock=clock) as engine:
        await running(engine, kind="a")
        await running(engine, kind="b")
        await claimed(engine, 9, kinds={"a": 1, "b": 1})
        await engine.pause("a")
    async with agents(lasting_place(), clock=clock) as engine:
        claim = await Claim(engine.core, 9, kinds={"a": 1, "b": 1}).seen()
        await clock.advance(10)
        [record] = await claim.records()
        statistics = await engine.statistics()
        assert (record.kind, statistics.ready, statistics.paused) == ("b", 0, 0)
        await engine.transition(record.job_id, COMPLETED, attempt_token=token_of(record))
        statistics = await engine.statistics()
        assert (statistics.ready, statistics.paused, statistics.waiting) == (0, 1, 0)


async def test_jobs_are_moved_and_expired_all_the_same(new_place: NewPlace) -> None:
    clock = VirtualClock()
    async with JobEngine(new_place(), lifecycle=ORDER_LIFECYCLE, clock=clock) as engine:
        await engine.pause("a")
        deadlines = {OrderStatus.RUNNING: timedelta(seconds=5)}
        late = await engine.create("late", kind="a", start=True, deadlines=deadlines)
        moved = await engine.create("moved", kind="a", start=True)
        cancelled = await engine.create("cancelled", kind="a")
        await engine.transition(moved.job_id, OrderStatus.COMPLETED, result="by hand")
        await engine.cancel(cancelled.job_id)
        await clock.advance(6)
        assert (await engine.wait(late.job_id, timeout=SECONDS)).outcome == "expired"


async def test_a_pause_comes_behind_the_claims_before_it_and_before_those_behind() -> None:
    """Whatever comes with it in one round."""
    async with agents() as engine:
        for _ in range(2):
            await running(engine, kind="a")
        claims: list[Claim] = []

        async def claim() -> None:
            claims.append(await Claim(engine.core, kinds={"a": 1}).seen())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim)
            tasks.start_soon(engine.pause, "a")
            tasks.start_soon(claim)
        told = sum(each.is_told for each in claims)
        statistics = await engine.statistics()
        assert (statistics.running, statistics.paused) == (told, 2 - told)
        assert not (await Claim(engine.core, kinds={"a": 1}).seen()).is_told


def test_no_attempt_begins_once_a_thread_has_paused_its_kind(tmp_path: Path) -> None:
    """And no job is lost, though workers work meanwhile."""
    begun: list[str] = []
    is_paused = threading.Event()

    def work(job: Job[OrderStatus]) -> None:
        begun.append(f"{job.job_id} too early" if is_paused.is_set() else job.job_id)

    with (
        SyncJobEngine(tmp_path / "jobs.db", lifecycle=ORDER_LIFECYCLE) as engine,
        Worker(engine, {"a": work}),
    ):
        for _ in range(10):
            engine.create("before", kind="a", start=True)
            engine.pause("a")
            while engine.statistics().running:
                pass
            is_paused.set()
            engine.create("meanwhile", kind="a", start=True)
            is_paused.clear()
            engine.resume("a")
        jobs = engine.list_jobs(limit=100).jobs
        for job in jobs:
            engine.wait(job.job_id, timeout=SECONDS)
        assert sorted(begun) == sorted(job.job_id for job in jobs)


# Keeping.


async def test_a_restart_resumes_nothing(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        await running(engine, kind="a")
        await engine.pause("a", by="ann")
    async with agents(lasting_place()) as engine:
        assert [each.by for each in await engine.paused()] == ["ann"]
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        assert not claim.is_told
        await engine.resume("a")
        assert len(await claim.records()) == 1


async def test_memory_keeps_pauses_as_long_as_the_jobs() -> None:
    storage = MemoryStorage()
    async with agents(storage) as engine:
        await engine.pause("a")
    async with agents(storage) as engine:
        assert [each.kind for each in await engine.paused()] == ["a"]


async def test_a_pause_that_can_not_be_kept_changes_nothing() -> None:
    class Full(MemoryStorage):
        async def keep_pauses(
            self, text: str, before: str, lines: Sequence[AuditLine] = ()
        ) -> bool:
            del lines
            raise StorageFullError(text + before)

    async with agents(Full()) as engine:
        await running(engine, kind="a")
        with pytest.raises(StorageFullError):
            await engine.pause("a")
        assert await engine.paused() == []
        assert len(await claimed(engine, kinds={"a": 1})) == 1


async def test_damaged_pauses_refuse_to_open() -> None:
    storage = PlainStorage()
    storage.stored_pauses = "{}"
    with pytest.raises(StorageDamagedError, match="the pauses are damaged"):
        async with agents(storage):
            pass


# What is told.


async def test_paused_jobs_are_counted_by_themselves(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        for kind in "aab":
            await running(engine, kind=kind)
        await engine.create("waits", kind="a")
        await engine.pause("a")
        await engine.pause("unheard-of")
        now = await engine.statistics()
        assert (now.ready, now.paused, now.unhandled, now.waiting) == (1, 2, 1, 1)
        await engine.resume("a")
        now = await engine.statistics()
        assert (now.ready, now.paused, now.unhandled, now.waiting) == (3, 0, 3, 1)


async def test_a_paused_kind_is_none_that_nobody_handles(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(_: Job[Any]) -> None:
        await anyio.sleep_forever()

    def told() -> list[str]:
        return [vars(each)["kind"] for each in caplog.records if each.levelno == logging.WARNING]

    async def until_told(kinds: list[str]) -> None:
        with anyio.fail_after(SECONDS):
            while len(told()) < len(kinds):
                await checkpoint()
        assert told() == kinds

    clock, patience = VirtualClock(), handled_kinds._PATIENCE  # noqa: SLF001
    async with agents(clock=clock) as engine, Worker(engine, {"a": work}):
        for kind in ("b", "c"):
            await running(engine, kind=kind)
        await engine.pause("b")
        await clock.advance(patience)
        await until_told(["c"])
        await engine.resume("b")  # the time begins anew
        await clock.advance(patience / 2)
        assert told() == ["c"]
        await clock.advance(patience / 2)
        await until_told(["c", "b"])


async def test_a_wait_for_a_job_of_a_paused_kind_says_so(engine: Engine) -> None:
    await engine.pause("report")
    job = await engine.create("hash", kind="report", start=True)
    for timeout in (0, 0.01):
        with pytest.raises(CallTimeoutError, match="its kind 'report' is paused") as caught:
            await engine.wait(job.job_id, timeout=timeout)
        assert (caught.value.paused_kind, caught.value.unhandled_kind) == ("report", None)
    waiting = await engine.create("hash", kind="report")
    with pytest.raises(CallTimeoutError) as caught:
        await engine.wait(waiting.job_id, timeout=0)
    assert caught.value.paused_kind is None


async def test_a_wait_for_an_attempt_at_work_says_nothing_of_a_pause() -> None:
    async with agents() as engine:
        job = await running(engine, kind="a")
        await claimed(engine, kinds={"a": 1})
        await engine.pause("a")
        with pytest.raises(CallTimeoutError, match="and goes on") as caught:
            await engine.wait(job.job_id, timeout=0)
        assert caught.value.paused_kind is None


async def test_the_log_says_who_has_done_it(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "engine")
    await engine.pause("report", by="ann", reason="fire")
    await engine.pause("report")
    await engine.resume("report")
    await engine.drain(by="bob")
    assert [each.getMessage() for each in caplog.records] == [
        "the kind 'report' is paused, by ann: fire",
        "the kind 'report' is resumed",
        "this engine is to claim no more, by bob",
    ]


# Draining.


async def test_a_drained_engine_claims_nothing_and_ends_what_it_has(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        for _ in range(2):
            await running(engine)
        job_id, token = await claimed_one(engine)
        await engine.drain()
        claim = await Claim(engine.core).seen()
        await engine.transition(job_id, COMPLETED, attempt_token=token)
        await running(engine)
        now = await engine.statistics()
        assert (claim.is_told, now.draining, now.ready, now.running) == (False, True, 2, 0)
        await engine.drain(undo=True)
        assert len(await claim.records()) == 1
        assert not (await engine.statistics()).draining


async def test_a_drain_whose_line_can_not_be_kept_is_none() -> None:
    class Full(MemoryStorage):
        async def note_acts(self, lines: Sequence[AuditLine]) -> None:
            raise StorageFullError(f"no room for {lines}")

    async with agents(Full()) as engine:
        with pytest.raises(StorageFullError):
            await engine.drain(by="us")
        assert not (await engine.statistics()).draining
        await engine.drain()
        with pytest.raises(StorageFullError):
            await engine.drain(undo=True, by="us")
        assert (await engine.statistics()).draining


async def test_a_drain_that_changes_nothing_leaves_no_line(new_place: NewPlace) -> None:
    async with agents(new_place()) as engine:
        await engine.drain(undo=True, by="us")
        for _ in range(2):
            await engine.drain(by="us")
        assert [each.action for each in await engine.audit()] == ["drain"]


async def test_a_drain_ends_with_the_engine(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        await running(engine)
        await engine.drain()
        await engine.drain()
    async with agents(lasting_place()) as engine:
        assert not (await engine.statistics()).draining
        assert len(await claimed(engine)) == 1


async def test_a_drained_engine_closes_with_its_worker(new_place: NewPlace) -> None:
    async def work() -> str:
        return "done"

    with anyio.fail_after(SECONDS):
        async with agents(new_place()) as engine, Worker(engine, work):
            first = await engine.create("a", start=True)
            await engine.wait(first.job_id)
            await engine.drain()
            second = await engine.create("b", start=True)
        assert second.status is RUNNING
