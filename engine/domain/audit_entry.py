"""The entry of the audit, as callers see it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.domain.snapshot import Snapshot, UtcDatetime


class AuditEntry(Snapshot):
    """An act: a call that said who made it, and has changed something."""

    number: int = Field(ge=1)
    """The number among all entries, counted from 1: pass it as ``before`` to read older ones."""
    at: UtcDatetime
    by: str
    """Who has acted, as the caller says."""
    action: str
    """What was done: ``move``, ``start``, ``cancel``, ``retry``, ``repeat``, ``extend``,
    ``answer``, ``follow-up``, ``backfill``, ``remove rule``, ``disable rule``, ``enable rule``,
    ``backup``, ``prune``."""
    job_id: str | None = None
    """The job that was changed, which may have been removed since; None for an act on no job."""
    reason: str | None = None
    """Why, as the caller says."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What else the call was given, such as the ``status`` of a move: neither results and errors
    nor the value of an answer. A deadline is a number of seconds, or a time as text."""

    def __hash__(self) -> int:
        """Hash an entry by its number and time: the arguments are a dict, which has no hash."""
        return hash((self.number, self.at))
