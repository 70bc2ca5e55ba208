"""Prompts: store a handler's question, and check that an answer fits it.

A job stores its prompt as JSON: its id, its name, the question and a JSON Schema. So any process
can check an answer, even without the handler's classes. `engine.owner.judge` does the check. It
refuses a schema that it can't judge by when the handler asks, not when somebody answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import (
    DataclassArgsSchema,
    DecimalSchema,
    ModelFieldsSchema,
    TypedDictSchema,
)

from engine.domain.core_schemas import name_in_json
from engine.domain.exceptions import InvalidValueError, StalePromptError, shown
from engine.domain.json_text import json_text
from engine.domain.models import Job
from engine.domain.reading_steps import steps_of_reading
from engine.domain.validation import (
    MAX_ANSWER_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    check_optional_text,
    check_text,
)
from engine.owner.judge import Judge

Schema: TypeAlias = type[BaseModel] | dict[str, Any] | Any
"""A pydantic model, any type that pydantic knows, or a JSON Schema as a dict."""

MAX_QUESTION_CHARACTERS: Final = 65_536
MAX_REFUSAL_CHARACTERS: Final = 1_024
_SCHEMA_CHARACTERS: Final = 200

_Fields: TypeAlias = ModelFieldsSchema | DataclassArgsSchema | TypedDictSchema


def prompt_text(
    prompt_id: str, schema: Schema, name: str, question: str | None, refusal: str | None = None
) -> str:
    """Return a prompt in its stored form.

    Raises:
        InvalidValueError: ``schema`` is no schema, is too large or can't judge answers, or another
            argument has the wrong type or size.
        RuntimeError: The package `jsonschema-rs` is not installed.
    """
    check_text("name", name, MAX_IDENTIFIER_CHARACTERS)
    check_optional_text("question", question, MAX_QUESTION_CHARACTERS)
    check_optional_text("refusal", refusal, MAX_REFUSAL_CHARACTERS)
    fields = {
        "prompt_id": prompt_id,
        "name": name,
        "question": question,
        "json_schema": json_schema_of(schema),
        "refusal": refusal,
    }
    text = json_text("schema", fields, MAX_ANSWER_CHARACTERS)
    Judge(json.loads(text)["json_schema"])  # as it will be kept
    return text


def json_schema_of(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema of a type, or the JSON Schema itself.

    Raises:
        InvalidValueError: The schema is neither a type that pydantic knows nor a dict, or the type
            can take too long to read.
    """
    if isinstance(schema, dict):
        return schema
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(schema)
        made = adapter.json_schema(by_alias=True, schema_generator=_Generator)
    except Exception as error:
        problem = (
            f"must be a pydantic model or a JSON Schema, not {shown(schema)}: {shown(str(error))}"
        )
        raise InvalidValueError("schema", problem) from error
    try:
        steps_of_reading(adapter)
    except InvalidValueError as error:
        raise InvalidValueError("schema", error.problem) from None
    return made


def check_answer(job: Job[Any], prompt_id: str, value: str) -> None:
    """Check that an answer, given as JSON, fits a job's prompt.

    Raises:
        StalePromptError: The job waits for an answer to another prompt, or to none.
        InvalidValueError: The answer doesn't fit; the message shows the beginning of the schema.
        RuntimeError: The package `jsonschema-rs` is not installed.
    """
    prompt = job.prompt
    if prompt is None or prompt.prompt_id != prompt_id:
        current = None if prompt is None else prompt.prompt_id
        raise StalePromptError(job.job_id, prompt_id, current)
    if not Judge.of_kept(prompt.json_schema).accepts(value):
        wanted = json.dumps(prompt.json_schema, ensure_ascii=False)
        if len(wanted) > _SCHEMA_CHARACTERS:
            wanted = f"{wanted[:_SCHEMA_CHARACTERS]}…"
        raise InvalidValueError("value", f"doesn't fit the prompt's JSON Schema: {wanted}")


class _Generator(GenerateJsonSchema):
    """Makes the schemas of types.

    A field may be dumped by another name than the one by which it is asked for, such as one with a
    ``validation_alias`` alone. Then both names fit, if it is read by both.
    """

    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:
        """Leave the pattern out: that of pydantic before 2.14 looks ahead."""
        made = super().decimal_schema(schema)
        for each in made["anyOf"]:
            each.pop("pattern", None)
        return made

    def model_fields_schema(self, schema: ModelFieldsSchema) -> JsonSchemaValue:
        """Let the names of the dump fit, too."""
        return _by_both_names(super().model_fields_schema, schema)

    def dataclass_args_schema(self, schema: DataclassArgsSchema) -> JsonSchemaValue:
        """Let the names of the dump fit, too."""
        return _by_both_names(super().dataclass_args_schema, schema)

    def typed_dict_schema(self, schema: TypedDictSchema) -> JsonSchemaValue:
        """Let the names of the dump fit, too."""
        return _by_both_names(super().typed_dict_schema, schema)


def _by_both_names(make: Callable[[Any], JsonSchemaValue], schema: _Fields) -> JsonSchemaValue:
    """Return a JSON Schema for fields that fits the names to ask for, and those of the dump."""
    asked, dumped = make(schema), make(_as_dumped(schema))
    properties = asked["properties"] | dumped["properties"] | asked["properties"]
    if len(properties) == len(asked["properties"]):
        return asked
    made = asked | {"properties": properties}
    if "required" in made:
        required = [made.pop("required"), dumped["required"]]
        made["anyOf"] = [{"required": names} for names in required]
    return made


def _as_dumped(schema: _Fields) -> dict[str, Any]:
    """Return a schema that asks for its fields by the names of the dump."""

    def renamed(name: str, field: Any) -> Any:  # noqa: ANN401 - a part of the schema
        in_json = name_in_json(field, name)
        return field if in_json is None else {**field, "validation_alias": in_json}

    fields: Any = schema["fields"]
    if isinstance(fields, list):
        return {**schema, "fields": [renamed(each["name"], each) for each in fields]}
    return {**schema, "fields": {name: renamed(name, field) for name, field in fields.items()}}
