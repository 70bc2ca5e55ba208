"""Prompts: store a handler's question, and check that an answer fits it.

A job stores its prompt as JSON: its id, its name, the question and a JSON Schema. So any process
can check an answer, even without the handler's classes. The package `jsonschema` does the check;
the extra ``engine[input]`` installs it.
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
# Report the worst of the first 20 errors; finding all may take seconds.
_MOST_ERRORS: Final = 20


def prompt_text(prompt_id: str, schema: Schema, name: str, question: str | None) -> str:
    """Return a prompt in its stored form.

    Raises:
        InvalidValueError: The schema is no schema or too large, or the name or the question is of
            the wrong type or size.
        RuntimeError: The package `jsonschema` is not installed.
    """
    _jsonschema()  # fails if it is missing: no one could answer the prompt
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
    """Return the JSON Schema of a type, or the JSON Schema itself.

    Raises:
        InvalidValueError: The schema is neither a type that pydantic knows nor a JSON Schema.
    """
    if not isinstance(schema, dict):
        try:
            return TypeAdapter(schema).json_schema()
        except Exception as error:
            problem = f"must be a pydantic model or a JSON Schema, not {shown(schema)}: {error}"
            raise InvalidValueError("schema", problem) from error
    jsonschema = _jsonschema()
    default = jsonschema.Draft202012Validator
    try:
        jsonschema.validators.validator_for(schema, default).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidValueError("schema", f"is no JSON Schema: {error.message}") from error
    return schema


def check_answer(job: Job[Any], prompt_id: str, value: str) -> None:
    """Check that an answer, given as JSON, fits a job's prompt.

    Raises:
        StalePromptError: The job waits for an answer to another prompt, or to none.
        InvalidValueError: The answer doesn't fit; the message says where.
        RuntimeError: The package `jsonschema` is not installed.
    """
    prompt = job.prompt
    if prompt is None or prompt.prompt_id != prompt_id:
        current = None if prompt is None else prompt.prompt_id
        raise StalePromptError(job.job_id, prompt_id, current)
    jsonschema = _jsonschema()
    schema = prompt.json_schema
    # An empty registry: the validator knows this schema alone, and fetches no other.
    registry = import_module("referencing").Registry()
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        found = validator(schema, registry=registry).iter_errors(json.loads(value))
        errors = list(islice(found, _MOST_ERRORS))
    except import_module("referencing.exceptions").Unresolvable as error:
        raise InvalidValueError("value", f"can't be checked by its schema: {error}") from error
    worst = jsonschema.exceptions.best_match(errors)
    if worst is not None:
        raise InvalidValueError("value", f"doesn't fit at {worst.json_path}: {worst.message}")


def _jsonschema() -> Any:  # noqa: ANN401 - a module that need not be installed
    try:
        return import_module("jsonschema")
    except ImportError as error:
        raise RuntimeError(
            "answers are checked by the package jsonschema: pip install 'engine[input]'"
        ) from error
