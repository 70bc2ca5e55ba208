"""Kinds: what waits of each, and what an operator stops."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Gate, Handler, JobEngine, Worker
from engine import OrderStatus as S
from engine.operations import EngineDesk
from engine.web.dashboard import Dashboard
from tests.unit.claiming import claimed
from tests.unit.gating import nobody
from tests.unit.web.dashboard.browsing import Browser
from tests.unit.web.dashboard.conftest import as_said, client_of

pytestmark = pytest.mark.anyio


async def test_the_live_jobs_of_each_kind_are_counted(
    engine: JobEngine[S], browser: Browser
) -> None:
    for _ in range(3):
        await engine.create(kind="report", start=True)
    await engine.create(kind="report")
    await engine.create(kind="work", start=True)
    await claimed(engine, kinds={"work": 1})
    page = await browser.get("/kinds")
    assert page.status == 200
    assert "report 301" in page.text
    assert "work 010" in page.text
    assert page.links["report"] == "/ops/jobs?kind=report"
    assert "counted" not in page.text


async def test_no_job_and_no_handler_are_told(browser: Browser) -> None:
    page = await browser.get("/kinds")
    assert "No live jobs." in page.text
    assert "alive0" in page.text


async def test_the_engine_is_told(engine: JobEngine[S], browser: Browser) -> None:
    async with Worker(engine, {"b": Handler(print), "a": Handler(print)}):
        await engine.drain()
        assert "draining0a, b" in (await browser.get("/kinds")).text


async def test_a_kind_is_paused_and_resumed(engine: JobEngine[S], browser: Browser) -> None:
    await engine.create(kind="report", start=True)
    page = await browser.get("/kinds")
    after = await browser.send(page.form("pause report"), reason="the model lies")
    assert (after.status, "Paused: no engine claims" in after.text) == (200, True)
    assert "by ann: the model lies" in after.text
    [paused] = await engine.paused()
    assert (paused.kind, paused.by, paused.reason) == ("report", "ann", "the model lies")
    overview = await browser.get("/")
    assert "by ann: the model lies" in overview.text
    assert "1 of paused kinds" in overview.text
    assert overview.links["report"] == "/ops/kinds"
    assert not after.has_form("pause report")
    resumed = await browser.send(after.form("resume report"), reason="it learned")
    assert ("Resumed" in resumed.text, resumed.has_form("pause report")) == (True, True)
    assert await engine.paused() == []
    assert "it learned" not in (await browser.get("/")).text
    lines = [(each.action, each.by, each.reason) for each in await engine.audit()]
    assert lines == [("resume", "ann", "it learned"), ("pause", "ann", "the model lies")]


@pytest.mark.parametrize("gate", ["payments", "Bank <7>\n", " ", "\u202eevil"])
async def test_a_gate_is_paused_and_resumed(
    engine: JobEngine[S], browser: Browser, gate: str
) -> None:
    await engine.pause(gate=gate, by="bob", reason="it lies")
    page = await browser.get("/kinds")
    assert ("by bob: it lies" in page.text, "No live jobs." in page.text) == (True, True)
    assert "by bob: it lies" in (await browser.get("/")).text
    [form] = [form for form in page.forms if (form.name or "").startswith("resume gate")]
    resumed = await browser.send(form, reason="it says the truth")
    assert "Resumed: its check is called at the next interval." in resumed.text
    assert await engine.paused() == []
    assert "it lies" not in (await browser.get("/")).text
    [resume, _] = await engine.audit()
    assert (resume.by, resume.reason, resume.arguments) == (
        *("ann", "it says the truth"),
        {"gate": gate},
    )


async def test_the_open_gates_can_be_paused(engine: JobEngine[S], browser: Browser) -> None:
    async with Gate(engine, nobody, name="payments"):
        page = await browser.get("/kinds")
        page = await browser.send(page.form("pause gate payments"), reason="it lies")
        assert "by ann: it lies" in page.text
        assert [each.gate for each in await engine.paused()] == ["payments"]
        page = await browser.send(page.form("resume gate payments"))
        assert page.has_form("pause gate payments")


async def test_a_gate_is_paused_by_its_name(engine: JobEngine[S], browser: Browser) -> None:
    page = await browser.get("/kinds")
    page = await browser.send(page.form("pause another gate"), gate=" payments ", reason="it lies")
    assert "Paused: no engine calls its check" in page.text
    assert "by ann: it lies" in page.text
    [paused] = await engine.paused()
    assert (paused.kind, paused.gate, paused.by) == (None, "payments", "ann")
    assert page.has_form("resume gate payments")


async def test_a_kind_without_a_job_is_paused_once(engine: JobEngine[S], browser: Browser) -> None:
    page = await browser.get("/kinds")
    for _ in range(2):
        page = await browser.send(page.form("pause another"), kind=" later ")
        assert "later 000" in page.text
    assert [each.kind for each in await engine.paused()] == ["later"]
    gone = await browser.send(page.form("resume later"))
    assert "later" not in gone.text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"kind": "No Kind"}, "kind must be 1 to 64"),
        ({"kind": ""}, "kind must be 1 to 64"),
        ({"act": "burn", "kind": "report"}, "is not one of pause, resume"),
        ({"named": "[]", "kind": ""}, "kind must be 1 to 64"),
        ({"named": '["gate", "a"]', "by": "me", "act": "stop"}, "is not one of pause, resume"),
        ({"named": "?"}, "has a field that this page has not made"),
    ],
)
async def test_a_wrong_act_is_told_and_changes_nothing(
    engine: JobEngine[S], browser: Browser, given: dict[str, str], problem: str
) -> None:
    form = (await browser.get("/kinds")).form("pause another")
    refused = await browser.send(form, **given, reason="typed for long")
    assert (refused.status, problem in refused.text) == (422, True)
    assert ("reason", "typed for long") in refused.form("pause another").fields
    assert await engine.paused() == []


async def test_a_bounded_count_is_told(engine: JobEngine[S]) -> None:
    class Bounded(EngineDesk):
        async def do(self, operation: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401
            told = await super().do(operation, *args, **how)
            return {**told, "all_kinds_counted": False} if operation == "kinds" else told

    async with client_of(Dashboard(Bounded(engine.core), authorize=as_said)) as client:
        assert "the oldest 100,000 jobs" in (await Browser(client).get("/kinds")).text
