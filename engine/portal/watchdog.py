"""The watchdog: reports an event loop that is blocked, so that nothing on it can run, and where."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, TypeVar

from engine.portal.affinity import call_soon
from engine.portal.logs import TaskLogger

logger = TaskLogger("engine")

Item = TypeVar("Item")

_PAUSE_SECONDS: Final = 1.0
_SLICES: Final = 8
_MAX_SLICE_SECONDS: Final = 0.25


class Watchdog:
    """Asks the event loop for a sign of life every second, from a thread of its own.

    A sleeping loop gives the sign. Time during which the whole process is suspended does not count.
    Code that blocks the loop without ever releasing the interpreter's lock, such as one long call
    of a C function, blocks the watchdog too, and is not reported.

    Args:
        blocked: Called on the watchdog's thread, once each time the loop blocks, with the frames of
            the loop's thread, innermost first, and the seconds it has been blocked so far.
        resumed: Called on that thread when the loop runs again, with the seconds it was blocked.
        after_seconds: How long the loop may take to give the sign. The watchdog asks once a second,
            so it notices up to a second later than that.
    """

    def __init__(
        self,
        blocked: Callable[[Sequence[FrameType], float], object],
        resumed: Callable[[float], object],
        after_seconds: float = 3.0,
    ) -> None:
        self._blocked = blocked
        self._resumed = resumed
        self._after_seconds = after_seconds
        self._alive: SimpleQueue[bool] = SimpleQueue()

    def start(self) -> None:
        """Begin to watch the running event loop. To be called once; the thread is a daemon."""
        self._ident = threading.get_ident()
        self._call_soon = call_soon()
        threading.Thread(target=self._watch, name="engine watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching. May be called anywhere, and never waits.

        The thread also ends when the event loop has been closed.
        """
        self._alive.put(False)  # noqa: FBT003 - the answer to the queue's name

    def _watch(self) -> None:
        while self._pause():
            try:
                self._call_soon(lambda: self._alive.put(True))  # noqa: FBT003 - see `close`
            except RuntimeError:  # the loop has ended
                return
            if not self._receive_sign():
                return

    def _pause(self) -> bool:
        """Wait until it is time to ask. Returns False once the watchdog is closed."""
        try:
            return self._alive.get(timeout=_PAUSE_SECONDS)
        except Empty:
            return True

    def _receive_sign(self) -> bool:
        """Wait for the sign, and report its absence. Returns False once the watchdog is closed."""
        began = time.monotonic()
        try:
            return get_unsuspended(self._alive, self._after_seconds)
        except Empty:
            frames = frames_of(self._ident)
        if not self._alive.empty():  # it came just now, so the frames show something else
            return self._alive.get()
        self._report(self._blocked, frames, time.monotonic() - began)
        alive = self._alive.get()
        if alive:
            self._report(self._resumed, time.monotonic() - began)
        return alive

    def _report(self, report: Callable[..., object], *args: object) -> None:
        try:
            report(*args)
        except Exception:
            logger.exception("a report of the watchdog failed; it continues to watch")


def get_unsuspended(queue: SimpleQueue[Item], seconds: float) -> Item:
    """Return the next item of a queue, after a wait of up to ``seconds`` of unsuspended time.

    Ctrl-Z, a debugger or a closed laptop lid suspends a process, and its other threads can do
    nothing meanwhile. So this waits in slices, an eighth of the time each and 0.25 s at most, and
    counts each slice as its nominal length, however long it took. On a busy machine it therefore
    waits longer than ``seconds``.

    Raises:
        queue.Empty: No item came in time.
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


def frames_of(ident: int) -> list[FrameType]:
    """Return the frames of a thread, innermost first; none once it has ended.

    The thread keeps running meanwhile. The frames include those of the coroutines that the running
    task awaits, and none of a sleeping task.
    """
    frames = []
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for this purpose
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def stack_text(frames: Sequence[FrameType]) -> str:
    """Return frames, given innermost first, as a traceback shows them: innermost last."""
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames))
    return "".join(summary.format())


def awaiting_text(awaitable: object) -> str:
    """Return the stack of a suspended coroutine, down to the innermost one that it awaits."""
    frames: list[FrameType] = []
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None:
            frames.insert(0, frame)
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
    return stack_text(frames)


def all_stacks() -> str:
    """Return the stacks of all threads of the process, each under its name."""
    return "\n".join(
        f"thread {thread.name}:\n{stack_text(frames_of(thread.ident or 0))}"
        for thread in threading.enumerate()
    )
