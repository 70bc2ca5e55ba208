"""The acts that are told of a job are those that its engine takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias

import anyio
import pytest

from engine import ORDER_LIFECYCLE, Context, EngineError, FollowUp, Handler, JobEngine, Worker
from engine import OrderStatus as S
from engine.operations import EngineDesk
from tests.unit.claiming import claimed_one, release

pytestmark = pytest.mark.anyio

Engine: TypeAlias = JobEngine[S]
RULE: FollowUp[Any] = FollowUp("refund", to={S.FAILED}, of="report")
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("retry", "cancel", "start", "repeat")},
    "extend": {"deadline": 60.0},
    "follow-up": {"rule": "refund"},
    "answer": {"value": True},
}


async def waits_for_money(engine: Engine) -> str:
    return (await engine.create("hash")).job_id


async def is_ready(engine: Engine) -> str:
    return (await engine.create("hash", start=True)).job_id


async def is_at_work(engine: Engine) -> str:
    await is_ready(engine)
    return (await claimed_one(engine))[0]


async def is_asked_to_stop(engine: Engine) -> str:
    job_id = await is_at_work(engine)
    await engine.cancel(job_id)
    return job_id


async def waits_for_another_attempt(engine: Engine) -> str:
    await is_ready(engine)
    job_id, token = await claimed_one(engine)
    await release(engine, job_id, token, 3_600, failed=True)
    return job_id


async def needs_attention(engine: Engine) -> str:
    job_id = await is_ready(engine)
    await engine.transition(job_id, S.NEEDS_ATTENTION)
    return job_id


async def asks(engine: Engine) -> str:
    async def ask(_: None, context: Context[S]) -> str:
        return repr(context.request_input(bool, timedelta(hours=1)))

    job = await engine.create(kind="ask", start=True)
    async with Worker(engine, {"ask": Handler(ask)}):
        await engine.wait(job.job_id, until={S.AWAITING_INPUT})
    return job.job_id


async def has_succeeded(engine: Engine) -> str:
    job_id = await is_ready(engine)
    await engine.transition(job_id, S.COMPLETED)
    return job_id


async def has_failed_as_a_report(engine: Engine) -> str:
    job = await engine.create("hash", kind="report", start=True)
    await engine.transition(job.job_id, S.FAILED)
    return job.job_id


SITUATIONS: dict[Callable[[Engine], Awaitable[str]], list[str]] = {
    waits_for_money: ["start", "move", "extend", "cancel"],
    is_ready: ["move", "extend", "cancel"],
    is_at_work: ["extend", "cancel"],
    is_asked_to_stop: ["extend"],
    waits_for_another_attempt: ["retry", "move", "extend", "cancel"],
    needs_attention: ["retry", "move", "extend", "cancel"],
    asks: ["answer", "move", "extend", "cancel"],
    has_succeeded: ["repeat"],
    has_failed_as_a_report: ["repeat", "follow-up"],
}
SAYS_YES_AGAIN = {"start", "cancel"}
"""A start that has been made, and a request to stop that has, are no errors."""


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__)
async def test_the_acts_that_are_told_are_those_that_are_taken(
    situation: Callable[[Engine], Awaitable[str]],
) -> None:
    told = SITUATIONS[situation]
    for act in (*ARGUMENTS, "move"):
        async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=[RULE]) as engine:
            desk = EngineDesk(engine.core)
            job_id = await situation(engine)
            whole = await desk.do("job", {"job_id": job_id})
            assert whole["acts"] == told
            arguments = ARGUMENTS.get(act) or await _move(desk, whole["job"], act)
            if act == "answer" and (prompt := whole["job"].get("prompt")):
                arguments = {**arguments, "prompt_id": prompt["prompt_id"]}
            is_taken = await _is_taken(desk, act, {"job_id": job_id, **arguments})
            if act not in SAYS_YES_AGAIN or act in told:
                assert is_taken == (act in told), act


async def _move(desk: EngineDesk, job: dict[str, Any], act: str) -> dict[str, Any]:
    if act != "move":
        return {}
    moves = (await desk.do("lifecycle", {}))["moves"].get(job["status"]) or [job["status"]]
    return {"status": moves[0], "expected_status": job["status"]}


async def _is_taken(desk: EngineDesk, act: str, arguments: dict[str, Any]) -> bool:
    given = {"prompt_id": "none", **arguments} if act == "answer" else arguments
    with anyio.fail_after(30):
        try:
            await desk.do(act, given)
        except EngineError:
            return False
    return True


async def test_only_the_rules_about_a_job_are_told() -> None:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE, follow_ups=[RULE]) as engine:
        desk = EngineDesk(engine.core)
        told = [
            (await desk.do("job", {"job_id": await situation(engine)}))["rules"]
            for situation in (has_failed_as_a_report, has_succeeded)
        ]
    assert told == [["refund"], []]


async def test_a_job_that_was_repeated_is_not_repeated_again() -> None:
    async with JobEngine(lifecycle=ORDER_LIFECYCLE) as engine:
        desk = EngineDesk(engine.core)
        job_id = await has_succeeded(engine)
        await desk.do("repeat", {"job_id": job_id})
        assert (await desk.do("job", {"job_id": job_id}))["acts"] == []
