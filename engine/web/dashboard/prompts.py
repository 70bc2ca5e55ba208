"""Prompts as forms: fields for the flat objects and single values that most prompts ask for.

A text, a number, an integer, a boolean, a date or one of some values has a field of its own. Every
other form of an answer is a JSON text. The engine judges the answer by the prompt's whole schema in
either case; the form only makes it easy to give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.domain.exceptions import InvalidValueError

Schema = Mapping[str, Any]

_KINDS: Final = {"string": "text", "integer": "integer", "number": "number"}
_FORMATS: Final = {"date": "date", "email": "email", "uri": "url"}
_LIMITS: Final = {"minimum": "min", "maximum": "max", "maxLength": "maxlength"}
_MOST_FIELDS: Final = 50
_MOST_CHOICES: Final = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that a field may have."""

    text: str
    """The value as JSON, as the form sends it."""
    label: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form.

    Attributes:
        place: Its name in the form.
        name: Its name in the answer; None if it is the whole answer.
        kind: ``choice``, ``json``, ``integer``, ``number``, or a type of HTML's input for texts.
        label: What to show beside it.
        note: What it is about.
        is_required: Whether the answer needs it.
        is_nullable: Whether it may be null, which an empty field then means.
        choices: The values that it may have.
        limits: Attributes of HTML's input.
        default: What stands in it at first.
    """

    place: str
    name: str | None
    kind: str
    label: str
    note: str = ""
    is_required: bool = True
    is_nullable: bool = False
    choices: Sequence[Choice] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    default: str = ""

    def value(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value that somebody has put in.

        Raises:
            InvalidValueError: It is none of this kind.
        """
        if self.kind in {"integer", "number", "json", "choice"}:
            return self._json_value(text)
        return text

    def _json_value(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            what = {"integer": "a whole number", "number": "a number"}.get(self.kind, "JSON")
            why = f": {error}" if self.kind == "json" and isinstance(error, ValueError) else ""
            raise InvalidValueError(self.label, f"must be {what}{why}") from None
        if self.kind == "integer" and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidValueError(self.label, "must be a whole number")
        if self.kind == "number" and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise InvalidValueError(self.label, "must be a number")
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def fields_of(schema: Schema) -> Sequence[Field]:
    """Return the fields for the answers that a JSON Schema admits."""
    root = _resolved(schema, schema)
    if root is not None and root.get("type") == "object" and "properties" in root:
        return _fields_of_object(root, schema) or [_json_field()]
    one = None if root is None else _field("0", None, root, schema, is_required=True)
    return [one or _json_field()]


def _json_field() -> Field:
    return Field("0", None, "json", "answer", "a JSON value that fits the schema below")


def _fields_of_object(schema: Schema, root: Schema) -> Sequence[Field] | None:
    """Return a field for each property; None if one of them has no field."""
    properties = schema["properties"]
    if not isinstance(properties, dict) or not 0 < len(properties) <= _MOST_FIELDS:
        return None
    required, found = schema.get("required", []), list[Field]()
    for number, (name, part) in enumerate(properties.items()):
        made = _field(str(number), name, part, root, is_required=name in required)
        if made is None:
            return None
        found.append(made)
    return found


def _field(
    place: str, name: str | None, given: object, root: Schema, *, is_required: bool
) -> Field | None:
    schema, is_nullable = _without_null(given, root)
    if schema is None:
        return None
    choices = _choices(schema)
    kind = "choice" if choices else _kind(schema)
    if kind is None:
        return None
    about = given if isinstance(given, dict) else {}
    default = about.get("default")
    return Field(
        place,
        name,
        kind,
        label=str(about.get("title") or schema.get("title") or name or "answer"),
        note=str(about.get("description") or schema.get("description") or ""),
        is_required=is_required,
        is_nullable=is_nullable,
        choices=choices,
        limits={html: schema[key] for key, html in _LIMITS.items() if _is_number(schema.get(key))},
        default="" if default is None else _text_of(default, kind),
    )


def _text_of(value: object, kind: str) -> str:
    return value if isinstance(value, str) and kind != "choice" else json.dumps(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(schema: Schema) -> str | None:
    of_type = schema.get("type")
    kind = _KINDS.get(of_type) if isinstance(of_type, str) else None
    form = schema.get("format")
    return _FORMATS.get(form, kind) if kind == "text" and isinstance(form, str) else kind


def _choices(schema: Schema) -> Sequence[Choice]:
    if schema.get("type") == "boolean":
        return (Choice("true", "yes"), Choice("false", "no"))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or len(values) > _MOST_CHOICES:
        return ()
    return [
        Choice(json.dumps(each), each if isinstance(each, str) else json.dumps(each))
        for each in values
    ]


def _without_null(given: object, root: Schema) -> tuple[Schema | None, bool]:
    """Return the schema of a value that is not null, and whether null is admitted besides."""
    schema = _resolved(given, root)
    if schema is None:
        return None, False
    options = schema.get("anyOf", schema.get("oneOf"))
    if not isinstance(options, list):
        return schema, False
    others = [each for each in options if each != {"type": "null"}]
    return (_resolved(others[0], root) if len(others) == 1 else None), len(others) < len(options)


def _resolved(given: object, root: Schema) -> Schema | None:
    """Return a schema, or the one that it refers to in the definitions beside it."""
    if not isinstance(given, Mapping):
        return None
    target = given.get("$ref")
    if target is None:
        return given
    for part in ("$defs", "definitions"):
        definitions, begin = root.get(part), f"#/{part}/"
        if isinstance(target, str) and target.startswith(begin) and isinstance(definitions, dict):
            found = definitions.get(target.removeprefix(begin))
            return found if isinstance(found, dict) and "$ref" not in found else None
    return None


def answer_of(fields: Sequence[Field], given: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """Return the answer that somebody has put into the fields.

    Raises:
        InvalidValueError: A field has no value of its kind.
    """
    if [each.name for each in fields] == [None]:
        return fields[0].value(given.get(f"field.{fields[0].place}", ""))
    answer = dict[str, Any]()
    for each in fields:
        text = given.get(f"field.{each.place}", "")
        if text or (each.is_required and not each.is_nullable):
            answer[str(each.name)] = each.value(text)
        elif each.is_required:
            answer[str(each.name)] = None
    return answer
