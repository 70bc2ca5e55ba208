"""The way of threads into an engine's inbox.

A queue, and one wake-up of the event loop for all that is put into it before the loop looks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any

from engine.domain.exceptions import (
    CallTimeoutError,
    EngineCrashedError,
    EngineError,
    InvalidValueError,
    OverloadedError,
    WriteTimeoutError,
    shown,
)
from engine.inbox import Inbox, Notify
from engine.messages import Answer, Message
from engine.portal.loop_thread import the_loop_thread


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
        self._thread = the_loop_thread()
        self._thread.check()
        self._inbox = inbox
        self._max_waiting = inbox.max_waiting
        self._queue: deque[tuple[Message[Any], Notify]] = deque()
        self._awake = False
        self._refused = 0  # by this lane since the loop looked
        self._counting = threading.Lock()
        self._leave = asyncio.Event()
        self._told = False  # how it ended
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
        if len(self._queue) >= self._max_waiting:
            with self._counting:
                self._refused += 1
            raise OverloadedError(len(self._queue), self._max_waiting)
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
        try:
            in_time = answered.acquire(timeout=seconds)
        except BaseException:  # an interrupt
            message.given_up = True
            raise
        if not in_time:
            message.given_up = True
            raise WriteTimeoutError(seconds) if message.writes else CallTimeoutError(seconds)

    def _pump(self) -> None:
        """On the loop: put into the inbox what the threads have queued."""
        self._awake = False  # first, so that whatever is queued from now on wakes the loop again
        if self._refused:
            with self._counting:
                self._inbox.refused += self._refused
                self._refused = 0
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
            StorageError: The storage can't be closed.
        """
        if self._thread.forked or self._told:
            return
        self._thread.check()
        self.close_soon()
        error = self._closed.exception()
        self._told = True
        if error is not None:
            raise error

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


def until(timeout: float | None) -> Callable[[object, object], None]:
    """Return what raises when it is called after ``timeout`` seconds, whatever it is called with.

    Raises:
        CallTimeoutError: From that call.
        InvalidValueError: The timeout is no number, or below zero.
    """
    if timeout is None:
        return lambda _done, _of: None
    seconds = check_timeout(timeout)
    end = time.monotonic() + seconds

    def check(_done: object, _of: object) -> None:
        if time.monotonic() > end:
            raise CallTimeoutError(seconds)

    return check


def check_timeout(timeout: object) -> float:
    """Return the timeout in seconds, as much as a thread can wait.

    Raises:
        InvalidValueError: It is no number, or below zero.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InvalidValueError("timeout", f"must be seconds, 0 or more, not {shown(timeout)}")
    return float(min(timeout, threading.TIMEOUT_MAX))
