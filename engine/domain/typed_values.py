"""Typed values: the values that pydantic knows, made plain for JSON and read back.

Aliases are written, as in the JSON Schema of a model; aliases and names are read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from engine.domain.difference import difference_of
from engine.domain.exceptions import InvalidValueError, message_of, shown
from engine.domain.reading_steps import check_steps
from engine.domain.set_order import may_hold_sets, sort_sets

_MOST_ADAPTERS: Final = 256
_MOST_PROBLEMS: Final = 3
_MOST_LISTED: Final = 100
"""Of more problems only the number is told: pydantic takes long to list a hundred thousand."""
_LONGEST_PROBLEM: Final = 200


def dumped(adapter: TypeAdapter[Any], value: object) -> object:
    """Return a value as JSON has it, with its sets sorted if it comes back equal so.

    Raises:
        Exception: A serializer of the value raises it.
    """
    # No warnings: a value of a wrong type is found when it is read back.
    plain = adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings="none")
    with suppress(Exception):  # the value, its comparison or its validators may raise anything
        if _may_hold_sets(adapter):
            in_order = sort_sets(value, plain)
            if in_order != plain and _comes_back(adapter, value, in_order):
                return in_order
    return plain


def read(adapter: TypeAdapter[Any], text: str) -> Any:  # noqa: ANN401 - of the adapter's type
    """Return the value of a JSON text.

    Raises:
        InvalidValueError: Reading it may take too long; see `check_steps`.
        ValidationError: The text doesn't fit the type.
        Exception: A validator of the type raises it.
    """
    check_steps(adapter, text)
    return adapter.validate_json(text, by_alias=True, by_name=True)


def _comes_back(adapter: TypeAdapter[Any], value: object, plain: object) -> bool:
    return difference_of(value, read(adapter, json.dumps(plain))) is None


@lru_cache(_MOST_ADAPTERS)
def _may_hold_sets(adapter: TypeAdapter[Any]) -> bool:
    return may_hold_sets(adapter.core_schema)


@lru_cache(_MOST_ADAPTERS)
def adapter_of_class(kind: type) -> TypeAdapter[Any]:
    """Return the adapter of a class. Only of a class: unions in another order are equal keys.

    Raises:
        PydanticUserError: Pydantic doesn't know the class.
    """
    return TypeAdapter(kind)


def problem_of(error: Exception) -> str:
    """Return the reasons of an error in reading or dumping, without the values: 650 characters."""
    if isinstance(error, ValidationError):
        count = error.error_count()
        if count > _MOST_LISTED:
            return f"{count:,} problems"
        found = error.errors(include_url=False, include_context=False, include_input=False)
        reasons = [_reason(each["loc"], each["msg"]) for each in found[:_MOST_PROBLEMS]]
        others = count - len(reasons)
        return "; ".join(reasons) + (f"; and {others} more" if others else "")
    if isinstance(error, PydanticUserError):
        return shown(error.message)
    if isinstance(error, InvalidValueError):
        return error.problem
    return f"{type(error).__name__}: {shown(message_of(error))}"


def _reason(place: tuple[int | str, ...], message: str) -> str:
    path = ".".join(map(str, place))
    text = f"{path}: {message}" if path else message
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}…"
