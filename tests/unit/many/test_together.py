"""Two engines on one place: what one does, the other shows, waits for and can stop."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import (
    AgentJobStatus,
    Context,
    Gate,
    JobClaimedError,
    JobEngine,
    Progress,
    Retry,
    StorageError,
    WaitingJobs,
    Worker,
)
from engine.owner import handled_kinds, keeping_up, shared_progress
from engine.owner.commands import look
from tests.unit.claiming import AgentJob, Claim, claimed, running, token_of
from tests.unit.gating import everybody
from tests.unit.many.conftest import NewEngine
from tests.unit.worker.at_work import ASKING, COMPLETED, FAILED, RUNNING, SECONDS, until_progress

pytestmark = pytest.mark.anyio

AT_ONCE: dict[str, Any] = {"grace_seconds": 0}
both = pytest.mark.parametrize("new_engine", ["plain", "postgres"], indirect=True)
"""Lets a test run over a database in the quick tier, too."""


@both
async def test_one_creates_another_works_and_the_first_has_the_result(
    new_engine: NewEngine,
) -> None:
    async def work(job: AgentJob) -> str:
        return f"did {job.input}"

    with anyio.fail_after(SECONDS):
        async with new_engine() as web, new_engine() as other, Worker(other, work):
            job = await web.create(input="it", start=True)
            assert await web.result(job.job_id) == "did it"
            assert await other.get(job.job_id) == await web.get(job.job_id)


@both
async def test_watchers_of_each_see_all_in_the_same_order(new_engine: NewEngine) -> None:
    async def work(job: AgentJob) -> str:
        return f"did {job.input}"

    async def watched(engine: JobEngine[AgentJobStatus], jobs: int) -> list[int]:
        seen = []
        async for each in engine.watch(after=0):
            seen.append(each.sequence)
            if len(seen) == 2 * jobs:
                break
        return seen

    seen: list[list[int]] = []

    async def watch(engine: JobEngine[AgentJobStatus]) -> None:
        seen.append(await watched(engine, 6))

    with anyio.fail_after(SECONDS):
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(new_engine()) for _ in range(3)]
            for engine in engines[:2]:
                await stack.enter_async_context(Worker(engine, work))
            async with anyio.create_task_group() as tasks:
                for engine in engines:
                    tasks.start_soon(watch, engine)
                for number in range(6):
                    await engines[number % 3].create(input=number, start=True)
    assert seen == [list(range(1, 13))] * 3


@both
async def test_a_question_is_answered_through_another(new_engine: NewEngine) -> None:
    async def work(job: AgentJob, context: Context) -> str:
        return f"a {context.request_input(str)} {job.input}"

    with anyio.fail_after(SECONDS):
        async with new_engine() as web, new_engine() as other, Worker(other, work):
            job_id = (await web.create(input="house", start=True)).job_id
            prompt = (await web.wait(job_id, until=[ASKING])).prompt
            assert prompt is not None
            await web.provide_input(job_id, prompt.prompt_id, "red")
            assert await web.result(job_id) == "a red house"


async def test_a_cancel_reaches_the_attempt_of_another(new_engine: NewEngine) -> None:
    begun = anyio.Event()

    async def work(_: AgentJob) -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(SECONDS):
        async with new_engine() as web, new_engine() as other, Worker(other, work):
            job_id = (await web.create(start=True)).job_id
            await begun.wait()
            await web.cancel(job_id, "not wanted")
            assert (await web.wait(job_id)).status is FAILED


async def test_a_job_that_another_has_is_moved_by_nobody_else(new_engine: NewEngine) -> None:
    begun = anyio.Event()

    async def work(_: AgentJob) -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(SECONDS):
        async with new_engine() as web, new_engine() as other, Worker(other, work, **AT_ONCE):
            job = await web.create(start=True)
            await begun.wait()
            statistics = await web.statistics()
            assert (statistics.running, statistics.ready) == (1, 0)
            assert (await web.get(job.job_id)).status is RUNNING
            with pytest.raises(JobClaimedError):
                await web.transition(job.job_id, COMPLETED, result="by hand")


async def test_progress_is_shown_by_all_until_the_attempt_ends(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = anyio.Event()
    monkeypatch.setattr(shared_progress, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(keeping_up, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(look, "LONGEST_PAUSE_SECONDS", 0.02)

    async def work(_: AgentJob, context: Context) -> None:
        context.progress(1)
        context.progress(3, 10, "reads")
        await goes_on.wait()

    with anyio.fail_after(SECONDS):
        async with new_engine() as web, new_engine() as other, Worker(other, work):
            job = await web.create(start=True)
            told = await until_progress(web, job)
            expected = Progress(job_id=job.job_id, attempt=1, done=3, total=10, note="reads")
            assert told == expected
            assert (await web.get(job.job_id)).progress == expected
            goes_on.set()
            assert (await web.wait(job.job_id)).progress is None
            while web.core.state.events.progress:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)


@both
async def test_one_gate_of_a_name_works_at_a_time(new_engine: NewEngine) -> None:
    asked: list[str] = []
    news = anyio.Condition()

    def gate(engine: JobEngine[AgentJobStatus], name: str) -> Gate:
        async def check(_: WaitingJobs) -> list[str]:
            async with news:
                asked.append(name)
                news.notify_all()
            return []

        return Gate(engine, check, interval_seconds=0.01, name="payments")

    async def until_asked(times: int) -> None:
        async with news:
            asked.clear()
            while len(asked) < times:
                await news.wait()

    with anyio.fail_after(SECONDS):
        async with new_engine() as one, new_engine() as two, AsyncExitStack() as stack:
            await one.create()
            gates = {name: AsyncExitStack() for name in ("one", "two")}
            for name, engine in (("one", one), ("two", two)):
                await stack.enter_async_context(gates[name])
                await gates[name].enter_async_context(gate(engine, name))
            await until_asked(5)
            [leader] = set(asked)
            await gates[leader].aclose()
            await until_asked(5)
            assert {leader, *asked} == {"one", "two"}
            assert leader not in asked


@both
@pytest.mark.parametrize("what", ["cancelled", "lost"])
async def test_a_gate_that_does_not_open_leads_no_more(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Its opening is cancelled while it asks, or the answer is lost."""

    async def lead(name: str) -> bool:
        if what == "cancelled":
            scope.cancel()
        leads: bool = await storage_leads(name)
        if what == "lost":
            raise StorageError("the connection is lost")
        return leads

    with anyio.fail_after(SECONDS):
        async with new_engine() as one, new_engine() as two:
            shared: Any = one.core.state.shared
            storage_leads = shared.lead
            monkeypatch.setattr(shared, "lead", lead)
            with suppress(StorageError), anyio.CancelScope() as scope:
                async with Gate(one, everybody, name="payments"):
                    pytest.fail("the gate is open")
            async with Gate(two, everybody, name="payments", interval_seconds=0.01):
                job = await one.create()
                assert (await two.wait(job.job_id, until=[RUNNING])).status is RUNNING


async def test_a_kind_that_nobody_has_is_told_and_one_that_another_has_is_not(
    new_engine: NewEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(_: AgentJob) -> None:
        await anyio.sleep_forever()

    def told() -> list[str]:
        return [each.kind for each in caplog.records if hasattr(each, "kind")]

    monkeypatch.setattr(keeping_up, "_UNHANDLED_SECONDS", 0)
    with anyio.fail_after(SECONDS):
        async with (
            new_engine() as one,
            new_engine() as two,
            Worker(one, {"a": work}, **AT_ONCE),
            Worker(two, {"b": work}, concurrency=1, **AT_ONCE),
        ):
            for _ in range(2):
                await one.create(kind="b", start=True)
            while (await one.statistics()).unhandled:
                await checkpoint()
            monkeypatch.setattr(handled_kinds, "_PATIENCE", timedelta())
            await one.create(kind="c", start=True)
            while told() != ["c", "c"]:
                await checkpoint()
            assert (await one.statistics()).unhandled == 1


@both
async def test_the_end_of_one_suspect_frees_the_way_for_the_next_one_that_is_waited_for(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine knows that by itself, long before it looks around."""
    monkeypatch.setattr(keeping_up, "LONGEST_PAUSE_SECONDS", 1_000)
    monkeypatch.setattr(look, "LONGEST_PAUSE_SECONDS", 1_000)
    monkeypatch.setattr(keeping_up, "_POLL_SECONDS", 1_000)
    at_once = Retry(first_delay_seconds=0)
    async with new_engine() as dying:
        for _ in range(3):
            await running(dying)
        assert len(await claimed(dying, 3)) == 3
    async with new_engine() as engine:
        [suspect] = await claimed(engine, 100, retry=at_once)
        for _ in range(2):
            claim = await Claim(engine.core, 100, retry=at_once).seen()
            assert not claim.is_told
            token = token_of(suspect)
            await engine.transition(suspect.job_id, COMPLETED, attempt_token=token)
            [suspect] = await claim.records()
            assert suspect.execution.died_attempt == 1


@pytest.mark.parametrize("new_engine", ["plain"], indirect=True)  # its steps can be counted
async def test_a_job_that_a_thread_holds_back_runs_nowhere_else(new_engine: NewEngine) -> None:
    begun, ends = threading.Semaphore(0), threading.Event()

    def work(_: AgentJob) -> str:
        begun.release()
        ends.wait(SECONDS)
        return "done"

    how: dict[str, Any] = {"retry": Retry(9, 0)}
    with anyio.fail_after(SECONDS):
        async with (
            new_engine() as one,
            new_engine() as two,
            Worker(one, work, timeout_seconds=0.05, **how),
        ):
            job_id = (await one.create(start=True)).job_id
            while not (await one.statistics()).strays:
                await checkpoint()
            begun.acquire()
            async with Worker(two, work, **how):
                await two.extend(job_id, RUNNING, timedelta(hours=1))
                for _ in range(100):  # steps in which it would begin
                    await checkpoint()
                assert not begun.acquire(blocking=False)
                ends.set()
                assert await two.result(job_id) == "done"
