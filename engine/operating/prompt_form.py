"""Prompt forms: a prompt's JSON Schema as fields that a person fills in one by one.

Most prompts ask for a flat object of texts, numbers, choices and dates, or for one of these. Their
forms know how a text that somebody types becomes a value, and say why another one can't. A schema
with anything else has no form: then the whole answer is typed as JSON. So has one that asks for
more than each field by itself, such as for one of two, or for a property that it doesn't describe:
its form would lead to no answer that fits, or not to all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from engine.domain.exceptions import InvalidValueError, alternatives, shown
from engine.owner.judge import Judge

MAX_FIELDS: Final = 100
_TYPES: Final = {"string": "text", "number": "number", "integer": "integer", "boolean": "boolean"}
_FORMATS: Final = {"date": "date", "date-time": "time"}
_LIMITS: Final = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "{} or more characters",
    "maxLength": "{} or fewer characters",
    "pattern": "the form {}",
    "multipleOf": "a multiple of {}",
}
_EXPECTED: Final = {
    "text": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "yes or no",
    "date": "a date such as 2026-11-22",
    "time": "a date, time and zone such as 2026-11-22T13:00:00Z",
}
_YES_OR_NO: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_SHARED: Final = ("$defs", "definitions")
_OF_ONE_VALUE: Final = ("allOf", "if", "not")
"""Keywords by which another schema judges the same value, but for alternatives."""
_OF_OBJECTS: Final = (
    *("anyOf", "oneOf", "const", "enum", "dependencies", "dependentRequired", "dependentSchemas"),
    *("maxProperties", "minProperties", "patternProperties", "propertyNames"),
    "unevaluatedProperties",
)
"""Keywords of an object that don't speak of one of its properties."""
_NO_LIMITS: Final = ("title", "description", "default", "examples", *_SHARED)
"""Keywords that admit and refuse nothing."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a form.

    Attributes:
        name: The name of the value in the answer; empty for an answer that is one value.
        title: What the schema calls it.
        sort: ``text``, ``number``, ``integer``, ``boolean``, ``choice``, ``date`` or ``time``.
        schema: The schema of the value, complete in itself.
        limits: That which has the value's limits: the same, or its alternative to null.
        choices: The values, of a choice.
        is_required: Whether an answer needs it.
        may_be_null: Whether null is a value of it.
    """

    name: str
    title: str
    sort: str
    schema: Mapping[str, Any]
    limits: Mapping[str, Any]
    choices: Sequence[Any] = ()
    is_required: bool = True
    may_be_null: bool = False

    @property
    def expected(self) -> str:
        """What it takes, for people: such as ``a whole number, 1 or more``."""
        if self.sort == "choice":
            return alternatives([*map(text_of, self.choices)])
        limits = [
            words.format(self.limits[name])
            for name, words in _LIMITS.items()
            if isinstance(self.limits.get(name), int | float | str)
        ]
        return ", ".join([_EXPECTED[self.sort], *limits])

    def value(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value that a text says.

        Raises:
            InvalidValueError: It says none that fits.
            RuntimeError: The package `jsonschema-rs` is not installed.
        """
        value = self.read(text)
        if not Judge.of_kept(dict(self.schema)).accepts(json.dumps(value)):
            raise self._refused(text)
        return value

    def read(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value that a text says, whether it keeps the limits or not.

        Raises:
            InvalidValueError: It says none of this sort.
        """
        value = self._read(text)
        if value is _NO_VALUE:
            raise self._refused(text)
        return value

    def _refused(self, text: str) -> InvalidValueError:
        return InvalidValueError(
            self.name or "value", f"must be {self.expected}, not {shown(text)}"
        )

    def _read(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        if self.may_be_null and not text:
            return None
        if self.sort == "choice":
            chosen = [each for each in self.choices if text_of(each) == text]
            return chosen[0] if chosen else _NO_VALUE
        try:
            return _READERS[self.sort](text)
        except (ValueError, KeyError):
            return _NO_VALUE


_NO_VALUE: Final = object()


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdecimal() else value


def _date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _time(text: str) -> str:
    at = datetime.fromisoformat(text)
    zone = at.utcoffset()
    if zone is None or zone % timedelta(minutes=1):  # such as a date alone; RFC 3339, section 5.6
        raise ValueError(text)
    return at.isoformat()


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": str,
    "number": _number,
    "integer": int,
    "boolean": lambda text: _YES_OR_NO[text.lower()],
    "date": _date,
    "time": _time,
}


def text_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a choice as it is shown and typed."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, kw_only=True)
class Form:
    """The fields of a prompt.

    Attributes:
        fields: In the order of the schema.
        is_object: Whether the answer is an object of them, and not the value of the only one.
    """

    fields: Sequence[Field]
    is_object: bool

    def answer(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        """Return the answer with these values, by name; what is left out has none."""
        return dict(values) if self.is_object else values[self.fields[0].name]


def form_of(schema: Mapping[str, Any]) -> Form | None:
    """Return the form of a prompt's schema; None if it asks for anything else than flat values."""
    shared = {name: schema[name] for name in _SHARED if name in schema}
    whole = _resolved(schema, shared)
    properties = whole.get("properties")
    if whole.get("type") != "object" or not isinstance(properties, dict):
        only = _field("", schema, shared, is_required=True)
        return None if only is None else Form(fields=[only], is_object=False)
    needed = whole.get("required", [])
    if not isinstance(needed, list):
        needed = []
    if not 1 <= len(properties) <= MAX_FIELDS or not _is_flat_object(whole, properties, needed):
        return None
    fields = [
        _field(name, each, shared, is_required=name in needed) for name, each in properties.items()
    ]
    known = [each for each in fields if each is not None]
    return Form(fields=known, is_object=True) if len(known) == len(fields) else None


def _is_flat_object(
    schema: Mapping[str, Any], properties: Collection[str], needed: Collection[object]
) -> bool:
    """Return whether an object fits as soon as each of its properties does."""
    others = schema.get("additionalProperties")
    return (
        not any(name in schema for name in (*_OF_ONE_VALUE, *_OF_OBJECTS))
        and (not others or others is True)
        and all(isinstance(name, str) and name in properties for name in needed)
    )


def _field(name: str, schema: Any, shared: Mapping[str, Any], *, is_required: bool) -> Field | None:  # noqa: ANN401 - of another's JSON
    own = _resolved(schema, shared)
    inner, may_be_null = _without_null(own, shared)
    if any(name in each for each in (own, inner) for name in _OF_ONE_VALUE):
        return None
    choices = inner.get("enum")
    if "const" in inner:
        choices = [inner["const"]]
    if isinstance(choices, list) and None in choices:
        choices, may_be_null = [each for each in choices if each is not None], True
    if isinstance(choices, list) and choices and all(map(_is_flat, choices)):
        sort = "choice"
    else:
        choices, kind = (), inner.get("type")
        sort = _TYPES.get(kind, "") if isinstance(kind, str) else ""
        if sort == "text" and isinstance(inner.get("format"), str):
            sort = _FORMATS.get(inner["format"], sort)
    if not sort:
        return None
    title = own.get("title", inner.get("title"))
    return Field(
        name=name,
        title=title if isinstance(title, str) and title else name or "value",
        sort=sort,
        schema={**shared, **own},
        limits=inner,
        choices=choices,
        is_required=is_required,
        may_be_null=may_be_null,
    )


def _is_flat(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _resolved(schema: Any, shared: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401 - of another's JSON
    """Return a schema, or the one that it refers to, in the same document."""
    if not isinstance(schema, dict):
        return {}
    where = schema.get("$ref")
    if not isinstance(where, str):
        return schema
    _, _, path = where.partition("#/")
    group, _, name = path.partition("/")
    found = shared.get(group, {}).get(name) if isinstance(shared.get(group), dict) else None
    if not isinstance(found, dict) or "$ref" in found:
        return {}
    has_two = any(name in schema for name in found if name not in _NO_LIMITS)  # and both count
    return {} if has_two else {**found, **schema}


def _without_null(
    schema: Mapping[str, Any], shared: Mapping[str, Any]
) -> tuple[Mapping[str, Any], bool]:
    """Return a schema without its alternative null, and whether it has that."""
    ways = schema.get("anyOf", schema.get("oneOf"))
    if not isinstance(ways, list):
        return schema, False
    others = [way for way in ways if way != {"type": "null"}]
    has_more = any(name not in {"anyOf", "oneOf", *_NO_LIMITS} for name in schema)
    if has_more or len(others) != 1 or len(others) == len(ways):
        return {}, False
    return _resolved(others[0], shared), True
