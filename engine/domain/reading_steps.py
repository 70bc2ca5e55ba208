"""Types: count how many steps the reading of a JSON text takes, and refuse those that can double.

Pydantic reads a value of a union by each alternative, in smart mode nearly always, and from left to
right until one fits. Where two alternatives of the union hold the union again, each level of a
value takes twice the time of the one below: 30 levels take a quarter of an hour. A discriminator
names the one alternative to try. Alternatives also stay apart if one reads objects and the other
one lists, as in ``dict[str, Json] | list[Json] | str``.

A type is a tree of schemas of pydantic's core, with references to named ones, its definitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from engine.domain.core_schemas import CoreSchema, schemas_in
from engine.domain.exceptions import InvalidValueError, shown

MAX_READING_STEPS: Final = 4_000_000
"""The most steps for a text: a quarter of a second, up to three if most steps find a fault."""

_MOST_KNOWN: Final = 256
_MOST_NAMES: Final = 3
_OBJECTS: Final = frozenset({"dataclass-args", "dict", "model-fields", "typed-dict"})
_LISTS: Final = frozenset({"frozenset", "generator", "list", "set", "tuple"})
_SEVERAL: Final = frozenset({"chain", "union"})
# They pass a value on to their one inner schema as it is. A function before it may change it.
_SAME_VALUE: Final = {
    **dict.fromkeys(("custom-error", "dataclass", "default", "definitions", "model"), "schema"),
    **dict.fromkeys(("dataclass-field", "model-field", "typed-dict-field"), "schema"),
    **dict.fromkeys(("function-after", "nullable"), "schema"),
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
}
_PARTS: Final = ("fields", "arguments_schema", "items_schema")
_NAMES: Final = ("model_name", "dataclass_name", "cls_name")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*+"')


class Steps(NamedTuple):
    """The most steps of reading: each is the look of one schema at one value or missing field."""

    value: int
    """For each value in a text."""
    container: int
    """For each object and list, in addition: the fields that it may lack."""


def check_steps(adapter: TypeAdapter[Any], text: str) -> None:
    """Check that a JSON text can be read as a type in bounded time.

    Raises:
        InvalidValueError: See `steps_of_reading`; or it takes more than 4,000,000 steps.
    """
    steps = steps_of_reading(adapter)
    if len(text) * sum(steps) <= MAX_READING_STEPS:
        return
    text = _TEXT.sub("", text)
    containers = text.count("{") + text.count("[")
    values = 1 + containers + text.count(",")
    taken = steps.value * values + steps.container * containers
    if taken > MAX_READING_STEPS:
        raise InvalidValueError(
            "value",
            f"is too large for its type: reading it may take {taken:,} steps, and "
            f"{MAX_READING_STEPS:,} are allowed; have fewer values, fields or alternatives, or a "
            "discriminator",
        )


@lru_cache(_MOST_KNOWN)
def steps_of_reading(adapter: TypeAdapter[Any]) -> Steps:
    """Return the most steps that reading takes for each part of a text.

    Raises:
        InvalidValueError: The steps can double with each level of a text; or the type refers to
            itself for the same value, or has hundreds of levels.
        PydanticUserError: The type is not complete.
    """
    try:
        return _Type(adapter.core_schema).steps()
    except RecursionError:
        problem = "is nested too deep, or refers to itself for the same value, without end"
        raise InvalidValueError("type", problem) from None


class _Type:
    """A type, as its core schema and the definitions in it by their names."""

    def __init__(self, root: Any) -> None:  # noqa: ANN401 - a core schema, or anything in one
        self._root = root
        self._known: dict[tuple[int, ...], Steps] = {}
        self._definitions: dict[str, CoreSchema] = {}
        self._references: dict[str, set[str]] = {}
        for schema in _all_in(root):
            if "ref" in schema:
                self._definitions[schema["ref"]] = schema

    def steps(self) -> Steps:
        """See `steps_of_reading`."""
        self._refuse_doubling(self._root, None)
        for name, definition in self._definitions.items():
            self._refuse_doubling(definition, name)
        return self._steps(self._root)

    def _refuse_doubling(self, whole: CoreSchema, name: str | None) -> None:
        """Refuse a union in a definition, if two alternatives for the same value lead back to it.

        Raises:
            InvalidValueError: There is such a union.
        """
        for union in _all_in(whole):
            if name is None or union["type"] not in _SEVERAL:
                continue
            back = [each for each in self._looks(union) if name in self._names_in(each)]
            for kind in (_OBJECTS, _LISTS):
                alike = [_name_of(each) for each in back if self._may_read(each, kind)]
                if len(alike) > 1:
                    raise InvalidValueError("type", _doubling(alike))

    def _looks(self, schema: CoreSchema) -> Iterator[CoreSchema]:
        """Yield the schemas that look at the same value as a schema: alternatives, or itself."""
        kind = schema["type"]
        if kind == "definition-ref":
            yield from self._looks(self._definitions[schema["schema_ref"]])
        elif kind in _SAME_VALUE:
            yield from self._looks(schema[_SAME_VALUE[kind]])
        elif kind in _SEVERAL:
            for each in _inner(schema):
                yield from self._looks(each)
        else:
            yield schema

    def _may_read(self, schema: CoreSchema, kind: frozenset[str]) -> bool:
        """Return whether a schema may look into the parts of an object, or of a list."""
        if schema["type"] == "tagged-union":
            looks = (look for each in _inner(schema) for look in self._looks(each))
            return any(self._may_read(look, kind) for look in looks)
        return schema["type"] in kind or schema["type"] not in _OBJECTS | _LISTS

    def _names_in(self, schema: CoreSchema) -> set[str]:
        """Return the names of all definitions to which a schema leads."""
        found: set[str] = set()
        ahead = _references_in(schema)
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                if name not in self._references:
                    self._references[name] = _references_in(self._definitions[name])
                ahead |= self._references[name]
        return found

    def _steps(self, schema: CoreSchema) -> Steps:
        """Return the steps of a schema; within itself it counts with those for one value."""
        looks = list(self._looks(schema))
        node = tuple(map(id, looks))
        if node in self._known:
            return self._known[node]
        fields = [sum(len(each.get(parts, ())) for parts in _PARTS) for each in looks]
        self._known[node] = Steps(len(looks), sum(fields))
        values, containers = 0, 0
        for look, missing in zip(looks, fields, strict=True):
            parts = [self._steps(each) for each in _inner(look)]
            each_value = (part.value for part in parts)
            values += sum(each_value) if look["type"] == "dict" else max(each_value, default=1)
            containers += max([missing, *(part.container for part in parts)])
        self._known[node] = Steps(max(values, len(looks)), containers)
        return self._known[node]


def _all_in(schema: CoreSchema) -> Iterator[CoreSchema]:
    """Yield a schema and all those in it. Follows no references."""
    ahead = [schema]
    while ahead:
        each = ahead.pop()
        yield each
        ahead.extend(_inner(each))


def _inner(schema: CoreSchema) -> list[CoreSchema]:
    """Return the schemas that a schema has directly inside, for JSON."""
    if schema["type"] == "json-or-python":
        return [schema["json_schema"]]
    return [inner.schema for inner in schemas_in(schema, None)]


def _references_in(schema: CoreSchema) -> set[str]:
    return {each["schema_ref"] for each in _all_in(schema) if each["type"] == "definition-ref"}


def _doubling(names: list[str]) -> str:
    return (
        f"has a union of which {len(names)} alternatives hold the union again, "
        f"{', '.join(names[:_MOST_NAMES])}: each level of a value doubles the time to read it; "
        "give the union a discriminator (pydantic.Discriminator)"
    )


def _name_of(schema: CoreSchema) -> str:
    """Return the name of an alternative: of its class, if it has one."""
    found = (schema[key] for key in _NAMES if key in schema)
    return shown(next(found, schema["type"])).strip("'")
