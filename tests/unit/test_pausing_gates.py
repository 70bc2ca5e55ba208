"""Pause and resume gates by their names, in memory and in a file."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from engine import (
    Gate,
    InvalidValueError,
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    SyncJobEngine,
    WaitingJobs,
)
from engine.domain.pauses import MAX_PAUSES
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS
from engine.owner.commands.pause import BeginPause
from engine.testing import VirtualClock
from engine.testing.facades import Engine
from tests.unit.claiming import Claim, NewPlace, agents, running
from tests.unit.gating import Asked, everybody

pytestmark = pytest.mark.anyio

WAITING, RUNNING = JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING
NAME = "payments"
SECONDS = 60.0  # against hangs
NEW_JOBS = [NewJob("hash")] * 5


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


# What is paused.


async def test_a_gate_is_paused_and_resumed_once(engine: Engine) -> None:
    assert await engine.pause(gate=NAME, by="ann", reason="the bank lies")
    assert not await engine.pause(gate=NAME, by="bob")
    assert await engine.pause(NAME)
    [kind, gate] = await engine.paused()
    assert (kind.kind, kind.gate) == (NAME, None)
    assert (gate.kind, gate.gate) == (None, NAME)
    assert (gate.by, gate.reason) == ("ann", "the bank lies")
    assert await engine.resume(gate=NAME, by="bob", reason="it says the truth")
    assert not await engine.resume(gate=NAME)
    assert await engine.paused() == [kind]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({}, "kind must be given, or else `gate`"),
        ({"kind": "a", "gate": "a"}, "one of them, not both"),
        ({"gate": ""}, "gate must have 1 to 256 characters"),
        ({"gate": (MAX_IDENTIFIER_CHARACTERS + 1) * "x"}, "gate must have 1 to 256 characters"),
        ({"gate": 5}, "gate must be a str"),
        ({"gate": "\0"}, "gate must not have a NUL"),
        ({"gate": "a", "by": ""}, "by must have"),
        ({"gate": "a", "reason": 5}, "reason must be"),
    ],
    ids=str,
)
async def test_wrong_names_are_refused(engine: Engine, wrong: dict[str, Any], problem: str) -> None:
    for call in (engine.pause, engine.resume):
        with pytest.raises(InvalidValueError, match=problem):
            await call(**wrong)
    assert await engine.paused() == []


async def test_kinds_and_gates_have_one_limit(engine: Engine) -> None:
    for number in range(MAX_PAUSES):
        await engine.pause(**{("kind", "gate")[number % 2]: f"name-{number}"})
    with pytest.raises(
        InvalidValueError, match=r"^gate would be one of 257 .* resume others first"
    ):
        await engine.pause(gate="another")
    assert not await engine.pause(gate="name-7")
    assert len(await engine.paused()) == MAX_PAUSES


async def test_who_says_so_leaves_an_entry(engine: Engine) -> None:
    for _ in range(2):
        await engine.pause(gate=NAME, by="ann", reason="the bank lies")
    for _ in range(2):
        await engine.resume(gate=NAME, by="bob")
    await engine.pause(gate=NAME)
    assert [
        (each.action, each.job_id, each.by, each.reason, each.arguments)
        for each in await engine.audit()
    ] == [
        ("resume", None, "bob", None, {"gate": NAME}),
        ("pause", None, "ann", "the bank lies", {"gate": NAME}),
    ]


async def test_the_log_says_so(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "engine")
    await engine.pause(gate=NAME, by="ann", reason="the bank lies")
    [record] = caplog.records
    assert record.getMessage() == "the gate 'payments' is paused, by ann: the bank lies"
    assert vars(record)["gate"] == NAME


async def test_claims_do_not_know_paused_gates() -> None:
    async with agents() as engine:
        await engine.pause(gate="a")
        job = await running(engine, kind="a")
        claim = await Claim(engine.core, kinds={"a": 1}).seen()
        assert [each.job_id for each in await claim.records()] == [job.job_id]
        await running(engine, kind="a")
        now = await engine.statistics()
        assert (now.ready, now.paused) == (1, 0)


# Checks.


async def test_a_paused_gate_asks_nothing_until_it_is_resumed(
    clock: VirtualClock, new_place: NewPlace
) -> None:
    asked = Asked(clock, lambda jobs: jobs)
    async with JobEngine(new_place(), clock=clock) as engine, Gate(engine, asked, name=NAME):
        assert await engine.pause(gate=NAME)
        job = await engine.create("hash")
        await clock.advance(1_000)
        assert asked.seconds == []
        assert await engine.resume(gate=NAME)
        await clock.advance(6)
        assert (len(asked.seconds), (await engine.get(job.job_id)).status) == (1, RUNNING)


async def test_it_stays_paused_in_the_next_engine(
    clock: VirtualClock, lasting_place: NewPlace
) -> None:
    asked = Asked(clock, lambda jobs: jobs)
    async with JobEngine(lasting_place(), clock=clock) as engine:
        await engine.pause(gate=NAME, by="ann")
        job = await engine.create("hash")
    async with JobEngine(lasting_place(), clock=clock) as engine, Gate(engine, asked, name=NAME):
        await clock.advance(1_000)
        assert [each.by for each in await engine.paused()] == ["ann"]
        assert asked.seconds == []
        await engine.resume(gate=NAME)
        await clock.advance(6)
        assert (await engine.get(job.job_id)).status is RUNNING


async def test_only_gates_of_the_name_are_paused(clock: VirtualClock) -> None:
    names = NAME, NAME, "Payments", "None", None
    asked = [Asked(clock, []) for _ in names]
    async with JobEngine(clock=clock) as engine:
        await engine.pause(gate=NAME)
        await engine.pause("none")
        await engine.create("hash")
        async with (
            Gate(engine, asked[0], name=names[0]),
            Gate(engine, asked[1], name=names[1]),
            Gate(engine, asked[2], name=names[2]),
            Gate(engine, asked[3], name=names[3]),
            Gate(engine, asked[4], name=names[4]),
        ):
            await clock.advance(100)
    assert [bool(each.seconds) for each in asked] == [False, False, True, True, True]


async def test_a_callback_starts_its_job_all_the_same(engine: Engine) -> None:
    await engine.pause(gate=NAME)
    job = await engine.create("hash")
    assert (await engine.start(job.job_id)).first


async def test_a_gate_that_failed_goes_on_at_its_interval(clock: VirtualClock) -> None:
    """The pause ends the longer waits after errors."""
    asked = Asked(clock, *[ConnectionError("no network")] * 3, [])
    async with (
        JobEngine(clock=clock) as engine,
        Gate(engine, asked, name=NAME, interval_seconds=10),
    ):
        await engine.create("hash")
        await clock.advance(75)
        await engine.pause(gate=NAME)
        await clock.advance(300)
        calls = len(asked.seconds)
        await engine.resume(gate=NAME)
        await clock.advance(11.5)
        assert calls == 3
        assert len(asked.seconds) > calls


# Checks that run when the pause comes.


async def test_a_check_ends_and_its_jobs_stay(clock: VirtualClock, new_place: NewPlace) -> None:
    begun, may_end = anyio.Event(), anyio.Event()

    async def wait_and_choose(jobs: WaitingJobs[Any]) -> list[Job]:
        begun.set()
        await may_end.wait()
        return [*jobs]

    asked = Asked(clock, wait_and_choose, everybody)
    async with JobEngine(new_place(), clock=clock) as engine:
        jobs = [await engine.create("hash") for _ in range(3)]
        async with Gate(engine, asked, name=NAME):
            with anyio.fail_after(SECONDS):
                await begun.wait()
            await engine.pause(gate=NAME)
            may_end.set()
            await clock.advance(1_000)
            assert (len(asked.seconds), await engine.count(WAITING)) == (1, 3)
            await engine.resume(gate=NAME)
            await clock.advance(6)
            assert (asked.jobs[1], await engine.count(RUNNING)) == (
                [job.job_id for job in jobs],
                3,
            )


async def test_its_jobs_stay_though_the_gate_is_resumed_first(
    clock: VirtualClock, new_place: NewPlace
) -> None:
    begun, may_end = anyio.Event(), anyio.Event()

    async def wait_and_choose(jobs: WaitingJobs[Any]) -> WaitingJobs[Any]:
        begun.set()
        await may_end.wait()
        return jobs

    asked = Asked(clock, wait_and_choose, everybody)
    async with JobEngine(new_place(), clock=clock) as engine:
        job = await engine.create("hash")
        async with Gate(engine, asked, name=NAME):
            with anyio.fail_after(SECONDS):
                await begun.wait()
            await engine.pause(gate=NAME)
            await engine.resume(gate=NAME)
            may_end.set()
            await clock.advance(1)
            assert (len(asked.seconds), await engine.get(job.job_id)) == (1, job)
            await clock.advance(6)
            assert (asked.jobs[1:], (await engine.get(job.job_id)).status) == (
                [[job.job_id]],
                RUNNING,
            )


@pytest.mark.parametrize("paused", [{"kind": NAME}, {"gate": "another"}], ids=str)
async def test_a_pause_of_something_else_drops_nothing(
    clock: VirtualClock, paused: dict[str, str]
) -> None:
    async def pause_and_choose(jobs: WaitingJobs[Any]) -> WaitingJobs[Any]:
        await engine.pause(**paused)
        return jobs

    async with (
        JobEngine(clock=clock) as engine,
        Gate(engine, pause_and_choose, name=NAME),
        Gate(engine, Asked(clock, []), name="another"),
    ):
        job = await engine.create("hash")
        await clock.advance(1)
        assert (await engine.get(job.job_id)).status is RUNNING


async def test_a_thread_ends_and_its_jobs_stay(clock: VirtualClock) -> None:
    begun, may_end, calls = anyio.Event(), threading.Event(), list[int]()

    def check(jobs: WaitingJobs[Any]) -> list[Job]:
        calls.append(len(jobs))
        anyio.from_thread.run_sync(begun.set, token=token)
        may_end.wait(SECONDS)
        return [*jobs]

    token = anyio.lowlevel.current_token()
    async with JobEngine(clock=clock) as engine:
        await engine.create("hash")
        async with Gate(engine, check, name=NAME):
            with anyio.fail_after(SECONDS):
                await begun.wait()
            await engine.pause(gate=NAME)
            may_end.set()
            await clock.advance(1_000)
            assert (calls, await engine.count(WAITING)) == ([1], 1)
            await engine.resume(gate=NAME)
            await clock.advance(6)
            assert (calls, await engine.count(RUNNING)) == ([1, 1], 1)


def test_a_check_that_waits_for_a_thread_is_not_called(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that took too long runs on, and the next call waits for its end."""
    begun: list[str] = []
    called, may_end, is_paused = threading.Semaphore(0), threading.Event(), threading.Event()

    def check(_: WaitingJobs[Any]) -> list[Job]:
        begun.append("too early" if is_paused.is_set() else "in time")
        called.release()
        may_end.wait(SECONDS)
        return []

    how: dict[str, Any] = {"interval_seconds": 0.001, "timeout_seconds": 0.1}
    with SyncJobEngine() as engine, Gate(engine, check, name=NAME, **how):
        engine.create("hash")
        assert called.acquire(timeout=SECONDS)
        while "a check took more than" not in caplog.text:
            time.sleep(0.001)
        time.sleep(0.02)  # as a rule, the gate waits for the thread by then
        engine.pause(gate=NAME)
        is_paused.set()
        may_end.set()
        for _ in range(100):  # steps in which it would begin
            engine.statistics()
        is_paused.clear()
        engine.resume(gate=NAME)
        assert called.acquire(timeout=SECONDS)
    assert begun[:2] == ["in time", "in time"]


async def test_moves_behind_the_pause_move_nothing(new_place: NewPlace) -> None:
    """Though they come with it, in one round."""
    ended = anyio.Event()

    async def pause_and_choose(jobs: WaitingJobs[Any]) -> WaitingJobs[Any]:
        put(BeginPause(gate=NAME), ended.set)
        return jobs

    async with JobEngine(new_place()) as engine:
        put = engine.core.inbox.put
        jobs = [await engine.create("hash") for _ in range(10)]
        async with Gate(engine, pause_and_choose, name=NAME):
            with anyio.fail_after(SECONDS):
                await ended.wait()
            found = await engine.get_many(job.job_id for job in jobs)
            assert {(job.status, job.version) for job in found} == {(WAITING, 1)}


def test_no_job_moves_once_a_thread_has_paused_the_gate() -> None:
    """Whatever the gate does at that moment."""
    with (
        SyncJobEngine() as engine,
        Gate(engine, everybody, interval_seconds=0.0001, name=NAME),
    ):
        for _ in range(50):
            jobs = engine.create_many(NEW_JOBS)
            engine.pause(gate=NAME)
            before = engine.get_many(job.job_id for job in jobs)
            for _ in range(20):
                assert engine.get_many(job.job_id for job in jobs) == before
            engine.resume(gate=NAME)
            for job in jobs:
                engine.wait(job.job_id, until=[RUNNING], timeout=SECONDS)
