"""Set order: equal values have one text in every process, and nothing but sets is sorted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from itertools import permutations
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    RootModel,
    SerializeAsAny,
    TypeAdapter,
    WrapSerializer,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from engine.domain.json_text import json_text, kept_json_text
from engine.domain.set_order import may_hold_sets, sort_sets
from engine.worker.results import Results
from engine.worker.signature import Signature
from tests.tries import tries

LONGEST = 10_000


def text_of(value: object) -> str:
    """Return a value's text; the value has to come back from it."""
    return json_text("input", value, LONGEST)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    number: int


@dataclass
class Plain:
    words: set[str]


@pydantic_dataclass
class Aliased:
    words: set[str] = Field(alias="Words")


class Swapped(BaseModel):
    """Each field has the name of the other as its alias."""

    one: set[int] = Field(alias="two")
    two: list[int] = Field(alias="one")


class Order(BaseModel):
    words: set[str]
    sets: frozenset[frozenset[str]]
    models: set[Frozen]
    pairs: set[tuple[int, int]]
    by_number: dict[int, set[str]]
    several: deque[set[int]] = Field(alias="Several")
    plain: Plain
    aliased: Aliased
    anything: Any


def order(reverse: bool) -> Order:  # noqa: FBT001 - the only argument
    def each(*items: Any) -> list[Any]:  # noqa: ANN401 - of any kind
        return list(reversed(items)) if reverse else list(items)

    return Order(
        words=set(each("c", "a", "b")),
        sets=frozenset(each(frozenset(each("b", "a")), frozenset(each("d", "c")))),
        models=set(each(Frozen(number=8), Frozen(number=0))),
        pairs=set(each((9, 1), (1, 2))),
        by_number={3: set(each("y", "x"))},
        Several=deque([set(each(8, 0)), {1}]),
        plain=Plain(set(each("q", "p"))),
        aliased=Aliased(Words=set(each("s", "r"))),
        anything=[3, 1],
    )


TEXT = (
    '{"words":["a","b","c"],"sets":[["a","b"],["c","d"]],"models":[{"number":0},{"number":8}],'
    '"pairs":[[1,2],[9,1]],"by_number":{"3":["x","y"]},"Several":[[0,8],[1]],'
    '"plain":{"words":["p","q"]},"aliased":{"Words":["r","s"]},'
    '"anything":[3,1]}'
)


@pytest.mark.parametrize("reverse", [False, True])
def test_sets_are_sorted_wherever_they_are(reverse: bool) -> None:  # noqa: FBT001 - a parameter of a test
    assert text_of(order(reverse)) == TEXT
    assert text_of(RootModel[set[int]](order(reverse).several[0])) == "[0,8]"


def test_a_list_keeps_its_order_under_the_alias_of_a_set() -> None:
    text = text_of(Swapped(two={8, 0}, one=[8, 0]))
    assert text == '{"two":[0,8],"one":[8,0]}'


class Own(BaseModel):
    words: set[str]
    numbers: set[int]

    @field_serializer("words")
    def joined(self, words: set[str]) -> str:
        return "-".join(sorted(words))

    @field_serializer("numbers")
    def twice(self, numbers: set[int]) -> list[int]:
        return sorted(numbers, reverse=True) * 2

    @field_validator("words", mode="before")
    @classmethod
    def apart(cls, words: Any) -> Any:  # noqa: ANN401 - a text or a set
        return words.split("-") if isinstance(words, str) else words


def test_the_form_of_ones_own_serializer_stays() -> None:
    text = text_of(Own(words={"b", "a"}, numbers={3, 1}))
    assert text == '{"words":"a-b","numbers":[3,1,3,1]}'


PARTS: dict[str, list[str] | set[int]] = {"b": {8, 0}, "a": ["y", "x"], "c": ["q", "p"]}
SORTED = {"a": ["y", "x"], "b": [0, 8], "c": ["q", "p"]}
UNSORTED = SORTED | {"b": [8, 0]}


def lowered(parts: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): part for key, part in parts.items()}


@pytest.mark.parametrize(
    ("change", "expected"), [(str.lower, SORTED), (str.upper, UNSORTED)], ids=["same", "other"]
)
@pytest.mark.parametrize("keys", list(permutations(PARTS)), ids="".join)
def test_a_list_keeps_its_order_however_a_serializer_orders_and_names_the_parts(
    keys: tuple[str, ...], change: Callable[[str], str], expected: dict[str, object]
) -> None:
    def dump(parts: dict[str, Any]) -> dict[str, Any]:
        return {change(key): parts[key] for key in keys}

    values = dict[str, list[str] | set[int]]
    kind = Annotated[values, PlainSerializer(dump), BeforeValidator(lowered)]
    model = create_model("Model", parts=kind)(parts=PARTS)
    result = Results(Signature([], type(model))).result(model)
    assert result.lost is None
    assert result.text == text_of(model)
    assert lowered(json.loads(result.text)["parts"]) == expected


def test_a_serializer_that_makes_a_list_look_like_a_set_leaves_all_as_it_dumps() -> None:
    class Pair(BaseModel):
        one: list[int]
        other: set[int]

        @model_serializer
        def _swapped(self) -> dict[str, Any]:
            return {"one": list(self.other), "other": self.one}

        @model_validator(mode="before")
        @classmethod
        def _back(cls, given: Any) -> Any:  # noqa: ANN401 - as it is read
            return {"one": given["other"], "other": given["one"]}

    pair = Pair.model_construct(one=[8, 0], other={8, 0})
    assert json.loads(text_of(pair))["other"] == [8, 0]


class Losing(BaseModel):
    words: set[int]
    note: str = Field("", exclude=True)


def test_a_value_that_does_not_come_back_is_as_pydantic_dumps_it() -> None:
    kept = kept_json_text("result", Losing(words={8, 0}, note="a"), LONGEST)
    assert kept.loss is not None
    assert kept.text == '{"words":[8,0]}'


class Ordered(set[int]):
    """A set with an order of its own: the largest first."""

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(super().__iter__(), reverse=True))


def test_a_set_with_an_order_of_its_own_keeps_it() -> None:
    assert sort_sets([Ordered([1, 2]), {2, 1}], [[2, 1], [2, 1]]) == [[2, 1], [1, 2]]


class Tree(BaseModel):
    value: float
    branches: list[Tree] = []


class TreeOfSets(BaseModel):
    branches: list[TreeOfSets] = []
    leaves: set[int] = set()


class Row(TypedDict):
    at: datetime
    name: UUID


class RowOfSets(TypedDict):
    words: set[str]


@pytest.mark.parametrize(
    "kind",
    [
        list[list[float]],
        dict[str, tuple[int, ...]] | None,
        Tree,
        Frozen,
        Annotated[str | list[int], AfterValidator(str)],
        Row,
    ],
    ids=str,
)
def test_a_type_without_sets_is_known_for_it(kind: Any) -> None:  # noqa: ANN401 - any type
    assert not may_hold_sets(TypeAdapter(kind).core_schema)


@pytest.mark.parametrize(
    "kind",
    [
        set[int],
        frozenset[str],
        AbstractSet[int],
        Any,
        object,
        list,
        dict,
        tuple,
        list[dict[str, Any]],
        Iterable[int],
        TreeOfSets,
        Order,
        SerializeAsAny[Frozen],
        Annotated[Any, PlainValidator(set)],
        Annotated[int, WrapSerializer(lambda value, _: {value})],
        Plain,
        RowOfSets,
    ],
    ids=str,
)
def test_a_type_that_may_hold_sets_is_never_taken_for_one_without(kind: Any) -> None:  # noqa: ANN401
    assert may_hold_sets(TypeAdapter(kind).core_schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "list"},
        {"type": "dict", "keys_schema": {"type": "str"}},
        # As pydantic makes it from 2.13 on: a model that is dumped as the subclass that it is.
        {"type": "model", "config": {"polymorphic_serialization": True}, "schema": {"type": "int"}},
        {"type": "unknown"},
    ],
    ids=str,
)
def test_a_schema_that_leaves_its_parts_open_may_hold_sets(schema: dict[str, Any]) -> None:
    assert may_hold_sets(schema)


def test_a_set_of_texts_has_one_text_in_every_process() -> None:
    program = "from tests.unit.domain.test_set_order import *; print(text_of(order(0)))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(1, 1 + tries(100))
    }
    assert texts == {TEXT + "\n"}
