"""The JSON Schemas of types: answers fit by the names to ask for, and by those of their dumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from engine.owner.judge import Judge
from engine.owner.prompts import json_schema_of


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(validation_alias="theSize")
    note: str = Field("", validation_alias=AliasChoices("theNote", "remark"))


@dataclass
class Plain:
    size: Annotated[int, Field(validation_alias="theSize")]
    note: Annotated[str, Field(validation_alias="theNote")] = ""


class Row(TypedDict, total=False):
    size: Annotated[int, Field(validation_alias="theSize")]
    note: Annotated[str, Field(validation_alias="theNote")]


class Outgoing(BaseModel):
    size: int = Field(validation_alias="theSize", serialization_alias="Size")


def accepts(kind: Any, answer: str) -> bool:  # noqa: ANN401 - any type
    return Judge(json_schema_of(kind)).accepts(answer)


@pytest.mark.parametrize("kind", [Model, Plain, Row])
def test_a_field_fits_by_the_name_to_ask_for_and_by_that_of_the_dump(kind: Any) -> None:  # noqa: ANN401
    for name, note in (("theSize", "theNote"), ("size", "note"), ("theSize", "note")):
        assert accepts(kind, f'{{"{name}": 1}}')
        assert accepts(kind, f'{{"{name}": 1, "{note}": "a"}}')
        assert not accepts(kind, f'{{"{name}": "1"}}')
        assert not accepts(kind, f'{{"{name}": 1, "{note}": 1}}')


@pytest.mark.parametrize("kind", [Model, Plain, list[Model], Annotated[Model | Plain, "either"]])
def test_a_field_has_to_be_there_by_one_of_its_names(kind: Any) -> None:  # noqa: ANN401
    assert not accepts(kind, '{"note": "a"}')
    assert not accepts(kind, '[{"theNote": "a"}]')


def test_no_other_name_fits() -> None:
    assert not accepts(Model, '{"theSize": 1, "other": 1}')
    assert not accepts(Model, '{"theSize": 1, "remark": "a"}')


def test_a_name_that_is_dumped_but_not_read_does_not_fit() -> None:
    assert accepts(Outgoing, '{"theSize": 1}')
    assert not accepts(Outgoing, '{"Size": 1}')


def test_a_schema_whose_dump_has_its_names_is_that_of_pydantic() -> None:
    class Aliased(BaseModel):
        size: int = Field(alias="theSize")
        note: str = ""

    assert json_schema_of(Aliased) == Aliased.model_json_schema()
