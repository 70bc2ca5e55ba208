"""Kinds: each has one handler in an engine, with its own rules, and its share of the places."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    CallTimeoutError,
    Context,
    Handler,
    InvalidValueError,
    JobEngine,
    KindInUseError,
    NewJob,
    Retry,
    SyncJobEngine,
    Worker,
)
from engine.testing import Lab, run
from engine.testing.virtual_clock import VirtualClock
from tests.systems import needs_fork
from tests.unit.claiming import AgentJob, NewPlace, agents, claimed, running
from tests.unit.worker.at_work import COMPLETED, FAILED, ONCE, RUNNING, Turnstile, ended, working
from tests.unit.worker.in_processes import process_id

pytestmark = pytest.mark.anyio

UNHANDLED = "jobs of the kind 'rare' are ready, and no open worker has that kind"


def named(name: str) -> Any:  # noqa: ANN401 - a handler
    """Return a handler that returns a name."""

    async def handle(_: AgentJob) -> str:
        return name

    return handle


async def test_each_job_runs_by_the_handler_of_its_kind(new_place: NewPlace) -> None:
    kinds = {"a": named("by a"), "b": Handler(named("by b")), "default": named("by default")}
    async with working(kinds, new_place()) as engine:
        for kind in ("a", "b", "default", "b"):
            assert (await ended(engine, kind=kind)).result == f"by {kind}"


async def test_a_worker_of_one_function_has_the_default_kind_alone() -> None:
    async with working(named("default")) as engine:
        other = await running(engine, kind="other")
        assert (await ended(engine)).result == "default"
        assert (await engine.get(other.job_id)).attempt == 0
        async with Worker(engine, {"other": named("other")}):
            assert await engine.result(other.job_id) == "other"


async def test_a_kind_in_use_is_refused_until_its_worker_has_closed() -> None:
    async with agents() as engine:
        first = Worker(engine, {"a": named("a"), "b": named("b")})
        async with first, Worker(engine, named("default")):
            for kinds in ({"b": named("other")}, {"c": named("c"), "a": named("a")}):
                with pytest.raises(KindInUseError, match=r"has the kind '[ab]': close it") as error:
                    await Worker(engine, kinds).__aenter__()
                assert error.value.kind in {"a", "b"}
            async with Worker(engine, {"c": named("c")}):  # nothing of the refused one is left
                assert (await ended(engine, kind="c")).result == "c"
        async with Worker(engine, {"b": named("again")}):
            assert (await ended(engine, kind="b")).result == "again"


def test_a_kind_in_use_is_refused_to_a_blocking_worker() -> None:
    with SyncJobEngine() as engine, Worker(engine, str):
        with pytest.raises(KindInUseError, match="'default'"):
            Worker(engine, str).__enter__()
        with Worker(engine, {"other": str}):
            pass


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no kinds": ({"handler": {}}, r"handler must have 1 to 1,000 kinds, and has 0"),
    "too many": (
        {"handler": dict.fromkeys(map(str, range(1_001)), str)},
        r"handler must have 1 to 1,000 kinds, and has 1,001",
    ),
    "no kind": ({"handler": {"Report": str}}, "kind must be 1 to 64 of a-z"),
    "no text": ({"handler": {7: str}}, "kind must be"),
    "no function": ({"handler": {"a": str, "b": 7}}, r"handler of 'b' must be a function, not 7"),
    "async in processes": (
        {"handler": {"b": Handler(named("b"), processes=True)}},
        "handler of 'b' that runs in processes must not be async",
    ),
}


@pytest.mark.parametrize(("how", "message"), WRONG.values(), ids=WRONG)
async def test_wrong_kinds_are_refused_by_name(how: dict[str, Any], message: str) -> None:
    async with agents() as engine:
        with pytest.raises(InvalidValueError, match=f"^{message}"):
            Worker(engine, **how)


OPTIONS: dict[str, tuple[str, Any]] = {
    "concurrency": ("concurrency", 0),
    "retry": ("retry", 3),
    "timeout": ("timeout_seconds", 0),
    "idempotent": ("idempotent", 1),
    "deaths": ("max_deaths", 1_001),
    "threads": ("wait_for_threads", "no"),
    "processes": ("processes", 2),
    "middleware": ("middleware", [7]),
}


@pytest.mark.parametrize(("field", "value"), OPTIONS.values(), ids=OPTIONS)
async def test_a_wrong_option_of_a_handler_is_refused_at_once(field: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError, match=f"^{field} "):
        Handler(str, **{field: value})


async def test_a_handlers_own_options_go_before_those_of_the_worker() -> None:
    clock, tries = VirtualClock(), Retry(max_attempts=3, first_delay_seconds=0)

    async def fail(job: AgentJob, context: Context) -> None:
        if job.input == "sleep":
            await anyio.sleep_forever()
        raise RuntimeError(context.attempt)

    own = Handler(fail, retry=ONCE, timeout_seconds=5)
    async with working(
        {"own": own, "plain": fail}, clock=clock, retry=tries, timeout_seconds=7
    ) as engine:

        async def error_of(kind: str, given: object = None) -> str | None:
            return (await clock.run_until(ended(engine, given, kind=kind))).error

        assert await error_of("own") == "RuntimeError: 1"
        assert await error_of("plain") == "RuntimeError: 3"
        assert "more than 5 s" in (await error_of("own", "sleep") or "")
        assert "more than 7 s" in (await error_of("plain", "sleep") or "")


async def test_a_handler_that_is_not_idempotent_has_only_retries_that_are_given() -> None:
    async def fail(_: AgentJob) -> None:
        raise RuntimeError

    kinds = {"once": Handler(fail, idempotent=False), "again": fail}
    clock = VirtualClock()
    async with working(kinds, clock=clock) as engine:
        assert (await clock.run_until(ended(engine, kind="once"))).attempt == 1
        assert (await clock.run_until(ended(engine, kind="again"))).attempt == 3
    kinds["single"] = Handler(fail, idempotent=False, retry=ONCE)
    async with working(kinds, clock=clock, retry=Retry(2)) as engine:
        for kind, attempts in {"once": 2, "again": 2, "single": 1}.items():
            assert (await clock.run_until(ended(engine, kind=kind))).attempt == attempts


async def test_middleware_of_a_handler_replaces_that_of_the_worker() -> None:
    seen: list[str] = []

    def note(name: str) -> Any:  # noqa: ANN401 - a middleware
        def enter(context: Context) -> Any:  # noqa: ANN401 - a context manager
            seen.append(f"{name} {context.job.kind}")
            return anyio.CancelScope()

        return enter

    kinds = {
        "own": Handler(named(""), middleware=[note("own")]),
        "none": Handler(named(""), middleware=[]),
        "plain": named(""),
    }
    async with working(kinds, middleware=[note("worker")]) as engine:
        for kind in kinds:
            await ended(engine, kind=kind)
    assert seen == ["own own", "worker plain"]


async def test_a_handlers_concurrency_caps_its_kind_and_no_other() -> None:
    gate = Turnstile()
    kinds = {"few": Handler(gate, concurrency=2), "many": gate}
    async with working(kinds, concurrency=5) as engine:
        for number in range(6):
            await running(engine, kind="few", input=["few", number])
        await gate.until(2)
        for number in range(6):
            await running(engine, kind="many", input=["many", number])
        await gate.until(5)
        assert [kind for kind, _ in gate.inside] == ["few", "few", "many", "many", "many"]
        gate.let_through()
        await gate.until(5)
        assert sorted(kind for kind, _ in gate.inside) == ["few", "few", "many", "many", "many"]
        gate.open()


async def test_a_place_of_a_full_kind_is_used_as_soon_as_it_is_free() -> None:
    """A claim for other kinds waits meanwhile, and no other job comes."""
    gate = Turnstile()
    async with working({"one": Handler(gate, concurrency=1), "other": gate}) as engine:
        jobs = [await running(engine, kind="one", input=number) for number in range(3)]
        for number in range(3):
            await gate.until(1)
            assert gate.inside == [number]
            gate.let_through()
        for job in jobs:
            await engine.wait(job.job_id)


async def test_a_place_that_a_lost_attempt_leaves_is_used_too() -> None:
    """It ends without an outcome, so no commit follows that would also claim."""
    gate, clock = Turnstile(), VirtualClock()
    kinds = {"one": Handler(gate, concurrency=1), "other": gate}
    async with working(kinds, clock=clock) as engine:
        late = {RUNNING: timedelta(seconds=5)}
        await running(engine, kind="one", input="late", deadlines=late)
        await running(engine, kind="one", input="next")
        await gate.until(1)
        await clock.advance(6)
        while gate.inside != ["next"]:
            await gate.until(1)
        gate.open()


async def test_a_million_jobs_of_a_kind_delay_no_other_kind() -> None:
    seen: list[str] = []

    async def handle(job: AgentJob) -> None:
        seen.append(job.kind)

    async with agents() as engine:
        jobs = [await running(engine, kind="many", priority=9) for _ in range(9)]
        jobs += [await running(engine, kind=kind) for kind in ("few", "few", "one")]
        kinds = {"many": handle, "few": handle, "one": handle}
        async with Worker(engine, kinds, concurrency=1):
            for job in jobs:
                await engine.wait(job.job_id)
    assert seen == ["many", "few", "one", "many", "few", *["many"] * 7]


async def test_an_orphan_is_judged_by_the_handler_of_its_kind(lasting_place: NewPlace) -> None:
    async with agents(lasting_place()) as engine:
        jobs = {kind: await running(engine, kind=kind) for kind in ("once", "again", "unknown")}
        await claimed(engine, 3, kinds=dict.fromkeys(jobs, 1))
    kinds = {"once": Handler(named("once"), idempotent=False), "again": named("again")}
    clock = VirtualClock()
    async with working(kinds, lasting_place(), clock=clock) as engine:
        once = await clock.run_until(engine.wait(jobs["once"].job_id))
        again = await clock.run_until(engine.wait(jobs["again"].job_id))
        assert (once.status, once.attempt) == (FAILED, 1)
        assert (again.status, again.attempt, again.result) == (COMPLETED, 2, "again")
        unknown = await engine.get(jobs["unknown"].job_id)
        assert (unknown.attempt, unknown.deaths) == (1, 0)
        async with Worker(engine, {"unknown": named("later")}, idempotent=False):
            assert (await clock.run_until(engine.wait(unknown.job_id))).status is FAILED


@pytest.mark.thorough
@needs_fork
async def test_each_handler_with_processes_has_its_own(tmp_path: Path) -> None:
    kinds = {"a": process_id, "b": Handler(process_id), "c": Handler(named("c"), processes=False)}
    async with working(kinds, processes=True) as engine:
        for kind in kinds:
            await ended(engine, str(tmp_path / kind), kind=kind)
            await ended(engine, str(tmp_path / kind), kind=kind)
    ids = [(tmp_path / kind).read_text().split() for kind in ("a", "b")]
    assert [len({*each}) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


# Kinds that nobody handles.


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_one_warning_tells_of_a_kind_without_a_handler(
    new_place: NewPlace, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    async with working(named("done"), new_place(), clock=clock) as engine:
        await running(engine)
        rare = await running(engine, kind="rare")
        await clock.advance(9.9)
        assert warnings(caplog) == []
        await clock.advance(0.2)
        [text] = warnings(caplog)
        assert text.startswith(UNHANDLED)
        await engine.cancel(rare.job_id)
        await running(engine, kind="rare")
        await clock.advance(1_000)
        assert len(warnings(caplog)) == 1


async def test_no_warning_tells_of_jobs_that_wait_for_less_than_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    async with agents(clock=clock) as engine:
        old = await running(engine, kind="rare")
        await clock.advance(1_000)  # no worker is open
        async with Worker(engine, named("done")):
            await clock.advance(9)
            async with Worker(engine, {"rare": named("rare")}):
                assert await engine.result(old.job_id) == "rare"
                await ended(engine, kind="rare")
            await clock.advance(9)
            gone = await running(engine, kind="gone")
            await clock.advance(9)
            await engine.cancel(gone.job_id)
            await clock.advance(60)
        await running(engine, kind="late")
        await clock.advance(60)  # no worker is open any more
    assert warnings(caplog) == []


@pytest.mark.parametrize("back_after", ["the job", "the worker", "the wait began"])
async def test_a_clock_that_is_set_back_makes_no_warning_late(
    back_after: str, new_place: NewPlace, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    async with agents(new_place(), clock=clock) as engine:
        await engine.create(kind="rare", start=True)
        if back_after == "the job":
            clock.jump(-3_600)
        async with Worker(engine, named("done")):
            if back_after == "the worker":
                clock.jump(-3_600)
            await clock.advance(5)
            if back_after == "the wait began":
                clock.jump(-3_600)
            await clock.advance(9)
            assert len(warnings(caplog)) == (back_after != "the wait began")
            await clock.advance(1.1)
            assert len(warnings(caplog)) == 1
            clock.jump(-3_600)
            await engine.create(kind="scarce", start=True)
            await clock.advance(10.1)
            assert len(warnings(caplog)) == 2


async def test_a_retry_whose_kind_has_lost_its_worker_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_: AgentJob) -> None:
        raise RuntimeError

    clock, later = VirtualClock(), Retry(first_delay_seconds=100, jitter=0)
    async with working(named("done"), clock=clock) as engine:
        async with Worker(engine, {"rare": fail}, retry=later):
            job = await running(engine, kind="rare")
            while not (await engine.get(job.job_id)).failures:
                await anyio.wait_all_tasks_blocked()
        caplog.clear()
        await clock.advance(109)
        assert warnings(caplog) == []
        await clock.advance(2)
        assert [text.startswith(UNHANDLED) for text in warnings(caplog)] == [True]


async def test_statistics_count_the_ready_jobs_that_no_worker_has(new_place: NewPlace) -> None:
    gate = Turnstile()

    async def counts(engine: JobEngine[Any]) -> tuple[int, int, int]:
        statistics = await engine.statistics()
        return statistics.ready, statistics.running, statistics.unhandled

    async with agents(new_place()) as engine:
        for kind in ("a", "a", "b"):
            await running(engine, kind=kind, input=kind)
        assert await counts(engine) == (3, 0, 3)
        async with Worker(engine, {"a": gate}, concurrency=1, grace_seconds=0):
            await gate.until(1)
            assert await counts(engine) == (2, 1, 1)
        assert await counts(engine) == (3, 0, 3)


@pytest.mark.parametrize("seconds", [0, 5])
async def test_who_waits_in_vain_is_told_that_no_worker_has_the_kind(seconds: float) -> None:
    clock, gate = VirtualClock(), Turnstile()
    async with working(gate, clock=clock, grace_seconds=0) as engine:
        rare, other = await running(engine, kind="rare"), await running(engine)
        unpaid = await engine.create("hash", kind="rare")
        await gate.until(1)
        with pytest.raises(CallTimeoutError) as error:
            await clock.run_until(engine.result(rare.job_id, timeout=seconds))
        assert f"job '{rare.job_id}' is ready; no worker has the kind 'rare'" in str(error.value)
        assert error.value.unhandled_kind == "rare"
        for job in (other, unpaid):
            with pytest.raises(CallTimeoutError, match="is still") as error:
                await clock.run_until(engine.wait(job.job_id, timeout=seconds))
            assert error.value.unhandled_kind is None


async def test_an_engine_without_workers_says_nothing_of_them() -> None:
    async with agents() as engine:
        job = await running(engine)
        with pytest.raises(CallTimeoutError, match="is still running"):
            await engine.wait(job.job_id, timeout=0)


def test_a_blocking_caller_is_told_too() -> None:
    with SyncJobEngine() as engine, Worker(engine, str):
        job = engine.create(kind="rare", start=True)
        with pytest.raises(CallTimeoutError, match="no worker has the kind 'rare'"):
            engine.result(job.job_id, timeout=0.2)


# The tools for tests.


async def test_a_lab_runs_jobs_of_its_kinds() -> None:
    async with Lab({"a": named("by a"), "b": named("by b")}) as lab:
        assert (await lab.run(kind="b")).result == "by b"
        assert (await lab.finish(await lab.start(kind="a"))).result == "by a"


def test_run_runs_a_job_of_a_kind() -> None:
    assert run({"a": named("by a")}, kind="a").result == "by a"
    assert run(Handler(named("default"))).result == "default"


async def test_many_kinds_without_a_handler_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    async with JobEngine(clock=clock) as engine, Worker(engine, {"handled": named("done")}):
        await engine.create_many(
            NewJob("hash", kind=f"kind-{number}", start=True) for number in range(2_000)
        )
        await clock.advance(11)
        lines = [record.getMessage() for record in caplog.records]
        assert lines[20:] == ["the same holds for 980 other kinds"]
        await engine.create(kind="one-more", start=True)
        await clock.advance(11)
        assert len(caplog.records) == 21
        assert (await engine.statistics()).unhandled == 2_001
