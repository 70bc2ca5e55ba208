"""The bridge from threads to an engine on the loop thread, and the time limits of their calls.

Threads put messages into a queue. One wake-up of the event loop carries all that are queued before
the loop looks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from engine.domain.exceptions import (
    CallTimeoutError,
    EngineCrashedError,
    EngineError,
    OverloadedError,
    WriteTimeoutError,
)
from engine.domain.validation import check_timeout
from engine.portal.loop_thread import the_loop_thread

Result = TypeVar("Result")
Answer_co = TypeVar("Answer_co", covariant=True)

Notify: TypeAlias = Callable[[], object]


class Request(Protocol[Answer_co]):
    """A message from a thread, with the slot of its answer."""

    is_abandoned: bool

    weight: int

    @property
    def writes(self) -> bool:
        """Whether the message may change jobs."""
        ...

    def answer(self, value: EngineError, /) -> None:
        """Refuse the message."""
        ...

    def outcome(self) -> Answer_co:
        """Return the answer, or raise it if it is an error."""
        ...


class TimeLimit:
    """Limits the time of a whole blocking call, however often it waits. The time begins here.

    Args:
        timeout: In seconds; None for no limit.

    Attributes:
        seconds: The timeout; None for no limit.

    Raises:
        InvalidValueError: The timeout is no number, or below zero.
    """

    __slots__ = ("_end", "seconds")

    def __init__(self, timeout: object) -> None:
        self.seconds = check_timeout(timeout)
        self._end = 0.0 if self.seconds is None else time.monotonic() + self.seconds

    def left(self) -> float | None:
        """Return the seconds that are left, at most as many as a thread can wait."""
        if self.seconds is None:
            return None
        return min(max(self._end - time.monotonic(), 0.0), threading.TIMEOUT_MAX)

    def check(self, *_: object) -> None:
        """End the call if its time is up. Takes any arguments, as a callback.

        Raises:
            CallTimeoutError: It is.
        """
        if self.seconds is not None and time.monotonic() > self._end:
            raise CallTimeoutError(self.seconds)


class HeldContext:
    """Keeps an asynchronous context open on the loop thread, until `leave` or `leave_soon`.

    Making this object enters the context, and blocks meanwhile.

    Args:
        context: The context to enter and leave there.
        check: Called before a wait for its end, to refuse callers that must not wait.

    Raises:
        WrongLoopError: Made on the loop thread itself.
        BaseException: Raised on entering the context.
    """

    def __init__(
        self, context: AbstractAsyncContextManager[object], check: Callable[[], object]
    ) -> None:
        self._check = check
        self._thread = the_loop_thread()
        self._thread.check()
        self._leave = asyncio.Event()
        self._is_left = False  # and its error raised
        opened: Future[None] = Future()
        self._left = self._thread.start(partial(_stay, context, opened, self._leave))
        try:
            opened.result()
        except BaseException:  # an interrupt, too
            self.leave_soon()
            raise

    def leave(self) -> None:
        """Leave the context and wait until it has been left. Does nothing the second time.

        Raises:
            EngineError: Of the check.
            Exception: Raised on leaving the context.
        """
        if self._thread.forked or self._is_left:
            return
        self._check()
        self.leave_soon()
        error = self._left.exception()
        self._is_left = True
        if error is not None:
            raise error

    def leave_soon(self) -> None:
        """Leave the context without waiting. May be called anywhere, even by a finalizer."""
        self._thread.call_soon(self._leave.set)


class SyncBridge:
    """Carries messages from threads to an owner on the loop thread, and answers back.

    Args:
        owner: The context that answers messages while it is open; see `HeldContext`, also for the
            errors.
        put: Puts a message into the owner's inbox. Called on the loop thread.
        max_waiting: How many messages may wait for the loop thread.
        count_refused: Adds to the number of refused messages. Called on the loop thread.
        may_block_loop: Whether calls may come from a thread whose event loop is running. The owner
            is opened in any thread.

    Attributes:
        check: Refuses a caller that must not wait; see `LoopThread.check_free`.
    """

    def __init__(
        self,
        owner: AbstractAsyncContextManager[object],
        *,
        put: Callable[[Any, Notify], object],
        max_waiting: int,
        count_refused: Callable[[int], object],
        may_block_loop: bool,
    ) -> None:
        self._thread = the_loop_thread()
        self.check = self._thread.check if may_block_loop else self._thread.check_free
        self._put = put
        self._max_waiting = max_waiting
        self._count_refused = count_refused
        self._queue: deque[tuple[Request[Any], Notify]] = deque()
        self._is_woken = False
        self._refused = 0  # by this bridge since the loop looked
        self._counting = threading.Lock()
        self._held = HeldContext(owner, self.check)
        self.close = self._held.leave
        """Closes the owner, and waits until it has answered all; see `HeldContext.leave`."""
        self.close_soon = self._held.leave_soon

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child of the process that has the owner."""
        return self._thread.forked

    def ask(self, limit: TimeLimit, message: Request[Result]) -> Result:
        """Send a message and return its answer; see `send`.

        Raises:
            EngineError: The answer.
        """
        self.send(limit, message)
        return message.outcome()

    def send(self, limit: TimeLimit, message: Request[Any]) -> None:
        """Send a message to the owner and wait for its answer, until the limit is reached.

        Raises:
            CallTimeoutError: No answer in time; `WriteTimeoutError` for a message that writes.
            OverloadedError: Too many messages are waiting for the loop thread.
            EngineForkedError, WrongLoopError: See `LoopThread.check_free`.
        """
        self.check()
        if len(self._queue) >= self._max_waiting:
            with self._counting:
                self._refused += 1
            jobs = sum(waiting.weight for waiting, _ in list(self._queue))
            raise OverloadedError(jobs, self._max_waiting)
        answered = threading.Lock()
        answered.acquire()
        self._queue.append((message, answered.release))
        if not self._is_woken:
            try:
                self._is_woken = True
                self._thread.call_soon(self._pump)
            except BaseException:  # an interrupt, before the wake-up or after it
                message.is_abandoned = True
                self._is_woken = False
                self._thread.call_soon(self._pump)  # for callers who relied on this wake-up
                raise
        try:
            left = limit.left()
            in_time = answered.acquire(timeout=-1 if left is None else left)
        except BaseException:  # an interrupt
            message.is_abandoned = True
            raise
        if limit.seconds is not None and not in_time:
            message.is_abandoned = True
            error = WriteTimeoutError if message.writes else CallTimeoutError
            raise error(limit.seconds)

    def _pump(self) -> None:
        """Put the queued messages into the inbox. Runs on the loop."""
        self._is_woken = False  # first: a message queued from now on wakes the loop again
        if self._refused:
            with self._counting:
                self._count_refused(self._refused)
                self._refused = 0
        while self._queue:
            message, notify = self._queue.popleft()
            try:
                self._put(message, notify)
            except EngineError as error:
                message.answer(error)
                notify()

    def run(
        self, function: Callable[[], Coroutine[Any, Any, Result]], limit: TimeLimit | None = None
    ) -> Result:
        """Run an asynchronous function on the loop thread, and return its result.

        An interrupt cancels the function, and so does the end of its time.

        Raises:
            CallTimeoutError: It has not ended in time.
            EngineForkedError, WrongLoopError: See `LoopThread.check_free`.
            BaseException: The function's own.
        """
        self.check()
        future = self._thread.start(function)
        try:
            return future.result(None if limit is None else limit.left())
        except TimeoutError:
            if limit is None or not future.cancel():  # it has ended: the error may be its own
                return future.result()
            raise CallTimeoutError(limit.seconds or 0.0) from None
        except BaseException:  # an interrupt, too
            future.cancel()
            raise

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Schedule a callback on the loop thread."""
        self._thread.call_soon(callback)


async def _stay(
    context: AbstractAsyncContextManager[object], opened: Future[None], leave: asyncio.Event
) -> None:
    """Keep a context open until the event is set.

    Errors go to one of the two futures alone: an interrupt or an exit that leaves a task would stop
    the loop for every engine of the process.
    """
    try:
        async with context:
            opened.set_result(None)
            await leave.wait()
    except BaseException as error:  # noqa: BLE001 - see above
        failure = error if isinstance(error, Exception) else EngineCrashedError(error)
        if opened.done():
            raise failure from failure.__cause__
        opened.set_exception(failure)
