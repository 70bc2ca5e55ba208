"""Moves: an item of a bulk transition, and the answer of a start."""

from __future__ import annotations

from typing import Generic

from msgspec import Struct

from engine.domain.models import Job, Status


class _FirstOfMove(Struct, Generic[Status], frozen=True):
    """The fields that may be given by their places."""

    job_id: str
    target: Status


class Move(_FirstOfMove[Status], Generic[Status], frozen=True, kw_only=True):
    """An item of `transition_many`; its fields are the arguments of `transition`."""

    result: str | None = None
    error: str | None = None
    expected_version: int | None = None
    attempt_token: str | None = None
    expected_status: Status | None = None
    by: str | None = None
    reason: str | None = None


class Started(Struct, Generic[Status], frozen=True):
    """The answer of `start`."""

    job: Job[Status]
    """The job as it is now, which may be long after its start."""
    first: bool
    """Whether this very call has started it. True for one call in the life of a job."""
