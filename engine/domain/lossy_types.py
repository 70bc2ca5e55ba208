"""Lossy types: those whose values never come back from JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import TypeAdapter

from engine.domain.core_schemas import CoreSchema, name_in_json, schemas_in
from engine.domain.exceptions import shown
from engine.domain.places import Place, path_of

_READ_ANYTHING: Final = ("function-before", "function-wrap", "function-plain")


def loss_of_type(root: str, adapter: TypeAdapter[Any]) -> str | None:
    """Return the first part of a type that is lost in JSON, as its place and the reason.

    Such parts are secrets, which are written as asterisks, fields with ``exclude=True``, and fields
    that are written by a name that isn't read. A part with a serializer of its own is taken to come
    back.

    Args:
        root: The name of the whole.
        adapter: Of the type.
    """
    for place, reason in _losses(adapter.core_schema, None):
        return f"{path_of(root, place)} {reason}"
    return None


def _losses(
    schema: CoreSchema, place: Place, *, judges_names: bool = True
) -> Iterator[tuple[Place, str]]:
    """Yield the lost parts of a schema of pydantic's core.

    A function before a type may read any names: only the reading back of a value can tell then.
    """
    judges_names = judges_names and schema.get("type") not in _READ_ANYTHING
    if schema.get("serialization_exclude") is True:
        yield place, "is excluded from every dump"
    if judges_names and place is not None and name_in_json(schema, str(place[1])) is None:
        written = shown(schema["serialization_alias"])
        yield place, f"is written as {written}, which isn't read: use `alias`, which is for both"
    serializer = schema.get("serialization", {}).get("function")
    if serializer is None:
        for inner, its_place in schemas_in(schema, place):
            yield from _losses(inner, its_place, judges_names=judges_names)
    elif _masks(serializer):
        yield place, "is a secret, which is written as asterisks"


def _masks(serializer: object) -> bool:
    """Tell whether a serializer is that of pydantic's secrets; no public mark says so."""
    name = str(getattr(serializer, "__name__", ""))
    of_pydantic = getattr(serializer, "__module__", None) == "pydantic.types"
    return of_pydantic and name.startswith("_serialize_secret")
