"""Pause checks: what can be wrong with the pauses that a place keeps."""

from __future__ import annotations

from engine.domain.exceptions import StorageDamagedError, shown
from engine.domain.pauses import Pauses


def pauses_problem(text: object) -> str | None:
    """Return what is wrong with the pauses, as a sentence; None for nothing."""
    try:
        Pauses.read(str(text))
    except StorageDamagedError:
        return f"it can't be {shown(text)}"
    return None
