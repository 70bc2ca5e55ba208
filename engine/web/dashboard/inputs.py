"""Inputs: the form of a prompt as HTML has it, and the answer that somebody puts into it.

`engine.operating.prompt_form` says which fields there are. A prompt that has no such form gets one
field for the whole answer, as JSON. The engine judges the answer by the whole schema in either
case; the inputs only make it easy to give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.json_values import check_values
from engine.operating.prompt_form import Field, form_of, text_of

_TYPES: Final = {"integer": "number", "number": "number", "date": "date"}
_TEXT_TYPES: Final = {"email": "email", "uri": "url"}
_LIMITS: Final = {"minimum": "min", "maximum": "max", "maxLength": "maxlength"}


class Choice(NamedTuple):
    """One of the values that an input may have."""

    text: str
    """As the form sends it."""
    label: str


_YES_OR_NO: Final = (Choice("yes", "yes"), Choice("no", "no"))


class Input(NamedTuple):
    """An input of a form."""

    place: str
    """Its name in the form."""
    field: Field | None
    """None for the whole answer as JSON."""

    @property
    def type(self) -> str:
        """``select``, ``json``, or a type of HTML's input."""
        if self.field is None:
            return "json"
        if self.field.sort in {"choice", "boolean"}:
            return "select"
        if self.field.sort == "text":
            return _TEXT_TYPES.get(str(self.field.limits.get("format")), "text")
        return _TYPES.get(self.field.sort, "text")

    @property
    def label(self) -> str:
        """What stands beside it."""
        return "answer" if self.field is None else self.field.title

    @property
    def note(self) -> str:
        """What it is about."""
        if self.field is None:
            return "a JSON value that fits the schema below"
        about = self.field.schema.get("description") or self.field.limits.get("description")
        return about if isinstance(about, str) else ""

    @property
    def must_be_filled(self) -> bool:
        """Whether it may not be empty."""
        return self.field is None or (self.field.is_required and not self.field.may_be_null)

    @property
    def choices(self) -> Sequence[Choice]:
        """The values that it may have, of a ``select``."""
        if self.field is None or self.field.sort == "boolean":
            return _YES_OR_NO
        return [Choice(json.dumps(each), text_of(each)) for each in self.field.choices]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of HTML's input: limits, and of numbers the step."""
        if self.field is None:
            return {}
        limits = self.field.limits
        found = {html: limits[name] for name, html in _LIMITS.items() if _is_number(limits, name)}
        return {**found, "step": "any"} if self.field.sort == "number" else found

    @property
    def default(self) -> str:
        """What stands in it at first."""
        value = None if self.field is None else self.field.schema.get("default")
        if value is None or self.field is None:
            return ""
        if self.field.sort == "boolean":
            return "yes" if value is True else "no"
        return json.dumps(value) if self.field.sort == "choice" else text_of(value)

    def read(self, text: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value that somebody has put in.

        Raises:
            InvalidValueError: It is none of this input.
        """
        if self.field is None:
            return _json_value(text)
        for choice in self.field.choices:
            if json.dumps(choice) == text:
                return choice
        try:
            return self.field.read(text)
        except InvalidValueError as error:  # which names it as the schema does
            raise InvalidValueError(self.label, error.problem) from None


def _is_number(limits: Mapping[str, Any], name: str) -> bool:
    value = limits.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    check_values("answer", text.encode("utf-8", "replace"))
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = f": {error}" if isinstance(error, ValueError) else ""
        raise InvalidValueError("answer", f"must be JSON, not {shown(text)}{why}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def inputs_of(schema: Mapping[str, Any]) -> Sequence[Input]:
    """Return the inputs for the answers that the JSON Schema of a prompt admits."""
    form = form_of(schema)
    if form is None:
        return [Input("0", None)]
    return [Input(str(number), field) for number, field in enumerate(form.fields)]


def answer_of(schema: Mapping[str, Any], given: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """Return the answer that somebody has put into the inputs of a schema.

    Raises:
        InvalidValueError: An input has no value of its kind.
    """
    form, values = form_of(schema), dict[str, Any]()
    for each in inputs_of(schema):
        text = given.get(f"field.{each.place}", "")
        if form is None or each.field is None:
            return each.read(text)
        if text or each.field.is_required:
            values[each.field.name] = each.read(text)
    return None if form is None else form.answer(values)
