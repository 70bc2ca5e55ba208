"""Find the processes that a test has started, and those that they have started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 60


def is_alive(process_id: int) -> bool:
    """Tell whether a process exists and has not ended, though it may not be reaped yet."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def marked(variable: str) -> list[int]:
    """Return the other processes that were started with a variable in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                names = entry.joinpath("environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if f"{variable}=".encode() in names:
                found.append(int(entry.name))
    return found


def children() -> list[int]:
    """Return the children of this process, those included that it has not reaped."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, task.joinpath("children").read_text().split())
        except FileNotFoundError:  # a thread that has ended
            continue
    return found


def descriptors() -> int:
    """Return how many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


def wait_until(condition: Callable[[], object]) -> None:
    """Poll the state of other processes, which send no event."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
