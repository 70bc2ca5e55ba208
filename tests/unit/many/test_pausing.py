"""Engines on one place: a pause stops each of them, and a drain the one that is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from engine import CallTimeoutError, InvalidValueError, JobEngine, StorageDamagedError, Worker
from engine.owner import keeping_up
from engine.owner.commands import look
from engine.storage.postgres import PostgresStorage
from tests.interventions import Intruder
from tests.proof.shared_storage import PlainShared
from tests.unit.claiming import AgentJob, Claim, agents, claimed, running, token_of
from tests.unit.many.conftest import NewEngine
from tests.unit.worker.at_work import COMPLETED, SECONDS

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("new_engine", ["plain", "postgres"], indirect=True)
"""Lets a test run over a database in the quick tier, too."""


def number_of(engine: JobEngine[Any]) -> int:
    """Return the number of an engine on its place."""
    shared: Any = engine.core.state.shared
    number: int = shared.number if isinstance(shared, PlainShared) else shared._database.engine  # noqa: SLF001
    return number


async def until(holds: Callable[[Any], bool], engine: JobEngine[Any]) -> None:
    """Wait until the statistics of an engine are so."""
    with anyio.fail_after(SECONDS):
        while not holds(await engine.statistics()):
            await checkpoint()


def keep(intruder: Intruder, pauses: str) -> None:
    """Keep other pauses without a notification."""
    intruder.execute(
        "UPDATE notes SET value = CASE name WHEN 'pauses' THEN %s "
        "ELSE (value::bigint + 1)::text END WHERE name IN ('pauses', 'instructions_number')",
        pauses,
    )


@both
async def test_each_follows_the_pauses_of_the_other(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        job = await running(one, kind="a")
        await one.pause("a", by="ann", reason="fire")
        await until(lambda now: bool(now.paused), other)
        assert await other.paused() == await one.paused()
        assert not await other.pause("a", by="bob")
        claims = [await Claim(each.core, kinds={"a": 1}).seen() for each in (one, other)]
        assert not any(claim.is_told for claim in claims)
        assert await other.resume("a")
        with anyio.fail_after(SECONDS):
            while not any(claim.is_told for claim in claims):
                await checkpoint()
        assert (await one.paused(), await one.resume("a")) == ([], False)
        [record] = [record for claim in claims if claim.is_told for record in await claim.records()]
        assert record.job_id == job.job_id


@both
async def test_another_engine_may_undo_it_at_once(new_engine: NewEngine) -> None:
    """Long before the first one has heard of its own pause or drain."""
    async with new_engine() as other, new_engine() as one:
        for _ in range(5):
            await running(one, kind="a")
            await one.pause("a")
            await other.resume("a")
            assert len(await claimed(one, kinds={"a": 1})) == 1
            await running(one, kind="a")
            await one.drain()
            await other.drain(number_of(one), undo=True)
            assert len(await claimed(one, kinds={"a": 1})) == 1


async def test_resume_wakes_a_claim_of_another_engine(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        for _ in range(2):
            await running(one, kind="a")
        await one.pause("a")
        await until(lambda now: bool(now.paused), other)
        claim = await Claim(other.core, 2, kinds={"a": 2}).seen()
        await one.resume("a")
        assert len(await claim.records()) == 2


async def test_the_engine_that_is_asked_resumes_by_itself(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not have to look around for that."""
    for module, name in (
        (keeping_up, "LONGEST_PAUSE_SECONDS"),
        (look, "LONGEST_PAUSE_SECONDS"),
        (keeping_up, "_POLL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 1_000)
    async with new_engine() as engine:
        await engine.pause("a")
        await running(engine, kind="a")
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        await engine.resume("a")
        assert len(await claim.records()) == 1


async def test_pauses_of_different_engines_are_all_kept(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(one.pause, f"one-{number}")
                tasks.start_soon(other.pause, f"other-{number}")
        assert len(await one.paused()) == 10
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(other.resume, f"one-{number}")
                tasks.start_soon(one.resume, f"other-{number}")
        assert await one.paused() == await other.paused() == []


async def test_an_engine_that_opens_later_knows_the_pauses(new_engine: NewEngine) -> None:
    async with new_engine() as engine:
        await running(engine, kind="a")
        await engine.pause("a")
    async with new_engine() as engine:
        assert not (await Claim(engine.core, kinds={"a": 1}).seen()).is_told
        now = await engine.statistics()
        assert (now.ready, now.paused, now.unhandled, now.waiting) == (0, 1, 0, 0)


@pytest.mark.parametrize("kinds", [{"a": 9}, {"a": 9, "b": 9}])
async def test_what_a_batch_starts_itself_is_not_claimed_either(
    new_engine: NewEngine, kinds: dict[str, int]
) -> None:
    async with new_engine() as engine:
        await engine.pause("a")
        claim = await Claim(engine.core, 9, kinds=kinds).seen()
        await engine.create("hash", kind="a", start=True)
        assert not claim.is_told
        await engine.create("hash", kind="b", start=True)
        assert claim.is_told is ("b" in kinds)


async def test_no_attempt_begins_once_all_engines_know_of_a_pause(new_engine: NewEngine) -> None:
    """And each job runs once."""
    begun: list[str] = []
    is_paused = False

    async def work(job: AgentJob) -> None:
        begun.append(f"{job.job_id} too early" if is_paused else job.job_id)

    async with (
        new_engine() as one,
        new_engine() as other,
        Worker(one, {"a": work}),
        Worker(other, {"a": work}),
    ):
        jobs = []
        for turn in range(5):
            engines = (one, other) if turn % 2 else (other, one)
            jobs.append(await engines[0].create("before", kind="a", start=True))
            await engines[0].pause("a")
            jobs.append(await engines[0].create("meanwhile", kind="a", start=True))
            assert await engines[1].paused()  # so it knows
            await until(lambda now: not now.running, one)
            is_paused = True
            jobs.append(await engines[1].create("meanwhile", kind="a", start=True))
            for _ in range(20):  # steps in which it would begin
                await checkpoint()
            is_paused = False
            await engines[1].resume("a")
        with anyio.fail_after(SECONDS):
            for job in jobs:
                await one.wait(job.job_id)
        assert sorted(begun) == sorted(job.job_id for job in jobs)


async def test_a_wait_for_a_job_of_a_paused_kind_says_so(new_engine: NewEngine) -> None:
    async with new_engine() as engine:
        await engine.pause("a")
        job = await engine.create("hash", kind="a", start=True)
        with pytest.raises(CallTimeoutError, match="its kind 'a' is paused"):
            await engine.wait(job.job_id, timeout=0)


# Draining.


@both
async def test_an_engine_drains_another_one(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        first = await running(one)
        [record] = await claimed(other)
        await one.drain(number_of(other), by="ann")
        await until(lambda now: now.draining, other)
        second = await running(one)
        waits = await Claim(other.core).seen()
        await other.transition(first.job_id, COMPLETED, attempt_token=token_of(record))
        assert not (await one.statistics()).draining
        [record] = await claimed(one)
        assert (record.job_id, waits.is_told) == (second.job_id, False)
        third = await running(one)
        await one.drain(number_of(other), undo=True)
        [record] = await waits.records()
        assert record.job_id == third.job_id
        assert not (await other.statistics()).draining


async def test_an_engine_drains_itself_at_once(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        await one.drain()
        claim = await Claim(one.core).seen()
        job = await running(one)
        assert (claim.is_told, (await one.statistics()).draining) == (False, True)
        [record] = await claimed(other)
        assert record.job_id == job.job_id
        await one.drain(undo=True)
        await running(other)
        assert len(await claim.records()) == 1


async def test_who_is_drained_handles_no_kind(new_engine: NewEngine) -> None:
    async def work(_: AgentJob) -> None:
        await anyio.sleep_forever()

    async with (
        new_engine() as one,
        new_engine() as other,
        Worker(other, {"a": work}, grace_seconds=0),
    ):
        await other.drain()
        await running(one, kind="a")
        for engine in (one, other):
            await until(lambda now: now.unhandled == 1, engine)
        await other.drain(undo=True)
        await until(lambda now: now.running == 1, one)


async def test_there_has_to_be_such_an_engine(new_engine: NewEngine) -> None:
    async with new_engine() as one:
        async with new_engine() as other:
            gone = number_of(other)
        for number in (gone, 2**40):
            with pytest.raises(InvalidValueError, match=f"{number} is the number of no living"):
                await one.drain(number)
        assert not (await one.statistics()).draining


async def test_a_restart_ends_a_drain(new_engine: NewEngine) -> None:
    async with new_engine() as engine:
        await engine.drain()
    async with new_engine() as engine:
        await running(engine)
        assert len(await claimed(engine)) == 1


# Over PostgreSQL.


@pytest.mark.thorough
async def test_notifications_tell_long_before_the_next_beat(postgres_url: str) -> None:
    def new_engine() -> JobEngine[Any]:
        return agents(PostgresStorage(postgres_url, lease_seconds=3_600))

    async with new_engine() as one, new_engine() as other:
        await running(one, kind="a")
        await one.pause("a")
        await until(lambda now: bool(now.paused), other)
        await one.drain(number_of(other))
        await until(lambda now: now.draining, other)


async def test_a_drain_that_waits_holds_up_no_beat(postgres_url: str, intruder: Intruder) -> None:
    """It waits for the order of all transitions, which its line of the audit takes."""
    free = "SELECT count(*) FROM (SELECT FROM engines FOR UPDATE SKIP LOCKED) AS free"

    def look() -> None:
        intruder.until_commit_waits()
        intruder.until(lambda: intruder.value(free) == 2)
        intruder.give_order()

    async with (
        agents(PostgresStorage(postgres_url, name="one")) as one,
        agents(PostgresStorage(postgres_url, name="other")) as other,
    ):
        intruder.take_order()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, look)
            await one.drain(number_of(other), by="us")
        assert [each.action for each in await other.audit()] == ["drain"]


@pytest.mark.thorough
async def test_engines_that_drain_each_other_at_work_wait_for_each_other_in_one_order(
    postgres_url: str,
) -> None:
    """PostgreSQL ends one of those that wait crosswise, with an error."""
    times = 30

    async def drain(engine: JobEngine[Any], number: int) -> None:
        for turn in range(times):
            await engine.drain(number, undo=turn % 2 == 1, by="us")
            await engine.pause(f"{number}-{turn}", by="us")

    async def work(engine: JobEngine[Any]) -> None:
        for _ in range(times):
            job = await engine.create("hash")
            await engine.start(job.job_id, by="us")
            await engine.transition(job.job_id, COMPLETED)
            await engine.prune(keep=1, by="us")

    async with (
        agents(PostgresStorage(postgres_url, lease_seconds=1)) as one,
        agents(PostgresStorage(postgres_url, lease_seconds=1)) as other,
    ):
        numbers = (number_of(one), number_of(other))
        async with anyio.create_task_group() as tasks:
            for engine in (one, other):
                tasks.start_soon(work, engine)
                for number in numbers:
                    tasks.start_soon(drain, engine, number)
        assert len(await one.paused()) == 2 * times
        actions = [each.action for each in await one.audit(limit=1_000)]
        assert actions.count("pause") == 2 * times
        assert actions.count("start") == 2 * times
        lines = await one.audit(limit=1_000)
        assert [each.number for each in lines] == [*range(len(lines), 0, -1)]


@pytest.mark.thorough
async def test_without_notifications_the_next_beat_tells(
    postgres_url: str, intruder: Intruder
) -> None:
    async with agents(PostgresStorage(postgres_url, lease_seconds=1)) as engine:
        await running(engine, kind="a")
        text = '[{"kind":"a","at":"2026-11-29T03:00:00Z"}]'
        intruder.run("UPDATE engines SET draining = true")
        keep(intruder, text)
        await until(lambda now: now.draining and now.paused == 1, engine)
        intruder.run("UPDATE engines SET draining = false")
        keep(intruder, "[]")
        assert len(await claimed(engine, kinds={"a": 1})) == 1


@pytest.mark.thorough
async def test_damaged_pauses_change_nothing_in_an_open_engine(
    postgres_url: str, intruder: Intruder, caplog: pytest.LogCaptureFixture
) -> None:
    async with agents(PostgresStorage(postgres_url, lease_seconds=1)) as engine:
        await running(engine, kind="a")
        await engine.pause("a")
        keep(intruder, "{}")
        with anyio.fail_after(SECONDS):
            while "stays so, and nothing else" not in caplog.text:
                await checkpoint()
        with pytest.raises(StorageDamagedError):
            await engine.resume("a")
        now = await engine.statistics()
        assert (now.ready, now.paused) == (0, 1)
        keep(intruder, "[]")
        assert len(await claimed(engine, kinds={"a": 1})) == 1
