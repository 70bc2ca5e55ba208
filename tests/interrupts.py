"""Interrupt a program that blocks, as Ctrl-C does."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

_QUIET_SECONDS = 0.02


def interrupt(program: subprocess.Popen[Any]) -> None:
    """Send SIGINT to a program whose main thread blocks by now, or is about to.

    Python hears a signal between its own steps, and within a system call. One that comes just
    before a call that blocks is heard only behind it, which may be never, and a person presses
    Ctrl-C again. So this waits until the main thread is in the call, where the system can tell.
    """
    while (before := _sleeps_since(program.pid)) is None or before != _later(program.pid):
        assert program.poll() is None, "it has ended by itself"
    program.send_signal(signal.SIGINT)


def _later(pid: int) -> list[str] | None:
    time.sleep(_QUIET_SECONDS)
    return _sleeps_since(pid)


def _sleeps_since(pid: int) -> list[str] | None:
    """Return how often a main thread that sleeps has been switched; None if it is at work."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return []
    fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
    if not fields["State"].startswith("S"):
        return None
    return [value for name, value in fields.items() if name.endswith("_ctxt_switches")]
