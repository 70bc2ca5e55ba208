"""Schemas of pydantic's core: walk through one, with the places and names of its fields.

A schema also holds values, such as defaults, which may look like schemas. So a walk enters only the
entries that hold schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from engine.domain.places import Place

CoreSchema: TypeAlias = Mapping[str, Any]

SCHEMA_KEYS: Final = frozenset(
    {
        *("arguments_schema", "choices", "definitions", "extras_keys_schema", "extras_schema"),
        *("fields", "items_schema", "json_schema", "keys_schema", "lax_schema", "python_schema"),
        *("schema", "steps", "strict_schema", "values_schema", "var_args_schema"),
        "var_kwargs_schema",
    }
)
"""The entries that hold a schema of the value or of its parts, or a list or dict of such."""


class Inner(NamedTuple):
    """A schema inside another one."""

    schema: CoreSchema
    place: Place


def schemas_in(schema: CoreSchema, place: Place) -> Iterator[Inner]:
    """Yield the schemas directly inside one. Those of fields have the fields' names as places."""
    for key, held in schema.items():
        if key in SCHEMA_KEYS:
            for name, inner in _schemas(held, ""):
                yield Inner(inner, (place, name) if key == "fields" else place)


def name_in_json(field: CoreSchema, name: str) -> str | None:
    """Return the name by which a field is dumped by alias; None if it isn't read by that name.

    Args:
        field: The field's schema.
        name: The field's own name.
    """
    written: str = field.get("serialization_alias", name)
    aliases = field.get("validation_alias")
    if isinstance(aliases, list):  # a path, or several
        is_read = aliases == [written] or [written] in aliases
    else:
        is_read = aliases == written
    return written if is_read or written == name else None


def _schemas(held: Any, name: str) -> Iterator[tuple[str, CoreSchema]]:  # noqa: ANN401
    """Yield the schemas in an entry, with their names."""
    if isinstance(held, list | tuple):
        for each in held:
            yield from _schemas(each, name)
    elif isinstance(held, Mapping):
        if isinstance(held.get("type"), str):  # in a dict of schemas it would be one
            yield held.get("name", name), held
        else:
            for each_name, each in held.items():
                yield from _schemas(each, each_name)
