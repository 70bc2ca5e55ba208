"""Differences between a value and what has come back of it from JSON.

Values are equal if they say so. Otherwise their parts are compared: the fields of models and
dataclasses, the items of lists and dicts. So private attributes and cached properties, which no
JSON has, make no difference; and a tuple may come back as a list.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from msgspec import Struct
from pydantic import BaseModel

from engine.domain.places import Place

_ARRAYS: Final = (list, tuple)


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING: Final = _Nothing()


class Difference(Struct, frozen=True):
    """The first place where a value differs from what has come back."""

    place: Place
    given: Any
    found: Any
    """What is there instead; it is shown as ``nothing`` if nothing is."""


def difference_of(given: Any, found: Any, place: Place = None) -> Difference | None:  # noqa: ANN401
    """Return the first difference between two values; None if they are equal.

    Args:
        given: The value, as it was.
        found: What has come back.
        place: The place of the value.

    Raises:
        Exception: The values' own comparison raises it.
    """
    if given == found or _are_nan(given, found):
        return None
    parts, others = _parts(given), _parts(found)
    if parts is None or others is None or not _are_alike(given, found):
        return Difference(place, given, found)
    for key in parts | others:
        one, other = parts.get(key, _NOTHING), others.get(key, _NOTHING)
        if (difference := difference_of(one, other, (place, key))) is not None:
            return difference
    return None


def _are_alike(given: object, found: object) -> bool:
    if type(given) is type(found):
        return True
    return any(isinstance(given, kind) and isinstance(found, kind) for kind in (_ARRAYS, dict))


def _are_nan(*values: object) -> bool:
    return all(isinstance(value, float) and math.isnan(value) for value in values)


def _parts(value: Any) -> dict[Any, Any] | None:  # noqa: ANN401
    """Return the parts of a value by their keys; None if it has none to compare."""
    if isinstance(value, _ARRAYS):
        return dict(enumerate(value))
    if isinstance(value, dict):
        return value
    if isinstance(value, BaseModel):
        return _fields(value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name, _NOTHING) for name in names}
    kind: Any = type(value)
    return None if kind.__eq__ is not object.__eq__ else getattr(value, "__dict__", None) or None


def _fields(model: BaseModel) -> dict[str, Any]:
    """Return the fields of a model, without what properties have cached beside them."""
    values = vars(model)
    fields = {name: values.get(name, _NOTHING) for name in type(model).model_fields}
    return fields | (model.__pydantic_extra__ or {})
