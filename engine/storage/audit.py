"""The audit: the lines that say who has acted, by which call, on which job, and why.

The owner makes a line of each act, and a storage keeps the newest. A line of an act on jobs is
written in the commit that applies the act, so that neither is there without the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from msgspec.json import Decoder

from engine.domain.exceptions import shown
from engine.storage.json_columns import json_problem
from engine.storage.record import Number, Time

KEPT_AUDIT_LINES: Final = 100_000
"""So many lines are kept, the newest. Their numbers have no gaps."""
MAX_ARGUMENTS_CHARACTERS: Final = 4_096
_decode: Final = Decoder(dict[str, Any]).decode
_LENGTHS: Final = (1_024, 256, 64, 16)  # of a text in arguments that are too long


class AuditLine(NamedTuple):
    """A line of the audit."""

    at: Time
    by: str
    """Who has acted: 1 to 256 characters."""
    action: str
    """What was done, such as ``retry``."""
    job_id: str | None = None
    """The job that was changed, though it may have been removed since; None if it was no job."""
    reason: str | None = None
    """Why: up to 4,096 characters."""
    arguments: str | None = None
    """What else the call was given: a JSON object of `MAX_ARGUMENTS_CHARACTERS`; None: nothing."""


class KeptAuditLine(NamedTuple):
    """A line as a storage keeps it: with its number, counted from 1."""

    number: Number
    at: Time
    by: str
    action: str
    job_id: str | None
    reason: str | None
    arguments: str | None


class DamagedAuditLine(NamedTuple):
    """Stands for a line that a storage can't read."""

    number: Number
    problem: str

    def __str__(self) -> str:
        """Return a sentence about it."""
        return f"line {self.number} of the audit is damaged: {self.problem}"


def arguments_text(arguments: Mapping[str, object]) -> str:
    """Return the arguments of an act as JSON; if they are too long, with shorter texts."""
    text = _json_of(arguments)
    for length in _LENGTHS:
        if len(text) <= MAX_ARGUMENTS_CHARACTERS:
            break
        text = _json_of({name: _cut(value, length) for name, value in arguments.items()})
    return text


def removal_line(line: AuditLine, removed: int) -> AuditLine:
    """Return the line of a removal, with the number of jobs that it has removed."""
    arguments = {**json.loads(line.arguments or "{}"), "removed": removed}
    return line._replace(arguments=arguments_text(arguments))


def arguments_problem(text: str | None) -> str | None:
    """Return the problem of stored arguments, as a sentence about the line; None for none."""
    if text is None:
        return None
    if len(text) > MAX_ARGUMENTS_CHARACTERS:
        return f"its arguments are too long: {shown(text)}"
    return json_problem("arguments", text, _decode)


def _json_of(arguments: Mapping[str, object]) -> str:
    return json.dumps(arguments, separators=(",", ":"))  # ASCII, whatever is in the texts


def _cut(value: object, length: int) -> object:
    return f"{value[: length - 1]}…" if isinstance(value, str) and len(value) > length else value
