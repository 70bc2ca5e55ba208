"""Acts: who makes a transition, and why, as callers say it."""

from __future__ import annotations

import os
import socket

from engine.domain.validation import (
    MAX_BY_CHARACTERS,
    MAX_REASON_CHARACTERS,
    check_optional_text,
)
from engine.storage.record import NO_ACT, Act


def worker_act() -> Act:
    """Return the act of this process's workers, ``worker HOST:PID``."""
    who = f":{os.getpid()}"
    return Act(f"worker {socket.gethostname()}"[: MAX_BY_CHARACTERS - len(who)] + who)


def checked_act(by: object, reason: object) -> Act:
    """Return an act.

    Raises:
        InvalidValueError: ``by`` is no text of 1 to 256 characters, or ``reason`` no text of 0 to
            4,096.
    """
    if by is None and reason is None:
        return NO_ACT
    return Act(
        check_optional_text("by", by, MAX_BY_CHARACTERS),
        check_optional_text("reason", reason, MAX_REASON_CHARACTERS, shortest=0),
    )
