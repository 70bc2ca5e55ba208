"""Schemas of pydantic's core: a walk sees every schema, and no value that only looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import get_annotations, getmembers, isclass
from typing import Annotated, Any, Final, Literal, NamedTuple, Union

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, Tag, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from engine.domain.core_schemas import SCHEMA_KEYS, CoreSchema, name_in_json, schemas_in
from engine.domain.places import Place, path_of

# Schemas of what is given to a validator or function, or comes from it; and of what isn't kept.
_NOT_OF_THE_VALUE: Final = {
    "computed_fields",
    "json_schema_input_schema",
    "return_schema",
    "serialization",
}


def test_all_entries_of_pydantic_that_hold_schemas_are_known() -> None:
    found = {
        name
        for _, kind in getmembers(core_schema, isclass)
        for name, annotation in get_annotations(kind).items()
        if re.search(r"(Schema|Field|Parameter)\b", str(annotation))
    }
    assert "items_schema" in found
    assert found - _NOT_OF_THE_VALUE <= SCHEMA_KEYS


def places(schema: CoreSchema, place: Place = None) -> Iterator[str]:
    """Yield the place and the type of each schema in one."""
    for inner, its_place in schemas_in(schema, place):
        yield f"{path_of('', its_place)} {inner.get('type')}"
        yield from places(inner, its_place)


class Pair(NamedTuple):
    first: float
    second: bytes


class Cat(BaseModel):
    type: Literal["cat"]
    name: int


class Dog(BaseModel):
    type: Literal["dog"]
    schema_: bool = Field(alias="schema")


@dataclass
class Names:
    type: int
    name: bytes
    fields: dict[str, bool]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Cat, {".type literal", ".name int"}),
        (Dog, {".schema_ bool"}),
        (Names, {".type int", ".name bytes", ".fields bool"}),
        (Annotated[Cat | Dog, Field(discriminator="type")], {".name int", ".schema_ bool"}),
        (Union[Annotated[int, Tag("a")], tuple[bool, ...]], {" int", " bool"}),  # noqa: UP007
    ],
    ids=str,
)
def test_parts_are_found_with_the_names_of_their_fields(kind: Any, expected: set[str]) -> None:  # noqa: ANN401
    assert expected <= set(places(TypeAdapter(kind).core_schema))


def test_the_parts_of_a_named_tuple_are_found() -> None:
    found = {each.split()[-1] for each in places(TypeAdapter(Pair).core_schema)}
    assert {"float", "bytes"} <= found


def looping() -> dict[str, Any]:
    """Return a default that holds itself, and looks like schemas of all sorts."""
    value: dict[str, Any] = {"type": "set", "serialization": "utf-8", "serialization_exclude": True}
    value |= {"schema": value, "fields": {"a": value}, "choices": [value]}
    return value


@pytest.mark.parametrize("key", ["default", "expected", "metadata", "members", "config"])
def test_values_that_look_like_schemas_are_none(key: str) -> None:
    schema = {"type": "default", "schema": {"type": "int"}, key: looping()}
    assert list(places(schema)) == [" int"]


def test_a_default_is_no_schema() -> None:
    class Model(BaseModel):
        options: dict[str, Any] = looping()

    assert set(places(TypeAdapter(Model).core_schema)) == {
        " model-fields",
        ".options model-field",
        ".options default",
        ".options dict",
        ".options str",
        ".options any",
    }


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (Field(), "name"),
        (Field(alias="a"), "a"),
        (Field(validation_alias="a"), "name"),
        (Field(validation_alias=AliasPath("a", 0)), "name"),
        (Field(serialization_alias="a"), None),
        (Field(serialization_alias="name", validation_alias="a"), "name"),
        (Field(serialization_alias="b", validation_alias="a"), None),
        (Field(serialization_alias="a", validation_alias="a"), "a"),
        (Field(serialization_alias="a", validation_alias=AliasPath("a")), "a"),
        (Field(serialization_alias="a", validation_alias=AliasPath("a", 0)), None),
        (Field(serialization_alias="b", validation_alias=AliasChoices("a", "b")), "b"),
        (Field(serialization_alias="c", validation_alias=AliasChoices("a", "b")), None),
    ],
    ids=repr,
)
def test_the_name_in_json_is_that_by_which_pydantic_dumps_and_reads(
    field: Any,  # noqa: ANN401 - pydantic's own description
    expected: str | None,
) -> None:
    class Model(BaseModel):
        name: Annotated[int, field]

    adapter = TypeAdapter(Model)
    made = Model.model_validate({"name": 1}, by_name=True)
    dumped = made.model_dump(by_alias=True)
    try:
        adapter.validate_python(dumped, by_alias=True, by_name=True)
    except ValueError:
        assert expected is None
    else:
        assert dumped == {expected: 1}
    fields: Any = adapter.core_schema
    assert name_in_json(fields["schema"]["fields"]["name"], "name") == expected
