"""What other threads are doing at this moment."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType


def frames_of(ident: int) -> list[FrameType]:
    """Return the frames of a thread, the innermost first; none when it has ended.

    The thread goes on meanwhile. The frames of coroutines that one task awaits are among them, as
    long as that task runs; those of a task that sleeps are not.
    """
    frames = []
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for this purpose
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def stack_text(frames: Sequence[FrameType]) -> str:
    """Return the frames, which come innermost first, as a traceback shows them: it comes last."""
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames))
    return "".join(summary.format())


def awaiting_text(awaitable: object) -> str:
    """Return where a coroutine is that waits, and what it awaits, down to the innermost one."""
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
