"""Judging answers: the time of the judge, beside that of others and of reading the answer alone.

The answers are costly ones. The others get smaller ones of the same kinds, which take them less
than a second: their time doubles with each level or letter, or grows by the square of the items.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.owner.judge import Judge
from tests.bench.measure import progress, timed
from tests.bench.rounds import Rounds
from tests.bench.rows import Measured, Row, Stated


class Left(BaseModel):
    """One of two types of a recursive union."""

    next: Left | Right | None = None


class Right(BaseModel):
    """The other one."""

    next: Left | Right | None = None


@dataclass(frozen=True)
class Case:
    """A type, and an answer of any size that doesn't fit it."""

    name: str
    form: Any
    answer: Callable[[int], Any]
    large: int
    small: int


def _nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"next": value}
    return value


CASES = (
    Case("set of integers, one a text", set[int], lambda size: [*range(size), "x"], 40_000, 400),
    Case("recursive union, levels", Left, _nested, 90, 9),
    Case(
        r"pattern ^(\w+\s?)*$, letters",
        {"pattern": r"^(\w+\s?)*$"},
        lambda size: "a" * size + "!",
        250_000,
        18,
    ),
)


def rows(rounds: Rounds, turns: int) -> list[Row]:
    """Measure large answers beside reading them, and small ones beside other packages."""
    return [row for case in CASES for row in _rows(rounds, case, turns)]


def _rows(rounds: Rounds, case: Case, turns: int) -> list[Row]:
    progress(f"judging: {case.name}")
    large, small = json.dumps(case.answer(case.large)), json.dumps(case.answer(case.small))
    form = case.form
    schema = form if isinstance(form, dict) else TypeAdapter(form).json_schema()

    def ms(name: str, judge: Callable[[], object]) -> Measured:
        for _ in range(turns):
            rounds.add(f"{case.name} {name}", 1e3 * timed(judge))
        return rounds[f"{case.name} {name}"]

    ours = ms("large", lambda: Judge(schema).accepts(large))
    floor = ms("floor", lambda: json.loads(large))
    few = ms("small", lambda: Judge(schema).accepts(small))
    return [
        Stated(f"{case.name}: {case.large:,}", ours, "json.loads", floor, unit="ms"),
        *(
            Stated(f"{case.name}: {case.small:,}", few, name, ms(name, judge), unit="ms")
            for name, judge in _others(case.form, schema, small).items()
        ),
    ]


def _others(form: Any, schema: dict[str, Any], answer: str) -> dict[str, Callable[[], object]]:
    """Return the judges of other packages that are installed."""
    others: dict[str, Callable[[], object]] = {}
    if not isinstance(form, dict):
        adapter = TypeAdapter(form)
        others["pydantic"] = lambda: _refuses(adapter, answer)
    try:
        jsonschema = import_module("jsonschema")
    except ImportError:
        return others
    value = json.loads(answer)
    others[f"jsonschema {version('jsonschema')}"] = lambda: jsonschema.Draft202012Validator(
        schema
    ).is_valid(value)
    return others


def _refuses(adapter: TypeAdapter[Any], answer: str) -> None:
    try:
        adapter.validate_json(answer)
    except ValidationError:
        return
    raise AssertionError("an answer that doesn't fit was accepted")
