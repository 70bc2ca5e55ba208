"""A doorbell: wakes a thread that waits for a socket or for a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Final

from engine.domain.exceptions import EngineForkedError
from engine.portal.forking import CallLock

_RINGS: Final = 4096  # are answered at once


class Doorbell:
    """Wakes the one thread that waits for it, for a socket and for a time.

    A fork waits until that thread waits: a forked child has only the thread that forked, and a lock
    that the other one held inside a C library would stay locked there for ever.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._ringer, self._bell = socket.socketpair()
        self._ringer.settimeout(0)
        self._bell.settimeout(0)
        self._lock = CallLock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be the thread that is woken. At the end the doorbell is closed."""
        try:
            with self._lock.registered(), self._lock:
                yield
        finally:
            self._ringer.close()
            self._bell.close()

    def ring(self) -> None:
        """End the wait under way, or else the next one. Any thread may ring; it never waits.

        Raises:
            EngineForkedError: The thread stayed in the process that this one was forked from.
        """
        if self._process != os.getpid():
            raise EngineForkedError
        with suppress(OSError):  # so many rings are unanswered that it wakes, or nobody waits
            self._ringer.send(b"\0")

    def wait(self, seconds: float, file: int | None = None, *, writing: bool = False) -> None:
        """Wait for the bell, for a time, or until a socket can be read; on the thread at work.

        Args:
            seconds: How long at most; 0 or less does not wait.
            file: The number of the socket; None waits for none.
            writing: Whether the wait also ends when the socket can be written.
        """
        with DefaultSelector() as selector:
            selector.register(self._bell, EVENT_READ)
            if file is not None:
                selector.register(file, EVENT_READ | (EVENT_WRITE if writing else 0))
            self._lock.leave()
            try:
                selector.select(max(seconds, 0))
            finally:
                self._lock.__enter__()
        with suppress(BlockingIOError):
            self._bell.recv(_RINGS)
