"""Replies of a process: errors, questions and log records, checked before the engine uses them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from msgspec import Struct
from msgspec.json import decode as decode_json
from msgspec.structs import replace

from engine.domain.deadlines import Deadline, check_deadline
from engine.domain.exceptions import HandlerError, HandlerProcessError, InvalidValueError
from engine.domain.ids import new_job_id
from engine.domain.validation import (
    MAX_ERROR_CHARACTERS,
    MAX_RESULT_CHARACTERS,
    check_optional_text,
)
from engine.owner.prompts import prompt_text
from engine.worker.context import Context, InputNeeded
from engine.worker.processes.log_records import MAX_CHARACTERS, log_here, plain_text
from engine.worker.processes.messages import Asked, FromProcess, Logged, NotLoaded, Raised
from engine.worker.results import Result

# Of checks; OverflowError and TypeError of dates, RecursionError of JSON.
WRONG_VALUES: Final = (InvalidValueError, ValueError, OverflowError, TypeError, RecursionError)
_MOST_KINDS: Final = 64
_MAIN_HINT: Final = (
    "; the main module runs again in the process, which needs the handler: put the code that "
    'starts the program under `if __name__ == "__main__":`, or the handler into another module'
)


class BrokenError(Exception):
    """The process is out of order, or has ended; the text is the rest of a sentence about it."""


class _Prompt(Struct):
    prompt_id: str
    name: str
    question: str | None
    json_schema: dict[str, Any]
    refusal: str | None = None


def not_loaded(message: FromProcess) -> HandlerProcessError:
    """Return the error of a process that could not load the handler."""
    if not isinstance(message, NotLoaded):
        return HandlerProcessError("the process of the handler sent messages in a wrong order")
    hint = _MAIN_HINT if message.in_main else ""
    error = HandlerProcessError(f"the handler can't be loaded in a process: {message.error}{hint}")
    error.add_note(plain_text(message.traceback, MAX_CHARACTERS))
    return error


def error_of(message: Raised, context: Context[Any]) -> BaseException:
    """Return the exception that stands for the one of the handler.

    Raises:
        ValueError: It has no class.
    """
    if message.asks and context.request is not None:
        return InputNeeded()
    if not message.kinds:
        raise ValueError("an exception without a class")
    error = HandlerError(
        plain_text(message.error, MAX_ERROR_CHARACTERS),
        message.kinds[:_MOST_KINDS],
        retryable=message.retryable,
        retry_after_seconds=message.retry_after_seconds,
        disables_rule=message.disables_rule,
    )
    error.add_note(plain_text(message.traceback, MAX_CHARACTERS))
    return error


def checked(result: Result) -> Result:
    """Return a result that can be stored, and whose place of a loss is short enough for the log.

    Raises:
        InvalidValueError: It is too long, or has characters that no storage keeps.
    """
    check_optional_text("result", result.text, MAX_RESULT_CHARACTERS, shortest=0)
    if result.lost is None:
        return result
    return replace(result, lost=plain_text(result.lost, MAX_ERROR_CHARACTERS))


def request_of(message: Asked) -> tuple[str, Deadline | None]:
    """Return the request for an input: made again here, because only here it can be trusted.

    Raises:
        InvalidValueError, ValueError, OverflowError: It is none.
    """
    prompt = decode_json(message.prompt, type=_Prompt)
    deadline: Deadline | None = message.deadline_at
    if message.deadline_seconds is not None:
        deadline = timedelta(seconds=message.deadline_seconds)
    if deadline is not None:
        deadline = check_deadline("deadline", deadline)
    text = prompt_text(
        new_job_id(), prompt.json_schema, prompt.name, prompt.question, prompt.refusal
    )
    return text, deadline


def log(message: Logged, fields: Mapping[str, object], process_id: int) -> None:
    """Log a record of the process here.

    Raises:
        BrokenError: It has values that no record has.
    """
    try:
        log_here(message, fields, process_id)
    except WRONG_VALUES as error:
        raise BrokenError(f"sent a log record with wrong values: {error}") from error
