"""Lossy types: those whose values never come back from JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from engine.domain.places import Place, path_of

_NOT_INSIDE: Final = frozenset({"serialization", "metadata", "config", "computed_fields"})


def loss_of_type(root: str, adapter: TypeAdapter[Any]) -> str | None:
    """Return the first part of a type that is lost in JSON, as its place and the reason.

    Such parts are secrets, which are written as asterisks, and fields with ``exclude=True``. A part
    with a serializer of its own is taken to come back.

    Args:
        root: The name of the whole.
        adapter: Of the type.
    """
    for place, reason in _losses(adapter.core_schema, None):
        return f"{path_of(root, place)} {reason}"
    return None


def _losses(schema: Any, place: Place) -> Iterator[tuple[Place, str]]:  # noqa: ANN401
    """Yield the lost parts of a schema of pydantic's core, or of anything in one."""
    if isinstance(schema, list | tuple):
        for each in schema:
            yield from _losses(each, place)
    if not isinstance(schema, Mapping):
        return
    if schema.get("serialization_exclude") is True:
        yield place, "is excluded from every dump"
    serializer = schema.get("serialization", {}).get("function")
    if serializer is None:
        for inner, its_place in _inside(schema, place):
            yield from _losses(inner, its_place)
    elif _masks(serializer):
        yield place, "is a secret, which is written as asterisks"


def _inside(schema: Mapping[str, Any], place: Place) -> Iterator[tuple[Any, Place]]:
    """Yield what a schema has inside, with the places: those of fields have their names."""
    for key, inner in schema.items():
        if key != "fields":
            if key not in _NOT_INSIDE:
                yield inner, place
        elif isinstance(inner, Mapping):
            yield from ((field, (place, name)) for name, field in inner.items())
        else:
            yield from ((each, (place, each["name"])) for each in inner if isinstance(each, dict))


def _masks(serializer: object) -> bool:
    """Tell whether a serializer is that of pydantic's secrets; no public mark says so."""
    name = str(getattr(serializer, "__name__", ""))
    of_pydantic = getattr(serializer, "__module__", None) == "pydantic.types"
    return of_pydantic and name.startswith("_serialize_secret")
