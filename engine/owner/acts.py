"""Acts: who makes a transition, and why, as callers say it; and what the audit keeps of a call.

A call that says who makes it is an act, and leaves a line in the audit for each job that it
changes. Any other call leaves none, and so does the engine itself: its workers, gates, deadlines
and rules.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from engine.domain.validation import (
    MAX_BY_CHARACTERS,
    MAX_REASON_CHARACTERS,
    check_optional_text,
)
from engine.storage.audit import AuditLine, arguments_text
from engine.storage.record import NO_ACT, Act


class Acted(NamedTuple):
    """What the audit keeps of a call that says who makes it."""

    action: str
    by: str
    reason: str | None
    arguments: str | None
    """See `AuditLine`."""

    def line(self, job_id: str | None, at: datetime) -> AuditLine:
        """Return the line for a job that the call has changed, or for None."""
        return AuditLine(at, self.by, self.action, job_id, self.reason, self.arguments)


def acted(action: str, act: Act, arguments: Mapping[str, object] | None = None) -> Acted | None:
    """Return what the audit keeps of a call; None of one that doesn't say who makes it.

    Args:
        action: The name of the call.
        act: Who makes it, and why.
        arguments: What else it was given, but for what may be secret or huge.
    """
    if act.by is None:
        return None
    return Acted(action, act.by, act.reason, arguments_text(arguments) if arguments else None)


def worker_act() -> Act:
    """Return the act of this process's workers, ``worker HOST:PID``."""
    who = f":{os.getpid()}"
    return Act(f"worker {socket.gethostname()}"[: MAX_BY_CHARACTERS - len(who)] + who)


def checked_act(by: object, reason: object) -> Act:
    """Return an act. An empty reason, such as that of a form, is none.

    Raises:
        InvalidValueError: ``by`` is no text of 1 to 256 characters, or ``reason`` no text of 0 to
            4,096.
    """
    if isinstance(reason, str) and not reason:
        reason = None
    if by is None and reason is None:
        return NO_ACT
    return Act(
        check_optional_text("by", by, MAX_BY_CHARACTERS),
        check_optional_text("reason", reason, MAX_REASON_CHARACTERS),
    )
