"""The process's one event-loop thread, on which every blocking engine is served.

It starts on first use, is a daemon, and is never stopped: at the interpreter's exit it just ends. A
process that was forked has no copy of it. What belonged to it says so, and a new one starts when
the child makes an engine of its own.

A blocking call costs two switches between threads, and little else should be added to them. An
asyncio loop sleeps in a system call on its sockets, and is woken by a byte through a socket pair:
four system calls, at each of which the interpreter may be handed to another thread. So as long as
the loop has no other sockets, it sleeps on a lock instead; that makes a call a fifth faster.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

from engine.domain.exceptions import EngineForkedError, WrongLoopError

logger = logging.getLogger("engine")

Result = TypeVar("Result")


class _BellSelector(selectors.DefaultSelector):
    """Waits for a bell instead of sockets, while there are no sockets but the loop's own."""

    def __init__(self) -> None:
        super().__init__()
        self._bell = threading.Lock()
        self._bell.acquire()
        self.has_sockets = False
        """Whether there is more to wait for than the end of the pair that wakes the loop."""

    def register(
        self,
        fileobj: Any,  # noqa: ANN401 - as in the class above
        events: int,
        data: object = None,
    ) -> selectors.SelectorKey:
        """Wait for a socket, too."""
        key = super().register(fileobj, events, data)
        self.has_sockets = len(self.get_map()) > 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as above
        """Wait for a socket no more."""
        key = super().unregister(fileobj)
        self.has_sockets = len(self.get_map()) > 1
        return key

    def ring(self) -> None:
        """End the waiting, or the next one. Any thread may call it."""
        try:  # noqa: SIM105 - `suppress` takes longer than all the rest
            self._bell.release()
        except RuntimeError:  # it has been rung already
            pass

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for the sockets, or for the bell; ``timeout`` is in seconds."""
        if self.has_sockets:
            return super().select(timeout)
        if timeout is None:
            self._bell.acquire()
        else:
            self._bell.acquire(timeout=max(timeout, 0))
        return []


class _BellLoop(asyncio.SelectorEventLoop):
    """An event loop that other threads wake by a bell."""

    def __init__(self) -> None:
        self._bell_selector = _BellSelector()
        super().__init__(self._bell_selector)

    def _write_to_self(self) -> None:
        # The loop's own hook for waking it from other threads. They have queued a callback before,
        # and a loop with callbacks does not wait; so it can't begin to wait for sockets between
        # the two steps here without seeing that callback.
        self._bell_selector.ring()
        if self._bell_selector.has_sockets:
            super()._write_to_self()  # type: ignore[misc]


class LoopThread:
    """An event loop in a thread of its own, for as long as the process lives."""

    def __init__(self) -> None:
        self.forked = False
        self._loop = _BellLoop()
        # Nothing of a caller's context comes along: it may say that trio is running here.
        self._context = Context()
        thread = threading.Thread(target=self._run, name="engine event loop", daemon=True)
        thread.start()
        self._ident = thread.ident

    def _run(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except BaseException:
                # An exit or an interrupt out of a callback ends asyncio's loop, not all engines.
                logger.critical("something tried to end the engine's event loop", exc_info=True)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the loop call this, soon. Never waits, and may be called anywhere."""
        if not self.forked:
            self._loop.call_soon_threadsafe(callback, context=self._context)

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a task on the loop."""
        return self._context.copy().run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)

    def check(self) -> None:
        """Refuse a blocking call that could never be answered.

        Raises:
            EngineForkedError: The thread stayed behind in the parent process.
            WrongLoopError: The call comes from the very thread that would have to answer it.
        """
        if self.forked:
            raise EngineForkedError
        if threading.get_ident() == self._ident:
            raise WrongLoopError(
                "a blocking call on the event-loop thread that serves it would wait for itself"
            )


_loop_thread: LoopThread | None = None
_left_behind: list[LoopThread] = []
_starting = threading.Lock()


def the_loop_thread() -> LoopThread:
    """Return the process's one event-loop thread; start it if need be."""
    global _loop_thread
    with _starting:
        if _loop_thread is None:
            _loop_thread = LoopThread()
        return _loop_thread


def _leave_behind() -> None:
    """In a forked child: the thread is not here. Keep its loop, so that it is never closed.

    Closing the copy would take the wake-up pipe out of the epoll set, which the parent shares.
    """
    global _loop_thread, _starting
    _starting = threading.Lock()
    if _loop_thread is not None:
        _loop_thread.forked = True
        _left_behind.append(_loop_thread)
        _loop_thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
