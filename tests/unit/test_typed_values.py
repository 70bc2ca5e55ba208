"""Values of types that pydantic knows come back as they were, or are refused at once."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine import InvalidValueError
from engine.domain.difference import difference_of
from engine.domain.json_text import json_text, kept_json_text
from engine.domain.typed_values import read
from engine.testing.facades import Engine
from tests.unit.claiming import agents, running
from tests.unit.costly import Left
from tests.unit.typed import COMES_BACK, LOST
from tests.unit.worker.at_work import ASKING, COMPLETED, working

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", COMES_BACK)
def test_a_typed_value_comes_back(name: str) -> None:
    value, kind = COMES_BACK[name]
    found = read(TypeAdapter(kind), json_text("input", value, 10_000))
    assert difference_of(value, found) is None


@pytest.mark.parametrize("name", LOST)
def test_a_typed_value_that_would_not_come_back_is_refused_with_its_place(name: str) -> None:
    value, place = LOST[name]
    with pytest.raises(InvalidValueError, match=rf"at input{re.escape(place)}[:,]") as refused:
        json_text("input", value, 10_000)
    assert refused.value.field == "input"
    assert len(str(refused.value)) < 500
    kept = kept_json_text("result", value, 10_000)
    assert kept.text
    assert kept.loss is not None
    assert kept.loss.path == f"result{place}"


def test_numbers_that_are_none_are_equal() -> None:
    assert difference_of([math.nan], [math.nan]) is None
    assert difference_of([math.nan], [1.0]) is not None


async def test_an_input_comes_back_or_is_refused(engine: Engine) -> None:
    for value, kind in COMES_BACK.values():
        job = await engine.create("hash", input=value)
        found = read(TypeAdapter(kind), json.dumps(job.input))
        assert difference_of(value, found) is None
    for value, place in LOST.values():
        with pytest.raises(InvalidValueError, match=rf"at input{re.escape(place)}[:,]"):
            await engine.create("hash", input=value)


async def test_an_input_of_a_type_that_can_take_long_to_read_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidValueError, match=r"at input\.left: has a union of which 2 "):
        await engine.create("hash", input={"left": Left()})


async def test_an_answer_fits_the_schema_of_its_own_type_and_comes_back() -> None:
    given: list[Any] = []

    def handler(job: Any, context: Any) -> None:  # noqa: ANN401
        given.append(context.request_input(COMES_BACK[job.input][1]))

    async with working(handler) as engine:
        for name, (value, _) in COMES_BACK.items():
            job = await running(engine, input=name)
            prompt = (await engine.wait(job.job_id, until=[ASKING])).prompt
            assert prompt is not None
            await engine.provide_input(job.job_id, prompt.prompt_id, value)
            assert (await engine.wait(job.job_id)).status is COMPLETED
            assert difference_of(value, given.pop()) is None


async def test_an_answer_that_would_not_come_back_is_refused() -> None:
    async with agents() as engine:
        for value, place in LOST.values():
            with pytest.raises(InvalidValueError, match=rf"at value{re.escape(place)}[:,]"):
                await engine.provide_input("job", "prompt", value)
