"""Answers and inputs that are costly: the event loop goes on, and each is taken or refused typed.

A ticker runs beside the calls. While an answer is judged it can't tick, so few ticks for the time
that has passed show a judge that blocks the loop. A fast machine and a slow one tick alike. So it
is while a handler resumes and reads an accepted answer, or its input.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, Literal

import anyio
import pytest
from pydantic import AfterValidator, BaseModel, Discriminator

from engine import AGENT_JOB_LIFECYCLE, Context, InvalidValueError, Job, JobEngine, Worker
from engine.owner.commands.ask import AskForInput
from engine.owner.judge import Judge
from engine.owner.prompts import prompt_text
from tests.tries import thorough
from tests.unit.claiming import claimed_one, running
from tests.unit.costly import ROWS, WIDE, Left, Right, nested
from tests.unit.worker.at_work import ASKING, COMPLETED, FAILED

pytestmark = pytest.mark.anyio

TICK_SECONDS = 0.01


def _deep(levels: int, wrap: Callable[[Any], Any], core: Any) -> Any:  # noqa: ANN401 - JSON values
    for _ in range(levels):
        core = wrap(core)
    return core


def _union(part: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return a recursive union of two types, alike but for their names."""
    either = {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"type": "null"}]}
    return {"$ref": "#/$defs/a", "$defs": {"a": part(either), "b": part(either)}}


SET: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
FIELDS = _union(lambda either: {"type": "object", "properties": {"x": either}})
ITEMS = _union(lambda either: {"type": "array", "items": either})
CLOSED = _union(
    lambda either: {
        "type": "object",
        "properties": {"x": either, "y": either},
        "unevaluatedProperties": False,
    }
)

CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "a set with one wrong item": (SET, [*range(3_999), "x"]),
    "a set of large integers": (SET, [10**30 + number for number in range(8_000)]),
    "a set of huge integers": (SET, [10**3_990 + number for number in range(60)]),
    "a set of dicts": ({"uniqueItems": True}, [{"a": [number]} for number in range(19_000)]),
    "a recursive union of fields": (FIELDS, _deep(90, lambda core: {"x": core}, "x")),
    "a recursive union of items": (ITEMS, _deep(90, lambda core: [core], "x")),
    "a closed recursive union": (CLOSED, _deep(90, lambda core: {"x": core, "y": 1}, "x")),
    "a pattern": ({"pattern": r"^(\w+\s?)*$"}, "a" * 250_000 + "!"),
    "a huge multiple": ({"multipleOf": 3}, 10**3_990),
    "a multiple of a huge number": ({"multipleOf": 10**400}, 3),
    "many alternatives": (
        {"items": {"anyOf": [{"const": number} for number in range(2_000)]}},
        [1_999] * 50_000,
    ),
    "many choices": ({"items": {"enum": [[number] for number in range(9_000)]}}, [[1]] * 40_000),
    "many patterns": (
        {"patternProperties": {f"^k{number}x*y$": {} for number in range(4_000)}},
        {f"k{number}": 1 for number in range(20_000)},
    ),
}


async def _ask(engine: JobEngine[Any], schema: dict[str, Any]) -> str:
    job = await running(engine)
    job_id, token = await claimed_one(engine)
    assert job_id == job.job_id
    prompt = prompt_text("p", schema, "name", None)
    await engine.core.ask(AskForInput(job_id, token, prompt, timedelta(days=1)))
    return job_id


async def _among_ticks(act: Callable[[], Awaitable[None]]) -> tuple[int, float]:
    """Act among ticks; return the ticks, and how many there is time for."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(TICK_SECONDS)
            ticks += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        began = time.monotonic()
        await act()
        passed = time.monotonic() - began
        tasks.cancel_scope.cancel()
    return ticks, passed / TICK_SECONDS


async def _answer_among_ticks(
    engine: JobEngine[Any], job_id: str, answer: object, times: int
) -> tuple[int, float]:
    """Give a wrong answer so often among ticks; return as `_among_ticks` does."""

    async def answer_in_vain() -> None:
        for _ in range(times):
            with pytest.raises(InvalidValueError) as wrong:
                await engine.provide_input(job_id, "p", answer)
            assert wrong.value.field == "value"
            assert len(str(wrong.value)) < 500
            await anyio.sleep(TICK_SECONDS)  # a judge that blocks the loop has one tick here

    return await _among_ticks(answer_in_vain)


def _is_blocked(ticks: int, possible: float) -> bool:
    return ticks * 100 < possible  # less than a tick in each second


ACCEPTED = ("a set of dicts",)


QUICK = [
    "a set with one wrong item",
    "a recursive union of fields",
    "a pattern",
    "many alternatives",
]


@pytest.mark.parametrize("case", [*QUICK, *thorough(*sorted(CASES.keys() - QUICK))])
async def test_the_loop_goes_on_while_a_costly_answer_is_judged(case: str) -> None:
    schema, answer = CASES[case]
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job_id = await _ask(engine, schema)
        if case in ACCEPTED:
            assert (await engine.provide_input(job_id, "p", answer)).prompt is None
            return
        ticks, possible = await _answer_among_ticks(engine, job_id, answer, 5)
        assert not _is_blocked(ticks, possible)
        assert (await engine.get(job_id)).prompt is not None


@pytest.mark.thorough
async def test_the_ticker_sees_a_judge_that_blocks_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slowly(_judge: Judge, _answer: str) -> bool:
        time.sleep(2.2)
        return False

    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job_id = await _ask(engine, SET)
        monkeypatch.setattr(Judge, "accepts", slowly)
        assert _is_blocked(*await _answer_among_ticks(engine, job_id, [1], 1))


class Sum(BaseModel):
    """One of two that a discriminator tells apart."""

    kind: Literal["sum"]
    inner: Annotated[Sum | Sign, Discriminator("kind")] | None = None


class Sign(BaseModel):
    """The other one."""

    kind: Literal["sign"]
    inner: Annotated[Sum | Sign, Discriminator("kind")] | None = None


def _refuse(_: str) -> str:
    raise ValueError("no")


Refused = Annotated[str, AfterValidator(_refuse)]
DEEP = _deep(90, lambda core: {"kind": "sum", "inner": core}, None)

READ: dict[str, tuple[Any, Any]] = {
    "recursive alternatives": (Left | Right, nested(40)),
    "recursive alternatives with a fault": (Left | Right, nested(40, "x")),
    "a recursive union with a discriminator": (Sum | Sign, DEEP),
    "a wrong item in each place": (list[Refused], ["a"] * 65_000),
    "absent fields": (list[WIDE], ROWS),
    "alternatives that fit alike": (list[int | float | str | None], ["a"] * 65_000),
}


@pytest.mark.parametrize("case", ["recursive alternatives", *thorough(*list(READ)[1:])])
async def test_the_loop_goes_on_while_a_handler_resumes_with_a_costly_answer(case: str) -> None:
    kind, answer = READ[case]

    async def handle(_: Job[Any], context: Context[Any]) -> None:
        context.request_input(kind)

    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine, Worker(engine, handle):

        async def ask_and_answer() -> None:
            await anyio.sleep(2 * TICK_SECONDS)
            job = await running(engine)
            asking = await engine.wait(job.job_id, until=[ASKING], timeout=60)
            if asking.prompt is None:  # the type is refused
                assert "has a union of which 2 alternatives" in (asking.error or "")
                return
            await engine.provide_input(job.job_id, asking.prompt.prompt_id, answer)
            after = await engine.wait(job.job_id, until=[ASKING], timeout=60)
            assert after.status is COMPLETED or (after.prompt and after.prompt.refusal)

        assert not _is_blocked(*await _among_ticks(ask_and_answer))


@pytest.mark.parametrize("case", READ)
async def test_the_loop_goes_on_while_a_handler_reads_a_costly_input(case: str) -> None:
    kind, given = READ[case]

    async def handle(value: object) -> str:
        return type(value).__name__

    handle.__annotations__["value"] = kind
    async with JobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        if "recursive alternatives" in case:
            with pytest.raises(InvalidValueError, match="has a union of which 2 alternatives"):
                Worker(engine, handle)
            return

        async def give() -> None:
            await anyio.sleep(2 * TICK_SECONDS)
            job = await running(engine, input=given)
            after = await engine.wait(job.job_id, timeout=60)
            assert after.status in {COMPLETED, FAILED}
            assert len(after.error or "") < 1_000

        async with Worker(engine, handle):
            assert not _is_blocked(*await _among_ticks(give))
