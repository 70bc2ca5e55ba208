"""JSON Schemas: count how many steps the judging of an answer takes at most, and refuse circles.

A schema is a graph. Its nodes are the subschemas. An edge leads to a subschema for the same value
(``allOf``, ``$ref``, …) or for a part of it (``properties``, ``items``, …). A circle of edges for
the same value never ends. Without one, a value costs at most the steps that `steps_of` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from engine.domain.exceptions import InvalidValueError, shown

MAX_SCHEMA_STEPS: Final = 10_000

_Schema: TypeAlias = dict[str, Any]

_DEFINITIONS: Final = {"$defs", "definitions"}
_NO_SCHEMAS: Final = {"const", "default", "enum", "examples", *_DEFINITIONS}
_OTHER_PROPERTIES: Final = {"additionalProperties", "unevaluatedProperties"}
_BY_NAME: Final = {"dependencies", "dependentSchemas", "patternProperties", "properties"}
_SAME_VALUE: Final = {
    *("$ref", "allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf"),
    "then",
}
_OTHER_REFERENCES: Final = ("$dynamicRef", "$recursiveRef")


def steps_of(schema: _Schema) -> int:
    """Return the most steps that judging takes for each value in an answer.

    A step is the look at one subschema, or at one item of a list such as ``required``. A subschema
    counts as often as references lead to it, but once where it holds itself: there the judge
    remembers its findings.

    Raises:
        InvalidValueError: There are more than 10,000 steps; or a subschema refers to itself for the
            same value; or a reference leads out of the schema, or is not ``#`` or a JSON pointer
            such as ``#/$defs/name``.
    """
    graph = _Graph(schema)
    try:
        TopologicalSorter(graph.same_value).prepare()
    except CycleError as error:
        problem = "can't be judged: a part of it refers to itself for the same value, without end"
        raise InvalidValueError("schema", problem) from error
    steps = graph.steps()
    if steps > MAX_SCHEMA_STEPS:
        raise InvalidValueError(
            "schema",
            f"can't be judged: it takes more than {MAX_SCHEMA_STEPS:,} steps for a value; "
            "have fewer alternatives and references",
        )
    return steps


def without_patterns(schema: Any, drops: Callable[[str], bool]) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without some of its patterns, so that it fits more values.

    Without a pattern for the names of properties, it also fits all other properties there.

    Args:
        schema: The schema, or a list of schemas.
        drops: Whether to leave a pattern out.
    """
    if isinstance(schema, list):
        return [without_patterns(each, drops) for each in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {key for key in ("pattern", "patternProperties") if _drops(schema.get(key), drops)}
    if "patternProperties" in dropped:
        dropped |= _OTHER_PROPERTIES
    return {
        key: _without_patterns_in(key, value, drops)
        for key, value in schema.items()
        if key not in dropped
    }


def _drops(value: object, drops: Callable[[str], bool]) -> bool:
    patterns = [value] if isinstance(value, str) else value if isinstance(value, dict) else []
    return any(map(drops, patterns))


def _without_patterns_in(keyword: str, value: Any, drops: Callable[[str], bool]) -> Any:  # noqa: ANN401
    if isinstance(value, dict) and keyword in _BY_NAME | _DEFINITIONS:
        return {name: without_patterns(each, drops) for name, each in value.items()}
    return value if keyword in _NO_SCHEMAS else without_patterns(value, drops)


class _Graph:
    """The subschemas that can be reached from the root, by their ids, and their edges."""

    def __init__(self, root: _Schema) -> None:
        self._root = root
        self.same_value: dict[int, list[int]] = {}
        self._all: dict[int, list[int]] = {}
        self._own: dict[int, int] = {}
        ahead = [root]
        while ahead:
            schema = ahead.pop()
            if id(schema) not in self._all:
                ahead.extend(self._look_at(schema))

    def steps(self) -> int:
        """Return the steps of the root. Has no recursion, which a long chain could exhaust."""
        steps: dict[int, int] = {}
        counted: set[int] = set()
        ahead = [id(self._root)]
        while ahead:
            node = ahead[-1]
            if node not in steps:
                steps[node] = 1  # for those within it, which refer back
                ahead.extend(each for each in self._all[node] if each not in steps)
                continue
            ahead.pop()
            if node not in counted:
                counted.add(node)
                steps[node] = self._own[node] + sum(steps[each] for each in self._all[node])
        return steps[id(self._root)]

    def _look_at(self, schema: _Schema) -> list[_Schema]:
        """Note a subschema, and return those that it leads to."""
        node, found = id(schema), list(self._edges(schema))
        self._all[node] = [id(each) for _, each in found]
        self.same_value[node] = [id(each) for keyword, each in found if keyword in _SAME_VALUE]
        self._own[node] = 1 + sum(
            len(value)
            for keyword, value in schema.items()
            if isinstance(value, list) and not (keyword == "enum" and _is_found_at_once(value))
        )
        return [each for _, each in found]

    def _edges(self, schema: _Schema) -> Iterator[tuple[str, _Schema]]:
        self._refuse_other_references(schema)
        for keyword, value in schema.items():
            if keyword == "$ref" and isinstance(value, str):
                target = self._target(value)
                yield from [(keyword, target)] if isinstance(target, dict) else []
            elif keyword not in _NO_SCHEMAS:
                for each in _schemas_in(keyword, value):
                    yield keyword, each

    def _refuse_other_references(self, schema: _Schema) -> None:
        for keyword in _OTHER_REFERENCES:
            if isinstance(schema.get(keyword), str):
                raise _unknown_reference(schema[keyword])
        if isinstance(schema.get("$id"), str) and schema is not self._root:
            raise _unknown_reference(schema["$id"])

    def _target(self, reference: str) -> object:
        start, *keys = unquote(reference).split("/")
        if start != "#":
            raise _unknown_reference(reference)
        target: Any = self._root
        try:
            for key in keys:
                name = key.replace("~1", "/").replace("~0", "~")
                target = target[int(name) if isinstance(target, list) else name]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise _unknown_reference(reference) from error
        return target


def _schemas_in(keyword: str, value: object) -> list[_Schema]:
    if isinstance(value, dict):
        each = list(value.values()) if keyword in _BY_NAME else [value]
    else:
        each = value if isinstance(value, list) else []
    return [schema for schema in each if isinstance(schema, dict)]


def _is_found_at_once(choices: list[Any]) -> bool:
    """Whether the judge finds a value among the choices by its hash: all are texts, or all ints."""
    kinds = {type(choice) for choice in choices}
    return kinds in ({str}, {int})


def _unknown_reference(reference: str) -> InvalidValueError:
    problem = (
        f"refers to {shown(reference)}: it may refer only to its own parts, "
        "by # or by a JSON pointer such as #/$defs/name"
    )
    return InvalidValueError("schema", problem)
