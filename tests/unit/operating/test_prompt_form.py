"""Prompt forms: the fields of a JSON Schema, and the values that typed texts become."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from engine import InvalidValueError
from engine.operating.prompt_form import MAX_FIELDS, Form, form_of
from engine.owner.prompts import json_schema_of


class Paper(StrEnum):
    A4 = "A4"
    A5 = "A5"


class Order(BaseModel):
    name: Annotated[str, Field(min_length=2, title="Your name")]
    copies: Annotated[int, Field(ge=1, le=9)]
    scale: Annotated[float, Field(gt=0)] = 1.0
    paper: Paper
    sides: Literal[1, 2]
    gift: bool
    day: date | None = None
    at: datetime
    note: str | None


def _form(schema: Any) -> Form:  # noqa: ANN401 - a type or a dict
    form = form_of(json_schema_of(schema))
    assert form is not None
    return form


def test_a_flat_model_is_a_form() -> None:
    form = _form(Order)
    assert form.is_object
    assert {field.name: field.expected for field in form.fields} == {
        "name": "a text, 2 or more characters",
        "copies": "a whole number, 1 or more, 9 or less",
        "scale": "a number, more than 0",
        "paper": "A4 or A5",
        "sides": "1 or 2",
        "gift": "yes or no",
        "day": "a date such as 2026-11-22",
        "at": "a date, time and zone such as 2026-11-22T13:00:00Z",
        "note": "a text",
    }
    assert form.fields[0].title == "Your name"
    required = {field.name for field in form.fields if field.is_required}
    assert required == {"name", "copies", "paper", "sides", "gift", "at", "note"}
    assert [field.name for field in form.fields if field.may_be_null] == ["day", "note"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", "Ann", "Ann"),
        ("copies", "3", 3),
        ("scale", "1.5", 1.5),
        ("scale", "2", 2),
        ("paper", "A5", "A5"),
        ("sides", "2", 2),
        ("gift", "Yes", True),
        ("gift", "false", False),
        ("day", "2026-11-22", "2026-11-22"),
        ("day", "", None),
        ("at", "2026-11-22T13:00:00Z", "2026-11-22T13:00:00+00:00"),
        ("at", "20261122 13+0530", "2026-11-22T13:00:00+05:30"),
        ("note", "", None),
        ("note", "null", "null"),
    ],
)
def test_a_text_becomes_the_value_that_it_says(name: str, text: str, value: object) -> None:
    [field] = [field for field in _form(Order).fields if field.name == name]
    assert field.value(text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("name", "A"), ("copies", "0"), ("copies", "10"), ("copies", "1.5"), ("copies", "x")),
        *(("copies", ""), ("scale", "nan"), ("scale", "1e999"), ("scale", "0"), ("paper", "a4")),
        *(("sides", "3"), ("gift", "maybe"), ("day", "tomorrow"), ("at", "2026-13-01")),
        *(("at", "2026-11-22"), ("at", "2026-11-22+01:00"), ("at", "2026-11-22T13:00:00")),
        *(("at", "13:00:00Z"), ("at", "2026-11-22T13:00:00+01:00:30"), ("at", "")),
        ("copies", "9" * 5_000),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_what_does(name: str, text: str) -> None:
    [field] = [field for field in _form(Order).fields if field.name == name]
    with pytest.raises(InvalidValueError) as caught:
        field.value(text)
    assert str(caught.value).startswith(f"{name} must be {field.expected}, not ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (bool, "no", False),
        (int, "7", 7),
        (str, "x", "x"),
        (Paper, "A4", "A4"),
        (date, *("2026-01-02",) * 2),
    ],
)
def test_one_value_is_a_form_of_one_field(schema: Any, text: str, value: object) -> None:  # noqa: ANN401
    form = _form(schema)
    assert not form.is_object
    assert form.answer({"": form.fields[0].value(text)}) == value


class Inner(BaseModel):
    inner: Order


@pytest.mark.parametrize(
    "schema",
    [
        *(Inner, list[int], dict[str, int], {}, {"type": "object"}, {"type": ["string", "null"]}),
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}},
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
        },
        {"type": "object", "properties": {"a": {"enum": [{}]}}},
        {"type": "object", "properties": {"a": {"type": 7}}},
        {
            "type": "object",
            "properties": {str(n): {"type": "string"} for n in range(MAX_FIELDS + 1)},
        },
        {"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}},
        {"$ref": "#/$defs/a", "$defs": []},
        {"anyOf": 7},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": []}, "required": 7},
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_what_is_not_flat_has_no_form(schema: Any) -> None:  # noqa: ANN401 - a type or a dict
    assert form_of(json_schema_of(schema)) is None


_A_OR_B = {"a": {"type": "string"}, "b": {"type": "string"}}


@pytest.mark.parametrize(
    "more",
    [
        {"required": ["a", "c"]},
        {"required": [["a"]]},
        {"required": ["c"], "additionalProperties": {"type": "string"}},
        {"additionalProperties": {"type": "integer"}},
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"allOf": [{"required": ["a"]}, {"required": ["c"]}]},
        {"allOf": [{"$ref": "#/$defs/More"}], "$defs": {"More": {"required": ["c"]}}},
        {"$ref": "#/$defs/More", "required": ["a"], "$defs": {"More": {"required": ["c"]}}},
        {"not": {"required": ["a", "b"]}},
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
        *({"minProperties": 1}, {"maxProperties": 1}, {"propertyNames": {"maxLength": 1}}),
        {"dependentRequired": {"a": ["b"]}},
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        {"dependencies": {"a": ["b"]}},
        {"patternProperties": {"^x-": {"type": "string"}}},
        {"unevaluatedProperties": {"type": "string"}},
        *({"enum": [{"a": "x"}]}, {"const": {"a": "x"}}),
        {"properties": {"a": {"type": "string", "not": {"const": ""}}}},
        {"properties": {"a": {"type": "string", "allOf": [{"$ref": "#/properties/b"}]}}},
        {"properties": {"a": {"type": "string", "anyOf": [{"enum": ["x"]}, {"type": "null"}]}}},
    ],
    ids=lambda more: str(more)[:60],
)
def test_what_no_field_can_say_alone_has_no_form(more: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": _A_OR_B, **more}
    assert form_of(json_schema_of(schema)) is None


@pytest.mark.parametrize(
    "more",
    [
        {"additionalProperties": False},
        {"additionalProperties": True},
        {"title": "Parts", "description": "of it", "default": {}, "examples": [{}], "x-ours": 7},
        {"required": ["b", "a"]},
    ],
    ids=lambda more: str(more)[:60],
)
def test_a_flat_object_has_a_form_whatever_else_it_says(more: dict[str, Any]) -> None:
    form = _form({"type": "object", "properties": _A_OR_B, **more})
    assert [field.name for field in form.fields] == ["a", "b"]


def test_null_may_be_one_of_the_choices() -> None:
    for schema in (
        {"enum": ["s", None, "m"]},
        {"oneOf": [{"enum": ["s", "m"]}, {"type": "null"}]},
    ):
        [field] = _form(schema).fields
        assert (field.choices, field.may_be_null) == (["s", "m"], True)
        assert (field.value(""), field.value("m")) == (None, "m")


def test_a_text_is_read_without_its_limits() -> None:
    [copies] = [field for field in _form(Order).fields if field.name == "copies"]
    assert copies.read("10") == 10
    with pytest.raises(InvalidValueError, match="copies must be a whole number, 1 or more, 9 or"):
        copies.read("x")


def test_a_strange_title_is_left_out() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "title": 7}}, "required": 7}
    [field] = _form(schema).fields
    assert (field.title, field.is_required) == ("a", False)
