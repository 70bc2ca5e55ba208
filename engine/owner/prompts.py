"""Prompts: what a handler asks for, and whether an answer fits.

A prompt is kept with its job as JSON: its id, its name, the question and a JSON Schema. So an
answer can be judged by any process, also by one that doesn't have the handler's classes. JSON
Schema is judged by the package `jsonschema`, which the extra ``engine[input]`` brings.
"""

from __future__ import annotations

import json
from importlib import import_module
from itertools import islice
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, TypeAdapter

from engine.domain.exceptions import InvalidValueError, StalePromptError, shown
from engine.domain.json_text import json_text
from engine.domain.models import Job
from engine.domain.validation import MAX_ANSWER_CHARACTERS, MAX_IDENTIFIER_CHARACTERS, check_text

Schema: TypeAlias = type[BaseModel] | dict[str, Any] | Any
"""A pydantic model, any type that pydantic knows, or a JSON Schema as a dict."""

MAX_QUESTION_CHARACTERS: Final = 65_536
_MOST_ERRORS: Final = 20  # of so many the worst is told; to find all may take seconds


def prompt_text(prompt_id: str, schema: Schema, name: str, question: str | None) -> str:
    """Return a prompt as it is kept.

    Raises:
        InvalidValueError: The schema is none, or too large; or the name or question is not right.
        RuntimeError: The package `jsonschema` is not installed.
    """
    _jsonschema()  # or else it would be asked what nobody can answer
    check_text("name", name, MAX_IDENTIFIER_CHARACTERS)
    if question is not None:
        check_text("question", question, MAX_QUESTION_CHARACTERS)
    fields = {
        "prompt_id": prompt_id,
        "name": name,
        "question": question,
        "json_schema": json_schema_of(schema),
    }
    return json_text("schema", fields, MAX_ANSWER_CHARACTERS)


def json_schema_of(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema that stands for a type, or the one that it is.

    Raises:
        InvalidValueError: It is neither a type that pydantic knows nor a JSON Schema.
    """
    if not isinstance(schema, dict):
        try:
            return TypeAdapter(schema).json_schema()
        except Exception as error:
            problem = f"must be a pydantic model or a JSON Schema, not {shown(schema)}: {error}"
            raise InvalidValueError("schema", problem) from error
    judge = _jsonschema()
    try:
        judge.validators.validator_for(schema, judge.Draft202012Validator).check_schema(schema)
    except judge.SchemaError as error:
        raise InvalidValueError("schema", f"is no JSON Schema: {error.message}") from error
    return schema


def check_answer(job: Job[Any], prompt_id: str, value: str) -> None:
    """Check that an answer, given as JSON, fits what a job asks for.

    Raises:
        StalePromptError: The job asks for something else, or for nothing.
        InvalidValueError: It doesn't fit; the message says where.
        RuntimeError: The package `jsonschema` is not installed.
    """
    prompt = job.prompt
    if prompt is None or prompt.prompt_id != prompt_id:
        current = None if prompt is None else prompt.prompt_id
        raise StalePromptError(job.job_id, prompt_id, current)
    judge = _jsonschema()
    schema = prompt.json_schema
    # With a registry of its own it knows the schema alone, and fetches nothing.
    registry = import_module("referencing").Registry()
    kind = judge.validators.validator_for(schema, judge.Draft202012Validator)
    try:
        found = kind(schema, registry=registry).iter_errors(json.loads(value))
        errors = list(islice(found, _MOST_ERRORS))
    except import_module("referencing.exceptions").Unresolvable as error:
        raise InvalidValueError("value", f"can't be judged by its schema: {error}") from error
    worst = judge.exceptions.best_match(errors)
    if worst is not None:
        raise InvalidValueError("value", f"doesn't fit at {worst.json_path}: {worst.message}")


def _jsonschema() -> Any:  # noqa: ANN401 - a module that need not be installed
    try:
        return import_module("jsonschema")
    except ImportError as error:
        raise RuntimeError(
            "answers are judged by the package jsonschema: pip install 'engine[input]'"
        ) from error
