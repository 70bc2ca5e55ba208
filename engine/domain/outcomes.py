"""Outcomes: how a job has ended, whatever its lifecycle calls the status."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a job has ended: what its final status means, or else the cause of its end."""

    SUCCEEDED = "succeeded"
    """It has what was asked for: a success."""
    FAILED = "failed"
    """Its handler has failed for the last time, or a caller has said so."""
    CANCELLED = "cancelled"
    """A caller has cancelled it."""
    EXPIRED = "expired"
    """A deadline has passed."""
    DIED = "died"
    """Its handler's process has died, and the handler may not run again."""
