"""Set order: equal values have one text in every process, and nothing but sets is sorted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer
from pydantic.dataclasses import dataclass as pydantic_dataclass

from engine.domain.json_text import kept_json_text
from tests.tries import tries

LONGEST = 10_000


def text_of(value: object) -> str:
    """Return a value's text, also of one that doesn't come back, as a set in a field of `Any`."""
    return kept_json_text("input", value, LONGEST).text


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
    model_config = ConfigDict(extra="allow")
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
        anything=[3, 1, {"set": set(each(8, 0))}],
        more=set(each("m", "l")),
    )


TEXT = (
    '{"words":["a","b","c"],"sets":[["a","b"],["c","d"]],"models":[{"number":0},{"number":8}],'
    '"pairs":[[1,2],[9,1]],"by_number":{"3":["x","y"]},"Several":[[0,8],[1]],'
    '"plain":{"words":["p","q"]},"aliased":{"Words":["r","s"]},'
    '"anything":[3,1,{"set":[0,8]}],"more":["l","m"]}'
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
    by_word: dict[str, set[int]]

    @field_serializer("words")
    def joined(self, words: set[str]) -> str:
        return "-".join(sorted(words))

    @field_serializer("numbers")
    def first(self, numbers: set[int]) -> list[int]:
        return [9, min(numbers), 0, 5]

    @field_serializer("by_word")
    def largest(self, by_word: dict[str, set[int]]) -> dict[str, object]:
        return {"b": [2, 1], "a": len(by_word)}


def test_the_form_of_ones_own_serializer_stays() -> None:
    text = text_of(Own(words={"b", "a"}, numbers={3, 1}, by_word={"x": {1}}))
    assert text == '{"words":"a-b","numbers":[9,1,0,5],"by_word":{"b":[2,1],"a":1}}'


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
        for seed in range(tries(100))
    }
    assert texts == {TEXT + "\n"}
