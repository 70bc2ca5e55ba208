"""Overviews: how the kinds and the engines are doing, as an operator asks it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import AgentJobStatus as S
from engine import Gate, Handler, JobEngine, NewJob, Worker
from engine.operating import desk_at
from engine.operations import EngineDesk
from engine.owner.commands import kinds
from engine.owner.commands.kinds import CountKinds, KindsNow, Step, count_kinds
from engine.storage.places import place_at
from tests.proof.shared_storage import Place, PlainShared
from tests.tries import thorough
from tests.unit.claiming import agents, claimed
from tests.unit.gating import nobody

pytestmark = pytest.mark.anyio

ENDLESS = timedelta(days=9_000)


@pytest.fixture(params=["memory", "plain", "postgres", *thorough("file")])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> JobEngine[S]:
    if request.param == "plain":
        return agents(PlainShared(Place(), 1))
    if request.param == "postgres":
        return agents(request.getfixturevalue("postgres_url"))
    return agents(tmp_path / "jobs.db" if request.param == "file" else None)


async def _do(engine: JobEngine[Any], operation: str, **arguments: object) -> Any:  # noqa: ANN401
    answer = await EngineDesk(engine.core).do(operation, arguments, by="ann")
    assert json.loads(json.dumps(answer)) == answer
    return answer


def _counts(told: Any) -> dict[str, tuple[int, int, int]]:  # noqa: ANN401 - JSON
    assert told["all_kinds_counted"] is True
    return {
        each["kind"]: (each["ready"], each["running"], each["waiting"]) for each in told["kinds"]
    }


async def test_live_jobs_are_counted_by_kind(engine: JobEngine[S]) -> None:
    async with engine:
        oldest = await engine.create("hash", kind="report", start=True)
        for _ in range(2):
            await engine.create("hash", kind="report", start=True)
        await engine.create("hash", kind="report")
        await engine.create("hash", start=True, not_before=datetime.now(UTC) + ENDLESS)
        done = await engine.create("hash", kind="done", start=True)
        await engine.transition(done.job_id, S.COMPLETED, result="42")
        at_work = await engine.create("hash", kind="work", start=True)
        await claimed(engine, kinds={"work": 1})
        told = await _do(engine, "kinds")
        assert _counts(told) == {"default": (0, 0, 1), "report": (3, 0, 1), "work": (0, 1, 0)}
        assert [each["paused"] for each in told["kinds"]] == [None] * 3
        since = [each["oldest_ready"] for each in told["kinds"]]
        assert since[::2] == [None, None]
        assert datetime.fromisoformat(since[1]) == oldest.updated_at
        assert (await engine.get(at_work.job_id)).attempt == 1


async def test_a_paused_kind_is_told_also_without_a_job(engine: JobEngine[S]) -> None:
    async with engine:
        await engine.create("hash", kind="report", start=True)
        for kind in ("report", "unheard-of"):
            await _do(engine, "pause", kind=kind, reason="fire")
        await _do(engine, "pause", gate="payments")
        told = await _do(engine, "kinds")
        assert _counts(told) == {"report": (1, 0, 0), "unheard-of": (0, 0, 0)}
        [paused] = [each for each in await engine.paused() if each.kind == "report"]
        by = told["kinds"][0]["paused"]
        assert (by.keys(), by["by"], by["reason"]) == ({"at", "by", "reason"}, "ann", "fire")
        assert datetime.fromisoformat(by["at"]) == paused.at


async def test_a_count_takes_many_steps_and_tells_of_its_bound(
    engine: JobEngine[S], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_STEP_JOBS", "COUNTED_JOBS"):
        monkeypatch.setattr(kinds, name, 3)
    async with engine:
        await engine.create_many(NewJob(kind="report", start=True) for _ in range(9))
        told = await _do(engine, "kinds")
        [report] = told["kinds"]
        is_bounded = engine.core.state.shared is not None
        if not is_bounded:
            assert (report["ready"], told["all_kinds_counted"]) == (9, True)
        elif isinstance(engine.core.state.shared, PlainShared):  # has small steps of its own
            assert (report["ready"], told["all_kinds_counted"]) == (3, False)


async def test_others_are_answered_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_STEP_JOBS", 2)
    async with agents() as engine:
        made = await engine.create_many(NewJob(start=True) for _ in range(5))
        steps, answer = count_kinds(), None
        seen = list[Step]()
        now: KindsNow | None = None
        while now is None:
            try:
                message = steps.send(answer)
            except StopIteration as end:
                now = end.value
                continue
            assert isinstance(message, CountKinds)
            answer = await engine.core.ask(message)
            seen.append(answer)
            await engine.cancel(made[len(seen)].job_id)  # counted as it was at the beginning
        assert [sum(each.jobs for each in step.kinds) for step in seen] == [2, 2, 1]
        assert [each.ready for each in now.kinds] == [5]
        assert _counts(await _do(engine, "kinds")) == {"default": (2, 0, 0)}


async def test_the_engine_of_a_place_of_its_own_is_told() -> None:
    async with agents() as engine, Worker(engine, {"b": Handler(print), "a": Handler(print)}):
        await engine.drain()
        [told] = await _do(engine, "engines")
        assert (told["engine_id"], told["state"], told["kinds"]) == (None, "draining", ["a", "b"])
        assert (told["jobs"], bool(told["name"])) == (0, True)


async def test_the_gates_by_name_are_told_while_they_are_open(engine: JobEngine[S]) -> None:
    async with engine:
        async with (
            Gate(engine, nobody, name="payments"),
            Gate(engine, nobody, name="Bank 7"),
            Gate(engine, nobody),
        ):
            await _do(engine, "pause", gate="Bank 7")
            [told] = await _do(engine, "engines")
            assert told["gates"] == ["Bank 7", "payments"]
        [told] = await _do(engine, "engines")
        assert told["gates"] == []


async def test_a_gate_is_told_while_another_of_its_name_is_open(engine: JobEngine[S]) -> None:
    async with engine, Gate(engine, nobody, name="payments"):
        for _ in range(2):
            async with Gate(engine, nobody, name="payments"):
                [told] = await _do(engine, "engines")
                assert told["gates"] == ["payments"]
            [told] = await _do(engine, "engines")
            assert told["gates"] == ["payments"]


async def test_a_gate_whose_opening_is_cancelled_is_not_told(engine: JobEngine[S]) -> None:
    async with engine:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with Gate(engine, nobody, name="payments"):
                pytest.fail("it is open")
        [told] = await _do(engine, "engines")
        assert told["gates"] == []


@pytest.mark.parametrize("engine", ["plain", "postgres"], indirect=True)
async def test_the_engines_of_a_database_are_told(engine: JobEngine[S]) -> None:
    async with engine:
        await engine.create("hash", start=True)
        await claimed(engine)
        [told] = await _do(engine, "engines")
        assert isinstance(told["engine_id"], int)
        assert (told["state"], told["jobs"]) == ("alive", 1)


async def test_nobody_has_a_file_that_is_opened_to_act_on_it(tmp_path: Path) -> None:
    async with agents(tmp_path / "jobs.db") as engine:
        await engine.create("hash", kind="report")
    async with desk_at(place_at(str(tmp_path / "jobs.db"))) as desk:
        assert await desk.do("engines", {}) == []
        assert _counts(await desk.do("kinds", {})) == {"report": (0, 0, 1)}
