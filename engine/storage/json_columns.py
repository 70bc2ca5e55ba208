"""JSON columns: whether the JSON in a job's row is as engines write it.

That rules out other forms than those of the columns. It also rules out JSON that has no place in a
snapshot, or that Python's own reader does not take: lone surrogates, numbers that become infinite,
and too many levels or digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import DecodeError
from msgspec.json import Decoder
from pydantic_core import from_json

from engine.domain.deadlines import read_deadlines
from engine.domain.exceptions import shown
from engine.domain.models import Prompt

_SAFE_LEVELS: Final = 200  # `from_json` refuses more, and Python's own reader may refuse 900

_decode: Final = Decoder(Any).decode
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "deadlines": read_deadlines,
    "prompt": Prompt.model_validate_json,
    "answers": Decoder(dict[str, Any]).decode,
    "trace": Decoder(dict[str, str]).decode,
}
"""The readers of an execution's texts: each refuses other forms than its own."""


def execution_problem(values: Mapping[str, str]) -> str | None:
    """Return the first problem of the JSON in an execution; None for none.

    Args:
        values: Those of its columns that are not NULL, by column.
    """
    for column, read in _READERS.items():
        text = values.get(column)
        if text is not None and (problem := json_problem(column, text, read)) is not None:
            return problem
    return None


def json_problem(column: str, text: str, read: Callable[[str], object] = _decode) -> str | None:
    """Return the problem of a column's text, as a sentence about the job; None for none.

    Args:
        column: The column's name.
        text: The text.
        read: Reads it; by default as any JSON.
    """
    try:
        if text.count("[") + text.count("{") > _SAFE_LEVELS:
            from_json(text)  # first, because this one doesn't go to the limit of Python's recursion
        _decode(text)
        if read is not _decode:
            read(text)
    except (DecodeError, ValueError, RecursionError):  # pydantic's error is a ValueError
        return f"its {column} can't be {shown(text)}"
    return None
