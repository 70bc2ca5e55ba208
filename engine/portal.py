"""The one module that knows of threads, locks and the event loops' own calls.

* `new_event` makes an event for many waiting tasks, the cheapest that the event loop has.
* `Home` is the event loop that an engine lives on: it tells calls from elsewhere apart.
* `LoopThread` is the process's one event-loop thread, on which every blocking engine is served. It
  starts on first use, is a daemon, and is never stopped: at the interpreter's exit it just ends.
* `Lane` is the way of threads into an engine's inbox: a queue, and one wake-up of the event loop
  for all that is put into it before the loop looks.

A process that was forked has no copy of the thread. What belonged to it says so, and a new one
starts when the child makes an engine of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any

import anyio
from anyio.lowlevel import current_token

from engine.domain.exceptions import (
    CallTimeoutError,
    EngineCrashedError,
    EngineError,
    EngineForkedError,
    InvalidValueError,
    OverloadedError,
    WriteTimeoutError,
    WrongLoopError,
    shown,
)
from engine.inbox import Event, Inbox, Notify
from engine.messages import Answer, Message


class AsyncioEvent:
    """Tells any number of tasks, once, at half the cost of `asyncio.Event`.

    It makes one future for each, and keeps those of cancelled tasks too, until it has been set.
    """

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def wait(self) -> asyncio.Future[None]:
        """Return a future that ends when the event is set. To be called before that."""
        waiter: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._waiters.append(waiter)
        return waiter

    def set(self) -> None:
        """Tell all that wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def new_event() -> Event:
    """Return an event of the running event loop."""
    try:
        return AsyncioEvent(asyncio.get_running_loop())
    except RuntimeError:
        return anyio.Event()


class Home:
    """The event loop that is running when this is made."""

    def __init__(self) -> None:
        self._loop: object = current_token().native_token
        self._running_loop: Callable[[], object] = (
            asyncio.get_running_loop
            if isinstance(self._loop, asyncio.AbstractEventLoop)
            else sys.modules["trio"].lowlevel.current_trio_token
        )

    def check(self) -> None:
        """Refuse a call that comes from elsewhere.

        Raises:
            WrongLoopError: Another event loop is running in this thread, or none.
        """
        try:
            if self._running_loop() is self._loop:
                return
        except RuntimeError:
            pass
        raise WrongLoopError(
            "this engine lives on another event loop: await it there, or use SyncJobEngine, "
            "which any thread may call"
        )


class LoopThread:
    """An event loop in a thread of its own, for as long as the process lives."""

    def __init__(self) -> None:
        self.forked = False
        self.loop = asyncio.new_event_loop()
        # Nothing of a caller's context comes along: it may say that trio is running here.
        self._context = Context()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="engine event loop", daemon=True
        )
        self._thread.start()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the loop call this, soon. Never waits, and may be called anywhere."""
        if not self.forked:
            self.loop.call_soon_threadsafe(callback, context=self._context)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        """Start a task on the loop."""
        return self._context.copy().run(asyncio.run_coroutine_threadsafe, coroutine, self.loop)

    def check(self) -> None:
        """Refuse a blocking call that could never be answered.

        Raises:
            EngineForkedError: The thread stayed behind in the parent process.
            WrongLoopError: The call comes from the very thread that would have to answer it.
        """
        if self.forked:
            raise EngineForkedError
        if threading.get_ident() == self._thread.ident:
            raise WrongLoopError(
                "a blocking call on the event-loop thread that serves it would wait for itself"
            )


_loop_thread: LoopThread | None = None
_left_behind: list[LoopThread] = []
_starting = threading.Lock()


def _the_loop_thread() -> LoopThread:
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


class Lane:
    """The way of threads to an owner that is served on the loop thread.

    Entering the owner's context blocks until it is open. From then on the loop thread holds the
    owner, and it ends by `close` or `close_soon`.

    Args:
        owner: The context in which the inbox is answered.
        inbox: Where messages go.

    Raises:
        WrongLoopError: Made on the loop thread itself.
        BaseException: Whatever entering the owner's context raises.
    """

    def __init__(self, owner: AbstractAsyncContextManager[object], inbox: Inbox) -> None:
        self._thread = _the_loop_thread()
        self._thread.check()
        self._inbox = inbox
        self._queue: deque[tuple[Message[Any], Notify]] = deque()
        self._awake = False
        self._leave = asyncio.Event()
        opened: Future[None] = Future()
        self._closed = self._thread.start(_stay(owner, opened, self._leave))
        try:
            opened.result()
        except BaseException:  # an interrupt, too
            self.close_soon()
            raise

    def ask(self, message: Message[Answer], timeout: float | None) -> Answer:
        """Send a message and return its answer; see `send`.

        Raises:
            EngineError: The answer.
        """
        self.send(message, timeout)
        return message.outcome()

    def send(self, message: Message[Any], timeout: float | None) -> None:
        """Send a message to the owner and wait for its answer, for ``timeout`` seconds at most.

        Raises:
            CallTimeoutError: No answer in time; `WriteTimeoutError` for a message that writes.
            OverloadedError: Too many messages of threads are waiting.
            EngineForkedError, WrongLoopError: See `LoopThread.check`.
        """
        self._thread.check()
        seconds = -1 if timeout is None else check_timeout(timeout)
        if len(self._queue) >= self._inbox.max_waiting:
            raise OverloadedError(len(self._queue), self._inbox.max_waiting)
        answered = threading.Lock()
        answered.acquire()
        self._queue.append((message, answered.release))
        if not self._awake:
            try:
                self._awake = True
                self._thread.call_soon(self._pump)
            except BaseException:  # an interrupt: let the next caller wake the loop
                self._awake = False
                raise
        if not answered.acquire(timeout=seconds):
            raise WriteTimeoutError(seconds) if message.writes else CallTimeoutError(seconds)

    def _pump(self) -> None:
        """On the loop: put into the inbox what the threads have queued."""
        self._awake = False  # first, so that whatever is queued from now on wakes the loop again
        while self._queue:
            message, notify = self._queue.popleft()
            try:
                self._inbox.put(message, notify)
            except EngineError as error:
                message.answer(error)
                notify()

    def close(self) -> None:
        """Close the owner and wait until it has answered all. Does nothing the second time.

        Raises:
            WrongLoopError: Called on the loop thread.
            EngineCrashedError: The owner had crashed.
        """
        if self._thread.forked or self._closed.done():
            return
        self._thread.check()
        self.close_soon()
        self._closed.result()

    def close_soon(self) -> None:
        """Close the owner without waiting. May be called anywhere, by a finalizer too."""
        self._thread.call_soon(self._leave.set)


async def _stay(
    owner: AbstractAsyncContextManager[object], opened: Future[None], leave: asyncio.Event
) -> None:
    """Hold the owner's context open until told to leave.

    Nothing is raised but into one of the two futures: an interrupt or an exit that got out of a
    task would stop the loop for every engine of the process.
    """
    try:
        async with owner:
            opened.set_result(None)
            await leave.wait()
    except BaseException as error:  # noqa: BLE001 - see above
        failure = error if isinstance(error, Exception) else EngineCrashedError(error)
        if opened.done():
            raise failure from failure.__cause__
        opened.set_exception(failure)


def check_timeout(timeout: object) -> float:
    """Return the timeout in seconds, as much as a thread can wait.

    Raises:
        InvalidValueError: It is no number, or below zero.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InvalidValueError("timeout", f"must be seconds, 0 or more, not {shown(timeout)}")
    return min(float(timeout), threading.TIMEOUT_MAX)
