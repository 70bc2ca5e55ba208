"""Judging: only schemas that can be judged by are accepted, and no error escapes untyped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import jsonschema_rs
import pytest
from pydantic import BaseModel, Discriminator, Field, Tag

from engine import InvalidValueError
from engine.owner.judge import Judge
from engine.owner.prompts import Schema, json_schema_of, prompt_text

Item = TypeVar("Item")


def _ask(schema: Schema) -> None:
    prompt_text("p", schema, "name", None)


def _ladder(keyword: str) -> dict[str, Any]:
    """Return a schema that refers twice to the next part, 60 times: 2**60 steps."""
    parts: dict[str, Any] = {
        str(step): {keyword: [{"$ref": f"#/$defs/{step + 1}"}] * 2} for step in range(60)
    }
    return {"$ref": "#/$defs/0", "$defs": {**parts, "60": {"type": "integer"}}}


CIRCLES: list[dict[str, Any]] = [
    {"$ref": "#"},
    {"not": {"$ref": "#"}},
    {"if": {"$ref": "#"}},
    {"allOf": [{"$ref": "#"}]},
    {"oneOf": [{"type": "null"}, {"$ref": "#"}]},
    {"dependentSchemas": {"a": {"$ref": "#"}}},
    {"anyOf": [{"$ref": "#/anyOf/0"}]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"properties": {"x": {"$ref": "#/$defs/a%20~1"}}, "$defs": {"a /": {"$ref": "#/$defs/a ~1"}}},
    # Whose part leads back to the part that it is a part of, by a reference for the same value.
    {
        "$ref": "#/$defs/y",
        "$defs": {
            "y": {"items": {"$ref": "#/$defs/x"}, "anyOf": [{"$ref": "#/$defs/x"}]},
            "x": {"allOf": [{"$ref": "#/$defs/y"}]},
        },
    },
]


@pytest.mark.parametrize("schema", CIRCLES, ids=str)
def test_a_schema_that_refers_to_itself_without_end_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="itself for the same value") as wrong:
        _ask(schema)
    assert wrong.value.field == "schema"


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x", "file:///etc/passwd", "other.json", "urn:x", "#name", "#/nowhere"],
)
def test_a_reference_to_another_document_is_refused_and_not_fetched(reference: str) -> None:
    schema = {"items": {"$ref": reference}}
    with pytest.raises(InvalidValueError, match=f"refers to '{re.escape(reference)}'"):
        _ask(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$dynamicRef": "#node", "$dynamicAnchor": "node"},
        {"$recursiveRef": "#"},
        {"items": {"$id": "urn:inner", "type": "integer"}},
    ],
    ids=str,
)
def test_what_would_change_the_meaning_of_a_reference_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="only to its own parts"):
        _ask(schema)


@pytest.mark.parametrize(
    "schema",
    [
        _ladder("anyOf"),
        _ladder("allOf"),
        _ladder("prefixItems"),
        {"enum": [[number] for number in range(10_001)]},
        {"required": [str(number) for number in range(10_001)]},
        {"items": {"anyOf": [{"const": number} for number in range(5_001)]}},
    ],
    ids=["anyOf", "allOf", "prefixItems", "enum", "required", "const"],
)
def test_a_schema_that_takes_too_many_steps_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="10,000 steps"):
        _ask(schema)


@pytest.mark.parametrize(
    "schema",
    [
        *({"pattern": pattern} for pattern in ("(?=a)", "(?<!a)b", r"(a)\1", "[", "a" * 9 + "(")),
        {"patternProperties": {"(?!x)": {}}},
        {"$schema": "http://127.0.0.1:9/schema"},
        {"multipleOf": 0},
        {"properties": 5},
        {"anyOf": {}},
    ],
    ids=str,
)
def test_what_the_package_can_not_judge_by_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="schema is no JSON Schema that can be judged"):
        _ask(schema)


def test_no_error_repeats_a_long_schema() -> None:
    with pytest.raises(InvalidValueError) as wrong:
        _ask({"pattern": "[" * 100_000})
    assert len(str(wrong.value)) < 500


ACCEPTED: list[tuple[dict[str, Any], Any, Any]] = [
    ({"pattern": r"^\p{L}+$"}, "é", "7"),
    ({"pattern": r"a\z"}, "ba", "ab"),
    ({"pattern": "(?i)É"}, "é", "e"),
    ({"pattern": "^a(?i:b)$"}, "aB", "AB"),
    ({"multipleOf": 10**400}, 10**401, 3),
    ({"multipleOf": 3}, 3 * 10**3_998, 3 * 10**3_998 + 1),
    ({"maximum": 1e308}, 1, 10**400),
    ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], [{"a": 1}, {"a": 1.0}]),
    ({"uniqueItems": True}, [10**30, 10**30 + 1], [10**30, 10**30]),
    ({"uniqueItems": False}, [1, 1], None),
    ({"$id": "urn:outer", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": False}}, [], [1]),
    ({"const": {"$ref": "http://x"}}, {"$ref": "http://x"}, {}),
    ({"properties": {"$ref": {"type": "string"}}}, {"$ref": "x"}, {"$ref": 1}),
    ({"properties": {"$id": {"$ref": "#/$defs/a"}}, "$defs": {"a": False}}, {}, {"$id": 1}),
    ({"items": {"$ref": "#"}, "type": ["array", "null"]}, [[], [None]], [[1]]),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}, "x", None),
    ({"enum": [str(number) for number in range(20_000)]}, "19999", "20000"),
]


@pytest.mark.parametrize(("schema", "good", "bad"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_can_be_judged_is_judged(schema: dict[str, Any], good: Any, bad: Any) -> None:  # noqa: ANN401
    _ask(schema)
    judge = Judge(schema)
    assert judge.accepts(json.dumps(good))
    assert bad is None or not judge.accepts(json.dumps(bad))


class Colour(Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    friends: list[Dog | Cat] = []


class Box(BaseModel, Generic[Item]):
    item: Item
    size: Annotated[Decimal, Field(max_digits=5, decimal_places=2)]


class Everything(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")
    other: Annotated[
        Annotated[Cat, Tag("c")] | Annotated[Dog, Tag("d")],
        Discriminator(lambda value: "c" if "lives" in value else "d"),
    ]
    box: Box[dict[str, tuple[int, str]]]
    name: str = Field(pattern=r"^\p{L}+\z")
    when: datetime | date
    after: timedelta
    number: UUID
    colour: Colour
    colours: set[Colour] | None


def test_the_schemas_of_types_are_judged() -> None:
    everything = {
        "pet": {"kind": "dog", "friends": [{"kind": "dog"}, {"kind": "cat", "lives": 9}]},
        "other": {"kind": "cat", "lives": 1},
        "box": {"item": {"a": [1, "b"]}, "size": "3.14"},
        "name": "Zoë",
        "when": "2026-01-01",
        "after": "PT1S",
        "number": "00000000-0000-0000-0000-000000000000",
        "colour": "red",
        "colours": None,
    }
    _ask(Everything)
    judge = Judge(json_schema_of(Everything))
    assert judge.accepts(json.dumps(everything))
    for wrong in (
        {"pet": {"kind": "bird"}},
        {"pet": {"kind": "cat", "lives": 10}},
        {"box": {"item": {"a": ["b", 1]}, "size": "3.14"}},
        {"name": "7"},
        {"colour": "blue"},
        {"colours": ["red", "red"]},
    ):
        assert not judge.accepts(json.dumps(everything | wrong))


def test_an_answer_with_too_many_values_for_its_schema_is_refused() -> None:
    judge = Judge({"items": {"anyOf": [{"const": number} for number in range(1_000)]}})
    assert judge.accepts(json.dumps([999] * 2_000))
    with pytest.raises(InvalidValueError, match=r"value is too large .* 2,497 values .* 4,001"):
        judge.accepts(json.dumps([999] * 4_000))


def test_large_integers_that_are_compared_with_each_other_count_by_their_digits() -> None:
    text = json.dumps([10**30 + number for number in range(8_000)])
    assert Judge({"items": {"type": "integer"}}).accepts(text)
    with pytest.raises(InvalidValueError, match="large integers count more"):
        Judge({"uniqueItems": True}).accepts(text)


def _panic() -> BaseException:
    """Return what a panic of a package in Rust becomes in Python; its class can't be imported."""
    kind = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    error: BaseException = kind("x" * 1_000)
    return error


@pytest.mark.parametrize("error", [_panic(), OverflowError("x" * 1_000), RecursionError()], ids=str)
def test_no_error_of_the_package_escapes_untyped(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> Any:  # noqa: ANN401
        raise error

    class Broken:
        is_valid: Callable[..., Any] = fail

    monkeypatch.setattr(jsonschema_rs, "validator_for", lambda *_, **__: Broken())
    with pytest.raises(InvalidValueError, match=r"value can't be judged: ") as wrong:
        Judge({}).accepts("1")
    assert len(str(wrong.value)) < 300
    monkeypatch.setattr(jsonschema_rs, "validator_for", fail)
    with pytest.raises(InvalidValueError, match="schema is no JSON Schema that can be judged: "):
        Judge({})


def test_an_interrupt_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_options: object) -> Any:  # noqa: ANN401
        raise KeyboardInterrupt

    monkeypatch.setattr(jsonschema_rs, "validator_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Judge({})
