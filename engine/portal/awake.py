"""Waiting for so many seconds in which the process could do something.

A process can be suspended: by Ctrl-Z, a debugger, a laptop's lid. Who then waits for its other
threads must not take that time for theirs.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")

_SLICES = 8
_MAX_SLICE_SECONDS = 0.25


def get_awake(queue: SimpleQueue[Item], seconds: float) -> Item:
    """Return the next item, for which it waits up to ``seconds``.

    It waits in slices, an eighth of the time each and 0.25 s at most, and each counts as long as it
    was meant to be, however long it took. So it waits longer than asked on a machine that is busy.

    Raises:
        queue.Empty: There was none in time.
    """
    slice_seconds = min(_MAX_SLICE_SECONDS, seconds / _SLICES)
    waited = 0.0
    while True:
        try:
            return queue.get(timeout=slice_seconds)
        except Empty:
            waited += slice_seconds
            if waited >= seconds:
                raise
