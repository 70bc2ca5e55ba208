"""Ending a process that does not end.

A handler that never yields blocks the event loop, and a task that is shielded its end: then nothing
that was told to stop comes to an end. What the engine has acknowledged is safe all the same.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Self

from engine.portal.awake import get_awake
from engine.portal.stacks import all_stacks

logger = logging.getLogger("engine")

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h, an internal error. Not every system has `os.EX_SOFTWARE`."""

_LOGGING_SECONDS = 1.0


class LastResort:
    """Ends the process at once when it has been armed and not disarmed for so many seconds.

    The context disarms it at its end. Armed, it logs the stacks of all threads before it leaves, by
    ``os._exit(70)``: no ``finally`` runs, and nothing is flushed. Time in which the whole process
    is suspended does not count.

    Args:
        seconds: How long the process has, once armed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed: SimpleQueue[bool] = SimpleQueue()

    def __enter__(self) -> Self:
        """Start the thread, a daemon, that waits for the order: a signal's handler can't."""
        threading.Thread(target=self._stand_by, name="engine last resort", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Disarm it, for good."""
        self._armed.put(False)  # noqa: FBT003 - the answer to the queue's name

    def arm(self) -> None:
        """Begin to count, anew if it did. May be called anywhere, in a signal's handler, too."""
        self._armed.put(True)  # noqa: FBT003 - as above

    def _stand_by(self) -> None:
        if self._armed.get():
            try:
                while get_awake(self._armed, self._seconds):
                    pass  # armed again
            except Empty:
                self._end()

    def _end(self) -> None:
        try:
            # On another thread: what hangs may have the lock of the log.
            tell = threading.Thread(target=self._tell, name="engine last words", daemon=True)
            tell.start()
            tell.join(_LOGGING_SECONDS)
        finally:
            os._exit(EXIT_CODE)

    def _tell(self) -> None:
        logger.critical(
            "the process was told to stop and has not ended within %g s: it is ended now. "
            "These are its threads:\n%s",
            self._seconds,
            all_stacks(),
        )


@contextmanager
def end_by(seconds: float) -> Iterator[None]:
    """End the process when the context has not ended within so many seconds; see `LastResort`."""
    with LastResort(seconds) as last_resort:
        last_resort.arm()
        yield
