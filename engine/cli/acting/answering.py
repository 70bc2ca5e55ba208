"""Answering: the answer to a prompt, from the arguments or from questions on the terminal."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any, Final

from engine.cli.console import Console
from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.json_text import json_text
from engine.domain.models import Prompt
from engine.domain.validation import MAX_ANSWER_CHARACTERS
from engine.operating.prompt_form import Field, Form, form_of
from engine.owner.judge import Judge

_INDENT: Final = "  "


def given_answer(arguments: Namespace, prompt: Prompt) -> Any:  # noqa: ANN401 - any JSON value
    """Return the answer that the arguments give.

    Raises:
        InvalidValueError: It doesn't fit.
        RuntimeError: The package `jsonschema-rs` is not installed.
    """
    if arguments.value is not None:
        return _checked(arguments.value, prompt)
    form = form_of(prompt.json_schema)
    if form is None or not form.is_object:
        raise InvalidValueError(
            "NAME=VALUE", "fits no part of this prompt: give the answer by --value JSON"
        )
    by_name = {field.name: field for field in form.fields}
    values = dict[str, Any]()
    for name, text in arguments.parts:
        if name not in by_name:
            raise InvalidValueError(name, f"is not asked for: {', '.join(by_name)}")
        if name in values:
            raise InvalidValueError(name, "is given twice: give it once")
        values[name] = by_name[name].value(text)
    return _checked(json.dumps(form.answer(values)), prompt)


def asked_answer(prompt: Prompt, console: Console) -> Any:  # noqa: ANN401 - any JSON value
    """Ask for the answer on the terminal, field by field; again for each that doesn't fit.

    Raises:
        EOFError: The terminal's input has ended.
        RuntimeError: The package `jsonschema-rs` is not installed.
    """
    write_prompt(prompt, console)
    form = form_of(prompt.json_schema)
    while True:
        try:
            if form is None:
                schema = json.dumps(prompt.json_schema, ensure_ascii=False)
                console.note(f"{_INDENT}one line of JSON, by the schema {schema}")
                return _checked(_line(console, "JSON"), prompt)
            return _checked(json.dumps(_filled_in(form, console)), prompt)
        except InvalidValueError as error:
            console.note(f"{_INDENT}{error}")


def write_prompt(prompt: Prompt, console: Console) -> None:
    """Write what a prompt asks, and why an earlier answer was refused."""
    for line in (prompt.question or prompt.name).splitlines():
        console.note(line)
    if prompt.refusal is not None:
        console.note(f"the answer before was refused: {prompt.refusal}")


def _filled_in(form: Form, console: Console) -> Any:  # noqa: ANN401 - any JSON value
    values = dict[str, Any]()
    for field in form.fields:
        text, value = _asked(field, console)
        if text or field.is_required:
            values[field.name] = value
    return form.answer(values)


def _asked(field: Field, console: Console) -> tuple[str, Any]:
    """Ask for one field until the text fits, or is left out; return the text and the value."""
    title = field.title
    more = "" if field.is_required and not field.may_be_null else "; empty for none"
    while True:
        text = _line(console, f"{title} ({field.expected}{more})")
        if not text and not field.is_required:
            return text, None
        try:
            return text, field.value(text)
        except InvalidValueError as error:
            console.note(f"{_INDENT}{error}")


def _line(console: Console, title: str) -> str:
    line = console.ask(f"{title}: ")
    if line is None:
        raise EOFError
    return line.strip()


def _checked(text: str, prompt: Prompt) -> Any:  # noqa: ANN401 - any JSON value
    """Return the answer in a JSON text, if it fits.

    Raises:
        InvalidValueError: It doesn't, or the text is no JSON that an engine keeps.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidValueError("value", f"must be JSON, not {shown(text)}") from None
    json_text("value", value, MAX_ANSWER_CHARACTERS)
    if not Judge.of_kept(prompt.json_schema).accepts(text):
        raise InvalidValueError("value", f"doesn't fit what is asked for: {_wanted(prompt)}")
    return value


_SHOWN: Final = 200


def _wanted(prompt: Prompt) -> str:
    form = form_of(prompt.json_schema)
    if form is None or not form.is_object:
        return json.dumps(prompt.json_schema, ensure_ascii=False)[:_SHOWN]
    return "; ".join(
        f"{field.name}: {field.expected}{'' if field.is_required else ', or nothing'}"
        for field in form.fields
    )
