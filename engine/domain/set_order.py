"""Set order: sort the lists that a dump has in the place of sets.

A set of texts has another order in every process (`object.__hash__`), so a job that is created
again after a restart would have another text for the same set.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import RootModel
from pydantic_core import to_jsonable_python

from engine.domain.core_schemas import CoreSchema, schemas_in

# Those whose values hold no set, unless a schema inside says so.
_CLOSED: Final = frozenset(
    {
        *("bool", "bytes", "date", "datetime", "decimal", "enum", "float", "int", "literal"),
        *("none", "str", "time", "timedelta", "url", "uuid"),
        *("dataclass", "dataclass-args", "dataclass-field", "model", "model-field"),
        *("model-fields", "typed-dict", "typed-dict-field"),
        *("default", "definition-ref", "definitions", "function-after", "function-before"),
        *("function-wrap", "nullable", "tagged-union", "union"),
    }
)
# Those that are closed if a schema says what they contain.
_CONTAINERS: Final = {"dict": "values_schema", "list": "items_schema", "tuple": "items_schema"}


def may_hold_sets(schema: CoreSchema) -> bool:
    """Tell whether values of a schema may hold sets: whether it names a set, or leaves parts open.

    `Any` and serializers of one's own do, and so do the schemas that are not known here. Extra
    fields don't count: they come back as lists.
    """
    ahead = [schema]
    while ahead:
        one = ahead.pop()
        if not _is_closed(one):
            return True
        ahead.extend(inner.schema for inner in schemas_in(one, None))
    return False


def _is_closed(schema: CoreSchema) -> bool:
    kind = str(schema.get("type"))
    if "serialization" in schema or schema.get("config", {}).get("polymorphic_serialization"):
        return False
    return kind in _CLOSED or _CONTAINERS.get(kind) in schema


def sort_sets(value: object, dumped: Any) -> Any:  # noqa: ANN401 - any value that JSON can hold
    """Return a value's dump with each set's list in the order of its items' JSON texts.

    A part whose dump has another form than the value stays as it is. A serializer that orders the
    parts anew may lead this astray: read the dump back.

    Args:
        value: The value, such as a pydantic model.
        dumped: What pydantic has made of it in the mode ``json``, by alias.

    Raises:
        Exception: A part of the value can't be looked at.
    """
    if isinstance(value, RootModel):
        return sort_sets(value.root, dumped)
    if isinstance(dumped, dict):
        return dumped | {
            name: sort_sets(part, dumped[name])
            for name, part in _parts_of(value, dumped)
            if name in dumped
        }
    if not (isinstance(dumped, list) and isinstance(value, Collection)):
        return dumped
    if len(value) != len(dumped):
        return dumped
    items = [sort_sets(item, its_dump) for item, its_dump in zip(value, dumped, strict=True)]
    # A subclass of a set may have an order of its own.
    return sorted(items, key=_text) if type(value) in (set, frozenset) else items


def _text(dumped: object) -> str:
    return json.dumps(dumped, sort_keys=True)


def _parts_of(value: object, dumped: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the parts of a model, a dataclass or a dict by the names that they have in its dump.

    The parts of a dict whose keys have an unknown form in its dump are none.
    """
    if not isinstance(value, Mapping):
        return _fields_of(value)
    names = to_jsonable_python(dict.fromkeys(value))
    return zip(names, value.values(), strict=True) if names.keys() == dumped.keys() else ()


def _fields_of(value: object) -> Iterable[tuple[str, Any]]:
    """Return the fields of a model or a dataclass by the names that they have in its dump."""
    names = [field.name for field in fields(value)] if is_dataclass(value) else []
    known: Mapping[str, Any] = getattr(value, "__pydantic_fields__", dict.fromkeys(names))
    for name, field in known.items():
        yield getattr(field, "serialization_alias", None) or name, getattr(value, name, None)
    yield from (getattr(value, "__pydantic_extra__", None) or {}).items()
