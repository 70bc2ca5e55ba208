"""The failed attempt, as callers see it."""

from __future__ import annotations

from typing import Literal

from engine.domain.outcomes import Outcome
from engine.domain.snapshot import Snapshot, UtcDatetime


class FailedAttempt(Snapshot):
    """An attempt of a job that has failed, or died with its process."""

    number: int
    """Counted from 1, over all attempts of the job."""
    began_at: UtcDatetime
    ended_at: UtcDatetime
    """Of an attempt that died with its engine: the time at which a later engine noticed it."""
    outcome: Literal[Outcome.FAILED, Outcome.DIED]
    """Whether it failed or died."""
    error: str
    """The type and the message of the error: up to 4,000 characters."""
