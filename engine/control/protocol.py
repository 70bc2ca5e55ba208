"""The protocol of the control socket, version 1: lines of JSON, each of which ends with a newline.

The server begins, and says who it is. Its client sends requests, up to eight at a time, and each
gets one answer, in any order. Texts are UTF-8::

    ◀ {"protocol": 1, "engine": "0.1.0", "place": "/srv/jobs.db", "process": 4711}
    ▶ {"id": 1, "operation": "retry", "arguments": {"job_id": "0198…"}}
    ◀ {"id": 1, "answer": {"job_id": "0198…", "status": "running", …}}
    ▶ {"id": 2, "operation": "cancel", "arguments": {"job_id": "none"}}
    ◀ {"id": 2, "error": {"name": "JobNotFoundError", "text": "no job has …", "attributes": {…}}}

A request may also say for whom it is, by ``"for_whom": "eve"``. Its acts are then made by ``user
ann (uid 1000, pid 7) for eve``: the first name is the system's word, the second the client's.

The operations are those of `engine.operations`. An error has the name of one of
`engine.domain.exceptions`, its text, and its attributes as far as they are JSON. One whose id is
null is about no request: the server is full, or a line was no request, and it takes no more. The
server closes a connection that has been idle for a minute. A client may close its side for writing
and read on. When no more requests can come, those at work end within 5 s, or are cut.

A request has up to 5 MiB, with the longest result in it, and up to 131,072 JSON values, as the
longest answer to a prompt; an answer up to 128 MiB, with the longest page. A client that finds
another number than 1 as the protocol speaks to an engine of another version, and hangs up. New
fields of the first line, of errors and of answers don't change it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct, ValidationError, convert, field
from pydantic_core import from_json

from engine.domain import exceptions
from engine.domain.exceptions import EngineError, InvalidValueError, message_of
from engine.domain.json_values import check_values
from engine.domain.outcomes import Outcome
from engine.domain.validation import MAX_READ_CHARACTERS, MAX_RESULT_CHARACTERS

Form = TypeVar("Form", bound=Struct)

PROTOCOL: Final = 1
MAX_AT_WORK: Final = 8
MAX_REQUEST_BYTES: Final = 2**20 + 4 * MAX_RESULT_CHARACTERS
MAX_ANSWER_BYTES: Final = 8 * MAX_READ_CHARACTERS
MAX_HELLO_BYTES: Final = 2**16

_ERRORS: Final = {
    name: kind
    for name, kind in vars(exceptions).items()
    if isinstance(kind, type) and issubclass(kind, EngineError)
}
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Hello(Struct, frozen=True):
    """The first line of a connection.

    Attributes:
        protocol: The protocol's version.
        engine: The engine's version.
        place: The path of the file that it has.
        process: Its process id.
    """

    protocol: int
    engine: str
    place: str
    process: int


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for an operation.

    Attributes:
        id: Chosen by the client, for the answer.
        operation: Its name.
        arguments: Its arguments.
        for_whom: For whom the client acts, as it says.
    """

    id: int
    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    for_whom: str | None = None


class ErrorFields(Struct, frozen=True):
    """An error, without its cause."""

    name: str
    text: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Reply(Struct, frozen=True):
    """Answers a request: by an answer, which may be null, or by an error."""

    id: int | None
    answer: Any = None
    error: ErrorFields | None = None


def line_of(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as a line. A lone surrogate, from a damaged text, becomes ``?``."""
    return _ENCODER.encode(value).encode(errors="replace") + b"\n"


def read_request(line: bytes) -> Request:
    """Return the request in a line.

    Raises:
        InvalidValueError: It is none, or has very many values.
    """
    check_values("line", line)
    return read_line(line, Request)


def read_line(line: bytes, form: type[Form]) -> Form:
    """Return the object in a line.

    Raises:
        InvalidValueError: It has another form.
    """
    try:
        return convert(from_json(line, allow_inf_nan=False), form)  # which counts the levels
    except (ValueError, ValidationError) as error:
        raise InvalidValueError("line", f"can't be read: {message_of(error)[:200]}") from None


def error_fields(error: EngineError) -> dict[str, Any]:
    """Return an error as JSON."""
    text = error.args[0] if error.args else ""  # without the number of an item, an attribute
    attributes = {name: value for name, value in vars(error).items() if _is_plain(value)}
    return {"name": type(error).__name__, "text": str(text), "attributes": attributes}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def error_of(fields: ErrorFields) -> EngineError:
    """Return the error that has these fields; an `EngineError` if its class is not known here."""
    kind = _ERRORS.get(fields.name, EngineError)
    error = kind.__new__(kind)
    error.args = (fields.text,)
    for name, value in fields.attributes.items():
        vars(error)[name] = tuple(value) if isinstance(value, list) else value
    if fields.attributes.get("outcome") in [*Outcome]:
        vars(error)["outcome"] = Outcome(fields.attributes["outcome"])
    return error
