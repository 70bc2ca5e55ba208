"""Forking: a fork waits for the blocking calls of work threads, and never comes into one.

A forked child has only the thread that forked. A lock inside a C library that another thread held
at that moment, such as one of SQLite's own, would stay locked in the child for ever, and the
child's first call of that library would hang.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MOST_SECONDS: Final = 5.0  # a call that hangs does not keep the program from forking

_locks: set[CallLock] = set()
_held: list[CallLock] = []


class CallLock:
    """Held during each call of a work thread, or in its place, and by a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a call may fork itself

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Let forks wait for calls meanwhile."""
        _locks.add(self)
        try:
            yield
        finally:
            _locks.discard(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """End a call, or a fork, in the thread that has begun it.

        Raises:
            RuntimeError: This thread has begun none.
        """
        self._lock.release()

    def try_enter(self) -> bool:
        """Begin a call, unless another one or a fork is under way; return whether it has begun."""
        return self._lock.acquire(blocking=False)

    def acquire(self) -> bool:
        """Wait for the call under way, for 5 s at most; return whether it has ended."""
        return self._lock.acquire(timeout=_MOST_SECONDS)


def _before() -> None:
    for lock in tuple(_locks):
        if lock.acquire():
            _held.append(lock)


def _after_in_parent() -> None:
    while _held:
        _held.pop().leave()


def _after_in_child() -> None:
    _after_in_parent()
    _locks.clear()  # their threads stayed in the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
