"""Limits: a value at the limit passes, one past it is refused; texts are kept unchanged."""

from enum import IntEnum, StrEnum

import pytest

from engine.domain import validation
from engine.domain.exceptions import InvalidValueError
from engine.domain.validation import check_integer, check_optional_text, check_text

BOUNDS = {
    "MAX_INPUT_HASH_CHARACTERS": 256,
    "MAX_IDENTIFIER_CHARACTERS": 256,
    "MAX_RESULT_CHARACTERS": 1_048_576,
    "MAX_ERROR_CHARACTERS": 65_536,
    "MAX_LAST_ERROR_CHARACTERS": 4_000,
    "MAX_INPUT_CHARACTERS": 262_144,
    "MAX_ANSWER_CHARACTERS": 262_144,
    "MAX_ANSWERS_CHARACTERS": 1_048_576,
    "MAX_REASON_CHARACTERS": 4_096,
    "MAX_BY_CHARACTERS": 256,
    "MAX_PRIORITY": 1_000_000,
    "MAX_BULK_ITEMS": 10_000,
    "MAX_PAGE_JOBS": 1_000,
    "MAX_PAGE_LINES": 1_000,
    "MAX_READ_CHARACTERS": 16_777_216,
    "MAX_INTEGER": 9_223_372_036_854_775_807,
}


class Text(str):
    __slots__ = ()


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


def test_the_limits_are_those_that_are_documented() -> None:
    limits = {name: value for name, value in vars(validation).items() if name.startswith("MAX_")}
    assert limits == BOUNDS


@pytest.mark.parametrize(
    "text", ["a", "a" * 10, "ä" * 10, "𝄞" * 10, "a\n\t'\";--", "\x01\x7f\ufffe"]
)
def test_a_text_within_its_bounds_is_kept_as_it_is(text: str) -> None:
    assert check_text("field", text, 10) == text


@pytest.mark.parametrize("text", ["a" * 11, "ä" * 11, "𝄞" * 11, Text("a" * 11)])
def test_a_text_above_its_bound_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="field must have 1 to 10 characters, and has 11"):
        check_text("field", text, 10)


@pytest.mark.parametrize("text", ["", Text("")])
def test_an_empty_text_is_refused_where_one_is_needed(text: str) -> None:
    with pytest.raises(InvalidValueError, match="must have 1 to 10 characters, and has 0"):
        check_text("field", text, 10)
    assert check_text("field", text, 10, shortest=0) == ""


@pytest.mark.parametrize("text", ["\0", "a\0b", "ä\0", Text("a\0"), "\0" * 10])
def test_a_nul_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="NUL"):
        check_text("field", text, 10)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udc80ä", Text("\ud800"), "\ud834\udd1e"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="surrogate"):
        check_text("field", text, 10)


@pytest.mark.parametrize("value", [None, b"a", 1, 1.5, ["a"], object(), bytearray(b"a"), str])
def test_what_is_no_text_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(InvalidValueError, match="must be a str, not") as caught:
        check_text("field", value, 10)
    assert caught.value.field == "field"
    assert str(caught.value) == f"field {caught.value.problem}"


@pytest.mark.parametrize("value", [Text("red"), Colour.RED, Text("röt")])
def test_a_subclass_of_str_becomes_a_plain_text(value: str) -> None:
    checked = check_text("field", value, 10)
    assert checked == str.__str__(value)
    assert type(checked) is str


def test_none_is_an_optional_text() -> None:
    assert check_optional_text("field", None, 10) is None
    assert check_optional_text("field", "a", 10) == "a"
    with pytest.raises(InvalidValueError):
        check_optional_text("field", "", 10)


@pytest.mark.parametrize("value", [1, 5, Number.ONE])
def test_an_integer_within_its_bounds_is_kept(value: int) -> None:
    assert check_integer("field", value, 1, 5) == value


@pytest.mark.parametrize("value", [0, 6, -1, 2**63, -(10**5000), 10**5000], ids=lambda _: "")
def test_an_integer_outside_its_bounds_is_refused(value: int) -> None:
    with pytest.raises(InvalidValueError, match="field must be 1 to 5, and is"):
        check_integer("field", value, 1, 5)


@pytest.mark.parametrize("value", [None, True, False, 1.0, "1", float("nan"), [1], b"1"])
def test_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(InvalidValueError, match="field must be an int, not"):
        check_integer("field", value, 0)


def test_an_integer_has_the_databases_bound_by_default() -> None:
    assert check_integer("field", 2**63 - 1, 0) == 2**63 - 1
    with pytest.raises(InvalidValueError):
        check_integer("field", 2**63, 0)
