"""The description of the JSON API, made of the operations' own types, as OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Any, Final

from msgspec.json import schema_components

import engine
from engine.operations import OPERATIONS, Operation
from engine.operations.operation import Arguments

_SCHEMAS: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {
    "description": "What went wrong, as RFC 9457 has it",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["title", "status", "detail"],
                "properties": {
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            }
        }
    },
}
_EVENTS_JOB: Final = {
    "name": "job_id",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Only those of this job, from its creation to its end.",
}
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The id of the last event that was received; the stream goes on behind it.",
}
_AFTER_EVENT: Final = {
    "name": "after",
    "in": "query",
    "schema": {"type": "string"},
    "description": "The same, for a client that sends no such header; the header comes first.",
}
_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "example": "wait=10",
    "description": "Wait so many seconds, 30 at most, for the end of the job.",
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "description": "A repeated request with the same key gets the same answer, and does nothing.",
}


def openapi(root: str, *, has_token: bool) -> dict[str, Any]:
    """Return the description of the API below a path.

    Args:
        root: The path of the dashboard.
        has_token: Whether a token gives access.
    """
    kinds = [operation.arguments for operation in OPERATIONS.values()]
    _, schemas = schema_components(kinds, ref_template=_SCHEMAS)
    paths = {
        f"/api/{operation.name}": _path(operation, schemas) for operation in OPERATIONS.values()
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "The operators' API of an engine", "version": engine.__version__},
        "servers": [{"url": root}],
        "paths": {**paths, "/api/events": {"get": _events()}},
        "components": {"schemas": schemas},
    }
    if has_token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _path(operation: Operation[Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    name, schema = operation.arguments.__name__, schemas[operation.arguments.__name__]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation.arguments),
        "responses": _responses("application/json"),
    }
    if operation.acts:
        content = {"application/json": {"schema": {"$ref": _SCHEMAS.format(name=name)}}}
        body = {"required": True, "content": content}
        return {"post": {**described, "parameters": [_KEY], "requestBody": body}}
    parameters = [*_parameters(schema)]
    if operation.name == "job":
        parameters.append(_PREFER)
    return {"get": {**described, "parameters": parameters}}


def _description(arguments: type[Arguments]) -> str:
    """Return what an operation's arguments mean: they say so, and those that they extend."""
    forms = arguments.__mro__[: arguments.__mro__.index(Arguments)]
    return "\n\n".join(getdoc(form) or "" for form in forms)


def _parameters(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, part in schema["properties"].items():
        given = _without_null(part)
        parameter = {"name": name, "in": "query", "required": name in schema["required"]}
        if given.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        yield {**parameter, "schema": given}


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a value that is given: what a query leaves out is null."""
    given = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return given[0] if len(given) == 1 else schema


def _events() -> dict[str, Any]:
    return {
        "operationId": "events",
        "summary": "the transitions of a job, or of all from now on, as server-sent events",
        "parameters": [_EVENTS_JOB, _LAST_EVENT, _AFTER_EVENT],
        "responses": {**_responses("text/event-stream"), "204": {"description": "It has ended"}},
    }


def _responses(kind: str) -> dict[str, Any]:
    return {"200": {"description": "The answer", "content": {kind: {}}}, "default": _PROBLEM}
