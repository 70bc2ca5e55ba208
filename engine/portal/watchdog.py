"""Notices that an event loop stops to turn: something blocks it, and nothing else can run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import FrameType

from engine.portal.awake import get_awake
from engine.portal.stacks import frames_of
from engine.portal.work import call_soon

logger = logging.getLogger("engine")

_PAUSE_SECONDS = 1.0


class Watchdog:
    """Asks the event loop every second for a sign of life, from a thread of its own.

    A loop that sleeps gives it. Time in which the whole process is suspended does not count. What
    blocks the loop and never lets go of the interpreter's lock, such as one call of a C function,
    blocks the watchdog, too: it is not reported.

    Args:
        blocked: Called on the watchdog's thread, once for each time that the loop is blocked, with
            the frames of the loop's thread, the innermost first, and for how many seconds the loop
            has been blocked.
        went_on: Called on that thread when such a loop turns again, with the seconds that it took.
        after_seconds: How long the loop may take to give the sign. Asking once a second, the
            watchdog notices up to a second later than that.
    """

    def __init__(
        self,
        blocked: Callable[[Sequence[FrameType], float], object],
        went_on: Callable[[float], object],
        after_seconds: float = 3.0,
    ) -> None:
        self._blocked = blocked
        self._went_on = went_on
        self._after_seconds = after_seconds
        self._alive: SimpleQueue[bool] = SimpleQueue()

    def start(self) -> None:
        """Begin to watch the event loop that is running; once. The thread is a daemon."""
        self._ident = threading.get_ident()
        self._call_soon = call_soon()
        threading.Thread(target=self._watch, name="engine watchdog", daemon=True).start()

    def close(self) -> None:
        """End the watching. May be called anywhere, and never waits.

        The thread also ends when the event loop has been closed.
        """
        self._alive.put(False)  # noqa: FBT003 - the answer to the queue's name

    def _watch(self) -> None:
        while self._pause():
            try:
                self._call_soon(lambda: self._alive.put(True))  # noqa: FBT003 - see `close`
            except RuntimeError:  # the loop has ended
                return
            if not self._sign_of_life():
                return

    def _pause(self) -> bool:
        """Wait until it is time to ask. Returns False when the watching has ended."""
        try:
            return self._alive.get(timeout=_PAUSE_SECONDS)
        except Empty:
            return True

    def _sign_of_life(self) -> bool:
        """Wait for the sign, and report if there is none. Returns False when watching has ended."""
        began = time.monotonic()
        try:
            return get_awake(self._alive, self._after_seconds)
        except Empty:
            frames = frames_of(self._ident)
        if not self._alive.empty():  # just now; the frames show something else
            return self._alive.get()
        self._report(self._blocked, frames, time.monotonic() - began)
        alive = self._alive.get()
        if alive:
            self._report(self._went_on, time.monotonic() - began)
        return alive

    def _report(self, report: Callable[..., object], *args: object) -> None:
        try:
            report(*args)
        except Exception:
            logger.exception("the watchdog's report failed; it goes on watching")
