"""The operator: who runs this program, as histories name him."""

from __future__ import annotations

import os

from engine.control.peer import UNKNOWN, Peer


def this_operator() -> str:
    """Return the operating system's user of this process, such as ``user ann (uid 1000, pid 7)``.

    The effective one: that is who may write.
    """
    effective_user = getattr(os, "geteuid", None)
    if effective_user is None:  # Windows
        return f"user {UNKNOWN} (pid {os.getpid()})"
    return Peer(effective_user(), os.getpid()).described()
