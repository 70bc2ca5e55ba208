"""JSON texts: a valid value comes back unchanged, and any other is refused at once."""

import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, field_serializer

from engine.domain.exceptions import InvalidValueError
from engine.domain.json_text import json_text, same_value, value_of
from engine.domain.validation import MAX_INPUT_CHARACTERS
from tests.tries import report, tries

LONGEST = MAX_INPUT_CHARACTERS
MOST_SECONDS = 0.1
"""Of this thread's own work: what else the machine does is not counted."""
MOST_SECONDS_AT_THE_LIMIT = 0.5
"""Not a matter of the size squared."""


class Word(StrEnum):
    ONE = "eins"


class Number(IntEnum):
    ONE = 1


class Order(BaseModel):
    files: list[str]
    at: datetime


class Broken(BaseModel):
    size: int

    @field_serializer("size")
    def fail(self, size: int) -> int:
        raise RuntimeError(f"planted for {size}")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def itself() -> dict[str, Any]:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    return value


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
)


@settings(max_examples=tries(2_000))
@given(VALUES)
def test_a_value_comes_back_from_the_shortest_text_and_needs_no_more_room(
    value: Any,  # noqa: ANN401 - any value
) -> None:
    text = json_text("input", value, LONGEST)
    assert value_of(text) == value
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert json_text("input", value, len(text)) == text
    with pytest.raises(InvalidValueError, match=f"may have {len(text) - 1} characters"):
        json_text("input", value, len(text) - 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, (), {}), "[1,[],{}]"),
        ({"ä": Word.ONE, "b": Number.ONE}, '{"ä":"eins","b":1}'),
        (Order(files=["a"], at=datetime(2026, 1, 1, tzinfo=UTC)),
         '{"files":["a"],"at":"2026-01-01T00:00:00Z"}'),
        (RootModel[list[int]]([1, 2]), "[1,2]"),
        (10**4_000 - 1, "9" * 4_000),
        (-(10**4_000) + 1, "-" + "9" * 4_000),
        (nested(100), "[" * 100 + "]" * 100),
        ("\0", '"\\u0000"'),
    ],
)  # fmt: skip
def test_values_become_texts(value: object, text: str) -> None:
    assert json_text("input", value, LONGEST) == text


def test_no_text_is_no_value() -> None:
    assert value_of(None) is None
    assert value_of("null") is None


@settings(max_examples=tries(2_000))
@given(VALUES)
def test_a_value_is_the_same_whatever_the_order_of_its_keys(value: Any) -> None:  # noqa: ANN401 - any value
    def reordered(value: Any) -> Any:  # noqa: ANN401 - any value
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in reversed(value)}
        return [reordered(each) for each in value] if isinstance(value, list) else value

    assert same_value(json.dumps(value), json.dumps(reordered(value)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":[{"c":2,"d":3}]}', '{"b":[{"d":3,"c":2}],"a":1}', True),
        ("[1,-0.0,1e2]", "[1.0,0,100]", True),
        (None, "null", True),
        ('"ä"', r'"\u00e4"', True),
        ("[1,2]", "[2,1]", False),
        ("[1]", "[1,2]", False),
        ('{"a":1}', '{"a":1,"b":null}', False),
        ('{"a":1}', '{"b":1}', False),
        ("[1]", "[true]", False),
        ('{"a":0.0}', '{"a":false}', False),
        ("[]", "{}", False),
        ("[null]", "[0]", False),
        ('"1"', "1", False),
        (str(2**53 + 1), str(float(2**53)), False),
        (str(10**400), str(10**400 + 1), False),
        (str(10**400), "1.0", False),
    ],
)
def test_texts_are_compared_as_values(one: str | None, other: str, same: bool) -> None:  # noqa: FBT001 - a parameter of a test
    assert same_value(one, other) is same
    assert same_value(other, one) is same


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            {"files": [0, 1, object()]},
            r"has a object that can't be dumped .*, at input\.files\[2\]",
        ),
        ([Order], r"has a ModelMetaclass: .*, at input\[0\]: give"),
        ([Order.model_validate], r"has a method: .*, at input\[0\]: give"),
        ({"a": {1: 2}}, r"has a key that is a int, not a str: 1, at input\.a: make it a str"),
        ({"a b": {None: 2}}, r"a key that is a NoneType, not a str: None, at input\['a b'\]"),
        ([1.5, math.nan], r"has nan, at input\[1\]: JSON has finite numbers only"),
        ({"a": -math.inf}, r"has -inf, at input\.a: JSON has"),
        (
            nested(101),
            r"has more than 100 levels, or holds itself, at input(\[0\]){31}\[0….*\[0\]: make",
        ),
        (itself(), r"levels, or holds itself, at input(\.a\[1\]){19}.*….*\[1\]: make it flatter"),
        (["a", "\ud800"], r"has a lone surrogate: '\\ud800', at input\[1\]: decode"),
        ({"a": {"\udfff": 1}}, r"has a lone surrogate: '\\udfff', at input\.a: decode"),
        ([10**4_000], r"has an int of more than 4000 digits, at input\[0\]: give it as a str"),
        ([-(10**100_000)], r"has an int of more than 4000 digits, at input\[0\]"),
        (Broken(size=1), "can't be dumped by pydantic: .*planted for 1"),
        (["x" * LONGEST], r"may have 262144 characters as JSON, and is past that at input\[0\]"),
        ({"a": {"k" * LONGEST: 1}}, r"characters as JSON, and is past that at input\.a: store"),
        (["\n" * 200_000], "may have 262144 characters as JSON, and has 400004: store large"),
    ],
)
def test_what_is_refused_is_named_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(InvalidValueError, match=problem) as caught:
        json_text("input", value, LONGEST)
    assert caught.value.field == "input"
    assert len(str(caught.value)) < 500


class Mapping(dict[str, Any]):
    """Shows other items than it holds."""

    def items(self) -> Any:  # noqa: ANN401 - unlike a dict
        return [("a", object())]


class Changing(list[Any]):
    """Shows something else when it is looked at again."""

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator
        self.append(object())
        return iter([1] if len(self) == 2 else list(self[1:]))


@pytest.mark.parametrize("value", [Mapping(a=1), Changing([1])])
def test_a_container_that_is_not_what_it_seems_is_refused(value: object) -> None:
    with pytest.raises(InvalidValueError, match="input "):
        json_text("input", value, LONGEST)


def _shared() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(20):
        value = [value] * 10
    return value


def _wide() -> list[Any]:
    value: list[Any] = [1] * 1_000
    value[0] = value
    return value


HUGE: dict[str, Callable[[], Any]] = {
    "a long text": lambda: "x" * tries(2**30),
    "a long key": lambda: {"x" * tries(2**30): 1},
    "a long list": lambda: [None] * tries(10**8),
    "a long tuple in a dict": lambda: {"a": (1,) * tries(10**8)},
    "a long dict": lambda: dict.fromkeys(map(str, range(tries(10**6, least=10**5)))),
    "a deep list": lambda: nested(tries(10**7)),
    "many large integers": lambda: [10**3_999] * 10**5,
    "many small texts": lambda: ["x" * 100] * 10**5,
    "10**20 items that share their lists": _shared,
    "itself, wide": _wide,
}


@pytest.fixture(params=HUGE)
def huge(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - any value
    return HUGE[request.param]()


def test_refusing_is_quick_whatever_the_size(huge: object) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidValueError):
        json_text("input", huge, LONGEST)
    seconds = time.thread_time() - began
    report(f"refused after {seconds * 1_000:.2f} ms")
    assert seconds < MOST_SECONDS


@pytest.mark.parametrize(
    "value",
    [
        [1] * ((LONGEST - 1) // 2),
        [""] * ((LONGEST - 1) // 3),
        [nested(99)] * (LONGEST // 199),
        [0.5] * ((LONGEST - 1) // 4),
        {str(number): 1 for number in range(25_000)},
        "𝄞" * (LONGEST - 2),
    ],
    ids=["integers", "texts", "lists", "floats", "dict", "text"],
)
def test_accepting_at_the_limit_is_quick(value: object) -> None:
    began = time.thread_time()
    size = len(json_text("input", value, LONGEST))
    seconds = time.thread_time() - began
    report(f"{size} characters in {seconds * 1_000:.1f} ms")
    assert size > LONGEST * 0.9
    assert seconds < MOST_SECONDS_AT_THE_LIMIT
