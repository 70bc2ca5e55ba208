"""Engines on one place: a paused gate asks nothing in any of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Gate, JobEngine, WaitingJobs
from engine.owner.commands.pause import BeginPause
from engine.storage.postgres import PostgresStorage
from tests.interventions import Intruder
from tests.proof.shared_storage import Place, PlainShared
from tests.unit.claiming import agents
from tests.unit.gating import everybody
from tests.unit.many.conftest import NewEngine
from tests.unit.many.test_pausing import both, keep
from tests.unit.worker.at_work import RUNNING, SECONDS

pytestmark = pytest.mark.anyio

NAME = "payments"
AT_ONCE: dict[str, Any] = {"interval_seconds": 0.001}


class Checks:
    """Counts the calls of the checks of several gates, which choose no job."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._news = anyio.Event()

    def gate(self, engine: JobEngine[Any], who: str, name: str | None = NAME) -> Gate:
        async def check(_: WaitingJobs[Any]) -> list[str]:
            self.calls.append(who)
            self._news.set()
            self._news = anyio.Event()
            return []

        return Gate(engine, check, name=name, **AT_ONCE)

    async def until(self, who: str, times: int = 1) -> None:
        """Forget all calls, and wait until these have been made."""
        self.calls.clear()
        with anyio.fail_after(SECONDS):
            while self.calls.count(who) < times:
                await self._news.wait()


async def until_known(engine: JobEngine[Any], *, paused: bool) -> None:
    """Wait until an engine has heard of a pause, or of its end, without being asked."""
    with anyio.fail_after(SECONDS):
        while bool(engine.core.state.ready_queue.intake.pauses.by_gate) != paused:
            await checkpoint()


@both
async def test_no_engine_asks_while_the_gate_is_paused(new_engine: NewEngine) -> None:
    checks = Checks()
    async with new_engine() as one, new_engine() as other, AsyncExitStack() as stack:
        await one.create()
        for engine, who in ((one, "named"), (other, "named")):
            await stack.enter_async_context(checks.gate(engine, who))
            await stack.enter_async_context(checks.gate(engine, f"{id(engine)}", None))
        await checks.until("named", 3)
        assert await one.pause(gate=NAME, by="ann", reason="the bank lies")
        await until_known(other, paused=True)
        assert await other.paused() == await one.paused()
        assert not await other.pause(gate=NAME)
        for engine in (one, other):
            await checks.until(f"{id(engine)}", 5)
            assert "named" not in checks.calls
        assert await other.resume(gate=NAME)
        await checks.until("named", 3)


async def test_no_job_moves_once_all_engines_know(new_engine: NewEngine) -> None:
    async with (
        new_engine() as one,
        new_engine() as other,
        Gate(one, everybody, name=NAME, **AT_ONCE),
        Gate(other, everybody, name=NAME, **AT_ONCE),
    ):
        for turn in range(5):
            engines = (one, other) if turn % 2 else (other, one)
            jobs = [await engines[0].create() for _ in range(3)]
            await engines[0].pause(gate=NAME)
            assert await engines[1].paused()  # so it knows
            ids = [job.job_id for job in jobs]
            before = await one.get_many(ids)
            for _ in range(20):  # steps in which one would move
                await checkpoint()
            assert await one.get_many(ids) == before
            await engines[1].resume(gate=NAME)
            for job_id in ids:
                await one.wait(job_id, until=[RUNNING], timeout=SECONDS)


@both
@pytest.mark.parametrize("hears", ["at once", "from the one that resumes"])
async def test_what_a_check_chooses_is_dropped_though_another_engine_has_paused_it(
    new_engine: NewEngine, hears: str
) -> None:
    """And resumed it, before the check has ended."""
    seen: list[list[str]] = []
    begun, may_end, again, may_go_on = (anyio.Event() for _ in range(4))

    async def check(jobs: WaitingJobs[Any]) -> WaitingJobs[Any]:
        seen.append([each.job_id for each in jobs])
        (again if begun.is_set() else begun).set()
        await (may_go_on if again.is_set() else may_end).wait()
        return jobs

    async with new_engine() as one, new_engine() as other:
        job = await one.create()
        async with Gate(one, check, name=NAME, **AT_ONCE):
            with anyio.fail_after(SECONDS):
                await begun.wait()
                await other.pause(gate=NAME)
                if hears == "at once":
                    await until_known(one, paused=True)
                    await other.resume(gate=NAME)
                    await until_known(one, paused=False)
                else:
                    await one.resume(gate=NAME)
                may_end.set()
                await again.wait()
            assert await one.get(job.job_id) == job
            may_go_on.set()
            await one.wait(job.job_id, until=[RUNNING], timeout=SECONDS)
    assert seen[:2] == [[job.job_id]] * 2


@both
async def test_an_engine_that_opens_later_knows_it(new_engine: NewEngine) -> None:
    checks = Checks()
    async with new_engine() as engine:
        await engine.create()
        await engine.pause(gate=NAME)
    async with (
        new_engine() as engine,
        checks.gate(engine, "named"),
        checks.gate(engine, "other", None),
    ):
        await checks.until("other", 5)
        assert "named" not in checks.calls


async def test_pauses_of_different_engines_are_all_kept(new_engine: NewEngine) -> None:
    async with new_engine() as one, new_engine() as other:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(one.pause, f"{number}")
                tasks.start_soon(lambda name: other.pause(gate=name), f"{number}")
        assert len(await one.paused()) == 10


async def test_a_pause_that_comes_before_the_check_stops_it() -> None:
    """It comes while the gate asks whether it leads."""
    is_paused = anyio.Event()
    checks = Checks()

    class PausedAtLast(PlainShared):
        async def lead(self, name: str) -> bool:
            engine.core.inbox.put(BeginPause(gate=name), is_paused.set)
            return await super().lead(name)

    async with agents(PausedAtLast(Place(), 1)) as engine:
        await engine.create()
        async with checks.gate(engine, "named"), checks.gate(engine, "other", None):
            with anyio.fail_after(SECONDS):
                await is_paused.wait()
            await checks.until("other", 5)
            assert "named" not in checks.calls


async def test_a_paused_gate_asks_nothing_of_the_database() -> None:
    asked: list[str] = []
    checks = Checks()

    class Counting(PlainShared):
        async def lead(self, name: str) -> bool:
            asked.append(name)
            return await super().lead(name)

    async with agents(Counting(Place(), 1)) as engine:
        await engine.pause(gate=NAME)
        async with checks.gate(engine, "named"), checks.gate(engine, "other", None):
            await engine.create()
            await checks.until("other", 5)
    assert asked == [NAME]  # when it opened


@pytest.mark.thorough
async def test_without_notifications_the_next_beat_tells(
    postgres_url: str, intruder: Intruder
) -> None:
    async with agents(PostgresStorage(postgres_url, lease_seconds=1)) as engine:
        keep(intruder, '[{"gate":"payments","at":"2026-11-29T03:00:00Z"}]')
        await until_known(engine, paused=True)
        keep(intruder, "[]")
        await until_known(engine, paused=False)
