"""Set order: sort the lists that a dump has in the place of sets.

A set of texts has another order in every process (`object.__hash__`), so a job that is created
again after a restart would have another text for the same set.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import RootModel


def sort_sets(value: object, dumped: Any) -> Any:  # noqa: ANN401 - any value that JSON can hold
    """Return a value's dump with each set's list in the order of its items' JSON texts.

    A part that its own serializer has given another form stays as it is.

    Args:
        value: The value, such as a pydantic model.
        dumped: What pydantic has made of it in the mode ``json``, by alias.
    """
    if isinstance(value, RootModel):
        return sort_sets(value.root, dumped)
    if isinstance(dumped, dict):
        return _sorted_parts(value, dumped)
    if not (isinstance(dumped, list) and isinstance(value, Collection)):
        return dumped
    if len(value) != len(dumped):
        return dumped
    items = [sort_sets(item, its_dump) for item, its_dump in zip(value, dumped, strict=True)]
    return sorted(items, key=_text) if isinstance(value, AbstractSet) else items


def _text(dumped: object) -> str:
    return json.dumps(dumped, sort_keys=True)


def _sorted_parts(value: object, dumped: dict[str, Any]) -> dict[str, Any]:
    """Return the dump of a model, a dataclass or a dict."""
    if isinstance(value, Mapping):
        # A key may have another form in JSON, but keeps its place.
        same = len(value) == len(dumped)
        parts: Iterable[tuple[str, Any]] = zip(dumped, value.values(), strict=True) if same else ()
    else:
        parts = _fields_of(value)
    return dumped | {name: sort_sets(part, dumped[name]) for name, part in parts if name in dumped}


def _fields_of(value: object) -> Iterable[tuple[str, Any]]:
    """Return the fields of a model or a dataclass by the names that they have in its dump."""
    names = [field.name for field in fields(value)] if is_dataclass(value) else []
    known: Mapping[str, Any] = getattr(value, "__pydantic_fields__", dict.fromkeys(names))
    for name, field in known.items():
        yield getattr(field, "serialization_alias", None) or name, getattr(value, name, None)
    yield from (getattr(value, "__pydantic_extra__", None) or {}).items()
