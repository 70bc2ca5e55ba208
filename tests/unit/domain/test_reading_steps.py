"""Types whose reading can double with each level are refused; of all others the steps are bounded.

A counting validator in the leaves tells how often pydantic reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    RootModel,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from typing_extensions import TypeAliasType, TypedDict

from engine import InvalidValueError
from engine.domain.reading_steps import MAX_READING_STEPS, check_steps, steps_of_reading

READ: list[Any] = []


def _count(value: Any) -> Any:  # noqa: ANN401 - as it is read
    READ.append(value)
    return value


Leaf = Annotated[int, BeforeValidator(_count)]


class Left(BaseModel):
    x: Left | Right | Leaf = 0
    left: int = 0


class Right(BaseModel):
    x: Left | Right | Leaf = 0
    right: int = 0


class InOrder(BaseModel):
    x: InOrder | Other | Leaf = Field(0, union_mode="left_to_right")


class Other(BaseModel):
    x: InOrder | Other | Leaf = Field(0, union_mode="left_to_right")
    other: int


@dataclass
class Data:
    x: Data | Point | Leaf


@dataclass
class Point:
    x: Data | Point | Leaf


class OneDict(TypedDict):
    x: OneDict | TwoDict | Leaf


class TwoDict(TypedDict):
    x: OneDict | TwoDict | Leaf


Item = TypeVar("Item")


class Box(BaseModel, Generic[Item]):
    x: Item
    box: int = 0


class Boxed(BaseModel):
    x: Box[Boxed] | Boxed | Leaf


class Pair(NamedTuple):
    x: Pair | list[Pair] | Leaf


class Doubled(RootModel[Any]):
    root: Sequence[Doubled] | list[Doubled] | Leaf


class Mapped(BaseModel):
    x: dict[str, Mapped] | Mapped | Leaf


Inner = TypeAliasType("Inner", "list[Outer] | Left")
Outer = TypeAliasType("Outer", "dict[str, Outer] | Inner | Leaf")
Outermost = TypeAliasType("Outermost", "tuple[Outermost, ...] | InAlias | Leaf")
InAlias = TypeAliasType("InAlias", "list[Outermost] | str")


def _levels(levels: int, leaf: object, wrap: Callable[[object], object]) -> str:
    value = leaf
    for _ in range(levels):
        value = wrap(value)
    return json.dumps(value)


def _in_x(value: object) -> object:
    return {"x": value}


def _in_list(value: object) -> object:
    return [value]


DOUBLING: dict[str, tuple[Any, Callable[[object], object]]] = {
    "a smart union": (Left | Right, _in_x),
    "a part of the type": (Left | int, _in_x),
    "a union from left to right": (InOrder, _in_x),
    "dataclasses": (Data, _in_x),
    "typed dicts": (OneDict, _in_x),
    "a generic": (Boxed, lambda value: {"x": {"x": value}}),
    "a named tuple and a list": (Pair, _in_list),
    "a root model": (Doubled, _in_list),
    "a dict and a model": (Mapped, _in_x),
    "a union within an alias": (Outermost, _in_list),
}


def _times_read(kind: Any, text: str) -> int:  # noqa: ANN401 - any type
    READ.clear()
    with suppress(ValidationError):
        TypeAdapter(kind).validate_json(text)
    return len(READ)


@pytest.mark.parametrize("case", DOUBLING)
def test_a_type_that_doubles_is_refused_with_advice(case: str) -> None:
    kind, wrap = DOUBLING[case]
    with pytest.raises(
        InvalidValueError, match=r"has a union of which 2 alternatives .* discrimin"
    ):
        steps_of_reading(TypeAdapter(kind))
    few, many = (_times_read(kind, _levels(levels, "wrong", wrap)) for levels in (4, 8))
    assert many > 4 * few > 0, "four more levels cost more than four times as much"


class Before(BaseModel):
    x: Before | list[Before] | Leaf

    @model_validator(mode="before")
    @classmethod
    def change(cls, value: Any) -> Any:  # noqa: ANN401 - anything
        return value


class Endless(RootModel[Any]):
    root: Endless | int


def test_what_a_function_may_make_of_a_value_is_not_known() -> None:
    with pytest.raises(InvalidValueError, match="function-before, list"):
        steps_of_reading(TypeAdapter(Before))


def test_a_type_that_is_itself_without_end_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="refers to itself for the same value"):
        steps_of_reading(TypeAdapter(Endless))


class Plus(BaseModel):
    kind: Literal["plus"]
    x: Annotated[Plus | Minus, Discriminator("kind")] | list[Plus] | Leaf = 0


class Minus(BaseModel):
    kind: Literal["minus"]
    x: Annotated[Plus | Minus, Discriminator("kind")] | Leaf = 0


def _tag(value: Any) -> str:  # noqa: ANN401 - anything
    return "many" if isinstance(value, list) else "one" if isinstance(value, dict) else "leaf"


class Called(BaseModel):
    x: Annotated[
        Annotated[Called, Tag("one")]
        | Annotated[list[Called], Tag("many")]
        | Annotated[Leaf, Tag("leaf")],
        Discriminator(_tag),
    ]


class Tree(BaseModel):
    x: Tree | list[Tree] | Leaf | None = None
    type: str = "a field of this name is no schema"
    default: dict[str, Any] = {"type": "union", "choices": [1]}

    @model_validator(mode="after")
    def keep(self) -> Tree:
        return self


class Chain(BaseModel):
    x: Chain | Wrong | Leaf = 0


class Wrong(BaseModel):
    y: int
    x: str = ""


class SeveralParts(BaseModel):
    x: SeveralParts | Leaf = 0
    y: SeveralParts | str | None = None
    z: list[SeveralParts] = []


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | Leaf | None")

LINEAR: dict[str, tuple[Any, Callable[[object], object]]] = {
    "a discriminator": (Plus, lambda value: {"kind": "plus", "x": value}),
    "a discriminating function": (Called, _in_x),
    "a model and a list": (Tree, _in_x),
    "one that refers back": (Chain, _in_x),
    "several fields": (SeveralParts, _in_x),
    "JSON": (Json, lambda value: {"x": [value]}),
    "pydantic's own JSON": (JsonValue, _in_list),
    "no recursion": (list[int | str | Leaf], _in_list),
}


@pytest.mark.parametrize("leaf", [7, "wrong"])
@pytest.mark.parametrize("case", LINEAR)
def test_a_type_that_does_not_double_is_accepted(case: str, leaf: object) -> None:
    kind, wrap = LINEAR[case]
    steps = steps_of_reading(TypeAdapter(kind))
    for levels in (10, 80):
        text = _levels(levels, leaf, wrap)
        assert _times_read(kind, text) <= steps.value * (3 * levels + 1)


FIELDS = [f"f{number}" for number in range(200)]
WIDE: Any = create_model("Wide", **dict.fromkeys(FIELDS, (int, ...)))  # type: ignore[call-overload]
HUNDRED: Any = tuple[(int,) * 100]  # type: ignore[misc]
ROW = dict.fromkeys(FIELDS, 1)
SEVERAL: Any = list[int | float | bool | None]
LAYERS: Any = int
for number in range(7):  # 128 looks at a value, without any recursion
    alike = [create_model(f"M{number}{name}", x=(LAYERS, ...)) for name in "ab"]
    LAYERS = alike[0] | alike[1]

COSTLY: dict[str, tuple[Any, object]] = {
    "absent fields": (list[WIDE], [{}] * 60_000),
    "many alternatives": (list[LAYERS], [{"x": 1}] * 20_000),
    "absent items": (list[HUNDRED], [[]] * 60_000),
}


@pytest.mark.parametrize("case", COSTLY)
def test_a_text_that_takes_too_many_steps_is_refused(case: str) -> None:
    kind, value = COSTLY[case]
    with pytest.raises(InvalidValueError, match=f"and {MAX_READING_STEPS:,} are allowed"):
        check_steps(TypeAdapter(kind), json.dumps(value))


CHEAP: dict[str, tuple[Any, object]] = {
    "whole rows": (list[WIDE], [ROW] * 60),
    "wrong items": (SEVERAL, ["a"] * 65_000),
    "a long text": (WIDE | str, '{[,"' * 60_000 + "\\"),
}


@pytest.mark.parametrize("case", CHEAP)
def test_a_large_text_of_few_steps_is_read(case: str) -> None:
    kind, value = CHEAP[case]
    check_steps(TypeAdapter(kind), json.dumps(value))
