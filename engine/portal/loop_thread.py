"""The process's one event-loop thread, which serves every blocking engine.

It is a daemon, starts on first use and never stops; it just ends with the interpreter. A forked
child has no copy of it: engines made before the fork refuse calls there, and a new thread starts
when the child makes an engine of its own.

A blocking call costs two switches between threads, and little else should come on top. An asyncio
loop sleeps in a system call on its sockets, and a byte through a socket pair wakes it: four system
calls, at each of which the interpreter may switch to another thread. So while the loop has no other
sockets, it sleeps on a lock instead, which makes a call a fifth faster.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from engine.domain.exceptions import EngineClosedError, EngineForkedError, WrongLoopError
from engine.portal.logs import TaskLogger

logger = TaskLogger("engine")

Result = TypeVar("Result")


class _BellSelector(selectors.DefaultSelector):
    """Waits for a bell instead of sockets, while the loop has no sockets except its own."""

    def __init__(self) -> None:
        super().__init__()
        self._bell = threading.Lock()
        self._bell.acquire()
        self.has_sockets = False
        """Whether the loop has more sockets than the pair that wakes it."""

    def register(
        self,
        fileobj: Any,  # noqa: ANN401 - as in the class above
        events: int,
        data: object = None,
    ) -> selectors.SelectorKey:
        """Begin to wait for a socket."""
        key = super().register(fileobj, events, data)
        self.has_sockets = len(self.get_map()) > 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as above
        """Stop waiting for a socket."""
        key = super().unregister(fileobj)
        self.has_sockets = len(self.get_map()) > 1
        return key

    def ring(self) -> None:
        """End the current wait, or the next one. Any thread may call it."""
        try:  # noqa: SIM105 - `suppress` takes longer than all the rest
            self._bell.release()
        except RuntimeError:  # it has been rung already
            pass

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for the sockets, or for the bell. ``timeout`` is in seconds."""
        if self.has_sockets:
            return super().select(timeout)
        if timeout is None:
            self._bell.acquire()
        else:
            self._bell.acquire(timeout=max(timeout, 0))
        return []


class _BellLoop(asyncio.SelectorEventLoop):
    """An event loop that a bell wakes."""

    def __init__(self) -> None:
        self._bell_selector = _BellSelector()
        super().__init__(self._bell_selector)

    def _write_to_self(self) -> None:
        # asyncio calls this to wake the loop from other threads, which have queued a callback
        # before. A loop with callbacks does not wait, so it can't begin to wait for sockets between
        # the two steps here without seeing that callback.
        self._bell_selector.ring()
        if self._bell_selector.has_sockets:
            super()._write_to_self()  # type: ignore[misc]


def _settle(future: Future[Result], task: asyncio.Task[Result]) -> None:
    """Give a caller in another thread what became of the task, unless it gave up."""
    if task.cancelled():
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


class LoopThread:
    """An event loop in a thread of its own, for as long as the process lives."""

    def __init__(self) -> None:
        self.forked = False
        self._loop = _BellLoop()
        # Without a caller's context, which may claim that trio runs here.
        self._context = Context()
        thread = threading.Thread(target=self._run, name="engine event loop", daemon=True)
        thread.start()
        self._ident = thread.ident

    def _run(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except BaseException:
                # An exit or an interrupt in a callback ends asyncio's loop, and must not end all
                # engines.
                logger.critical(
                    "an error ended the engine's event loop, which starts again", exc_info=True
                )

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Schedule a callback on the loop. Never waits, and may be called anywhere."""
        if not self.forked:
            self._loop.call_soon_threadsafe(callback, context=self._context)

    def start(self, function: Callable[[], Coroutine[Any, Any, Result]]) -> Future[Result]:
        """Start an asynchronous function on the loop; a cancellation of the future cancels it.

        The loop calls the function, so that an interrupt here leaves no coroutine that never ran.
        """
        future: Future[Result] = Future()
        begin = partial(self._begin, function, future)
        self._loop.call_soon_threadsafe(begin, context=self._context)
        return future

    def _begin(
        self, function: Callable[[], Coroutine[Any, Any, Result]], future: Future[Result]
    ) -> None:
        task = self._loop.create_task(function())
        task.add_done_callback(partial(_settle, future))

        def cancel(future: Future[Result]) -> None:
            if future.cancelled():
                self._loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(cancel)

    def is_this_thread(self) -> bool:
        """Return whether the caller runs on this thread."""
        return threading.get_ident() == self._ident

    def check(self) -> None:
        """Refuse a blocking call that would never get an answer.

        Raises:
            EngineClosedError: The interpreter exits, and has ended its threads.
            EngineForkedError: The thread stayed in the parent process.
            WrongLoopError: The call comes from the thread that would have to answer it.
        """
        check_interpreter()
        if self.forked:
            raise EngineForkedError
        if self.is_this_thread():
            raise WrongLoopError(
                "a blocking call on the event-loop thread that serves it would wait for itself"
            )

    def check_free(self) -> None:
        """Refuse a blocking call as `check` does, and one that would stop a running event loop.

        Raises:
            EngineClosedError, EngineForkedError: See `check`.
            WrongLoopError: The thread runs an event loop, whose tasks would all wait.
        """
        self.check()
        running = asyncio._get_running_loop()  # noqa: SLF001 - the other one raises if there is none
        # Under gevent the loop of this object seems to run in every greenlet.
        if (running is not None and running is not self._loop) or _trio_runs_here():
            raise WrongLoopError(
                "a blocking call would stop the event loop that runs in this thread, with all its "
                "tasks: use JobEngine, or `await anyio.to_thread.run_sync(…)`; in a notebook, "
                "SyncJobEngine(…, may_block_event_loop=True)"
            )


def _trio_runs_here() -> bool:
    # Trio tells sniffio, whose answer takes a tenth of the time of `trio.lowlevel.in_trio_run`.
    told = getattr(sys.modules.get("sniffio"), "thread_local", None)
    return told is not None and told.name == "trio"


def check_interpreter() -> None:
    """Refuse to work for a finalizer that runs after the interpreter has ended its threads.

    Raises:
        EngineClosedError: It has.
    """
    if sys.is_finalizing():  # by now a wait for another thread would last for ever
        raise EngineClosedError(
            "the interpreter exits and has ended its threads, so this call was not applied: use "
            "and close a blocking engine before the end of the program, such as by `with`"
        )


_loop_thread: LoopThread | None = None
_left_behind: list[LoopThread] = []
_starting = threading.Lock()


def the_loop_thread() -> LoopThread:
    """Return the process's one event-loop thread. The first call starts it.

    Raises:
        EngineClosedError: The interpreter exits, and has ended its threads.
    """
    global _loop_thread
    check_interpreter()
    with _starting:
        if _loop_thread is None:
            _loop_thread = LoopThread()
        return _loop_thread


def is_loop_thread() -> bool:
    """Return whether this is the event-loop thread: no other task than the engines' waits here."""
    return _loop_thread is not None and _loop_thread.is_this_thread()


def _leave_behind() -> None:
    """Forget the thread, which is not in this forked child, and keep its loop unclosed.

    Closing the copy would remove the wake-up pipe from the epoll set that the parent shares.
    """
    global _loop_thread, _starting
    _starting = threading.Lock()
    if _loop_thread is not None:
        _loop_thread.forked = True
        _left_behind.append(_loop_thread)
        _loop_thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_behind)
