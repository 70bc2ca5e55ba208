"""Refusals: the errors by which a job refuses an act, as ``each`` names them."""

from __future__ import annotations

from typing import Final

REFUSALS: Final = frozenset(
    {
        *("InvalidStateTransitionError", "JobClaimedError", "JobEndedError", "JobNotFoundError"),
        *("NotRetryableError", "PaymentConflictError", "PaymentInUseError", "StalePromptError"),
        *("StatusConflictError", "VersionConflictError", "AttemptConflictError"),
        *("DeadlineConflictError", "InvalidValueError"),
    }
)
"""The errors by which a job in its present state refuses an act: nothing is wrong with the
place."""
