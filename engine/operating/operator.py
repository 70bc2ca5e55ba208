"""The operator: who runs this program, as histories name him."""

from __future__ import annotations

import os
from importlib import import_module


def this_operator() -> str:
    """Return the operating system's user of this process, such as ``user ann (uid 1000, pid 7)``.

    The effective one: that is who may write.
    """
    effective_user = getattr(os, "geteuid", None)
    if effective_user is None:  # Windows
        return f"user unknown (pid {os.getpid()})"
    uid: int = effective_user()
    try:
        name = import_module("pwd").getpwuid(uid).pw_name
    except KeyError:  # such as in a container
        name = "unknown"
    return f"user {name} (uid {uid}, pid {os.getpid()})"
