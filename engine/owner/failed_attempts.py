"""Failed attempts: what is kept of an attempt that has failed or died.

Whatever ends the attempt makes it part of the same change, so that no error is lost with a commit:
its release, its failure, the judgement of a death, or a cancel, a deadline or a move that finds the
job with a dead attempt. An attempt that a cancel or a deadline cuts short has not failed.
"""

from __future__ import annotations

from datetime import datetime

from engine.domain.validation import MAX_LAST_ERROR_CHARACTERS, kept_text
from engine.storage.record import AttemptRecord, Record


def failed_attempt(
    record: Record, now: datetime, error: str, *, died: bool = False
) -> AttemptRecord:
    """Return what is kept of the attempt that has a job, and ends now.

    Args:
        record: The job before it.
        now: The time.
        error: The attempt's error; only its beginning is kept.
        died: Whether its process has died.
    """
    execution = record.execution
    began_at = execution.claimed_at or now  # every claim sets it
    return AttemptRecord(
        execution.attempt,
        began_at,
        max(began_at, now),
        "died" if died else "failed",
        kept_text(error, MAX_LAST_ERROR_CHARACTERS),
    )


def death_text(record: Record) -> str:
    """Return the error of an attempt that died with its engine."""
    return f"the process ended during attempt {record.execution.attempt}"
