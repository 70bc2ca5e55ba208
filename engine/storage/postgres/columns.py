"""Columns: those of jobs, transitions, attempts and the audit, with their types in PostgreSQL."""

from __future__ import annotations

from typing import Final

from msgspec.structs import fields

from engine.domain.validation import MAX_READ_CHARACTERS
from engine.storage.audit import AuditLine
from engine.storage.record import DEAD, Execution, Origin

_NUMBERS: Final = frozenset(
    {
        *("position", "revision", "version", "priority", "attempt", "failures", "deaths"),
        *("died_attempt", "holder", "sequence", "number", "parent_version"),
    }
)
_TIMES: Final = frozenset({"claimed_at", "not_before", "at"})

EXECUTION_COLUMNS: Final[tuple[str, ...]] = tuple(field.name for field in fields(Execution))
ORIGIN_COLUMNS: Final[tuple[str, ...]] = tuple(field.name for field in fields(Origin))
RECORD_COLUMNS: Final = (
    "position",
    "job_id",
    "revision",
    "status",
    "input_hash",
    "blockchain_identifier",
    "created_at",
    "updated_at",
    "version",
    "idempotency_key",
    "started_at",
    "result",
    "error",
    "outcome",
    "kind",
    "labels",
    "input",
    *ORIGIN_COLUMNS,
    *EXECUTION_COLUMNS,
)
"""The columns that make a record, but for the number of its newest transition."""
JOB_COLUMNS: Final = (*RECORD_COLUMNS, "ended_at", "holder", "ready", "due_at")
FIXED_COLUMNS: Final = frozenset(
    {
        *("position", "job_id", "revision", "input_hash", "created_at", "idempotency_key"),
        *("kind", "labels", "input", *ORIGIN_COLUMNS),
    }
)
"""Those that no batch changes once the job is there; a batch adds one to the revision."""
LONG_TEXTS: Final = (
    *("result", "error", "input", "labels", "deadlines", "token", "prompt", "answers"),
    *("cancel_reason", "trace", "last_error"),
)
"""Those of `engine.storage.record.Record.characters`."""
TRANSITION_COLUMNS: Final = ("position", "job_id", "from_status", "to_status", "at", "by", "reason")
ATTEMPT_COLUMNS: Final = ("position", "number", "began_at", "ended_at", "outcome", "error")
AUDIT_COLUMNS: Final[tuple[str, ...]] = AuditLine._fields
"""But for the number."""


MOST_OCTETS: Final = 4 * MAX_READ_CHARACTERS
"""Of the long texts of one read: as many as these characters may have."""


def octets_of(job: str) -> str:
    """Return an expression for the octets of the long texts of a job."""
    return " + ".join(f"coalesce(octet_length({job}.{column}), 0)" for column in LONG_TEXTS)


def has_died(column: str = "token") -> str:
    """Return a condition: a token's attempt died with its engine. It is NULL for no token."""
    return f"starts_with({column}, '{DEAD}')"


def type_of(column: str) -> str:
    """Return the type of a column."""
    if column in _NUMBERS:
        return "bigint"
    if column in {"ready", "pays"}:
        return "boolean"
    is_time = column in _TIMES or column.endswith(("_at", "_since"))
    return "timestamptz" if is_time else "text"
