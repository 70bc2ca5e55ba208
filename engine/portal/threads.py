"""Threads of the engine's own for functions that block.

`WorkThread` makes one call after another, such as the commits of a storage. `anyio.to_thread` would
borrow a thread from a shared pool for each call, and for a call as short as a commit that takes as
long as the call itself.

`Threads` makes any number of calls at once, some of which may never return. `anyio.to_thread` is
not for those: on asyncio its threads are no daemons, unless the thread that runs the loop is one,
so the interpreter's exit would wait for every abandoned call. Nor does it report the end of such a
call, or its stack.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar, TypeVarTuple, Unpack

from engine.domain.exceptions import EngineForkedError
from engine.portal.affinity import call_soon, choose_event
from engine.portal.forking import CallLock
from engine.portal.watchdog import frames_of, stack_text

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")
Arguments = TypeVarTuple("Arguments")


def other_threads() -> frozenset[int]:
    """Return the numbers of all other threads, as `threading.get_ident` gives them."""
    return frozenset(
        thread.ident
        for thread in threading.enumerate()
        if thread.ident is not None and thread is not threading.current_thread()
    )


class _End:
    """Tells on the event loop that a call has ended. Refers to nothing of the call."""

    __slots__ = ("done", "is_told", "listeners")

    def __init__(self) -> None:
        self.done = choose_event()()
        self.listeners: list[Callable[[], object]] = []
        self.is_told = False

    def tell(self) -> None:
        self.is_told = True
        self.done.set()
        while self.listeners:
            self.listeners.pop()()


class BlockingCall(Generic[Result]):
    """A call that a thread makes for the event loop that started it, and that can be abandoned.

    Args:
        function: The function to call.

    Attributes:
        ended: Whether the function has returned or raised. Any thread may read it.
    """

    __slots__ = ("_end", "_error", "_function", "_ident", "_notify", "_result", "ended")

    def __init__(self, function: Callable[[], Result]) -> None:
        self._end = end = _End()
        call = call_soon()
        self._function = function
        self._notify: Callable[[], object] = lambda: call(end.tell)
        self._error: BaseException | None = None
        self._ident = 0
        self.ended = False

    def make(self) -> None:
        """Make the call, in this thread. Never raises."""
        self._ident = threading.get_ident()
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is waited for
            self._error = error
        self.ended = True

    def notify(self) -> None:
        """Wake the tasks that wait for the outcome; to be called by the thread that made it."""
        with suppress(RuntimeError):  # the event loop has ended, and its tasks with it
            self._notify()

    def outcome(self) -> Result:
        """Return the function's result, or raise its error. To be called once, after its end."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return self._result

    def when_ended(self, function: Callable[[], object]) -> None:
        """Call a function, which must not raise, once the call has ended; now if it has.

        To be called on the event loop, which also calls the function. No task waits for it, so it
        delays no end of the loop or of an engine.
        """
        if self._end.is_told:
            function()
        else:
            self._end.listeners.append(function)

    async def until_ended(self) -> None:
        """Wait until the function has returned or raised. Any number of tasks may wait.

        Cancelling it leaves the function running.
        """
        if not self.ended:  # the event is then set later on this loop, which is busy here
            await self._end.done.wait()

    async def wait(self) -> Result:
        """Wait, then return the function's result or raise its error. Gives the outcome once.

        Cancelling it leaves the function running; it may be called again.
        """
        await self.until_ended()
        return self.outcome()

    def stack(self) -> str | None:
        """Return the current stack of the function's thread; None once the function has ended."""
        frames = frames_of(self._ident)
        # The thread may be at its next call already; then this one ended before.
        return None if self.ended else stack_text(frames)


class WorkThread:
    """Makes calls on one thread of its own, one at a time. The first call starts the thread.

    The thread is a daemon: it does not delay the interpreter's exit. `close` ends it.

    To the thread and back takes longer than a short call. `enter` lets the caller's own thread make
    such calls instead, still one at a time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[BlockingCall[Any] | None] = SimpleQueue()
        self._started_in = 0  # the process
        self._lock = CallLock()  # of the thread; a new one for each
        self._has_entered = False

    async def run(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Make a call on the thread, and return its result.

        Cancelling it leaves the call running; the next one begins after its end.
        """
        return await self.start(lambda: function(*args, **kwargs)).wait()

    def start(self, function: Callable[[], Result]) -> BlockingCall[Result]:
        """Make a call on the thread, after those before it, without waiting for it.

        Raises:
            EngineForkedError: The thread stayed in the process that this one was forked from.
        """
        self._begin()
        self._leave_if_interrupted()
        call = BlockingCall(function)
        self._queue.put(call)
        return call

    def _begin(self) -> None:
        """Start the thread, unless it has started.

        Raises:
            EngineForkedError: The thread stayed in the process that this one was forked from.
        """
        if not self._started_in:
            # The thread refers to nothing of this object, which can thus become garbage, and end
            # the thread.
            queue, self._lock = self._queue, CallLock()
            threading.Thread(
                target=_make_in_order, args=(queue, self._lock), name=self._name, daemon=True
            ).start()
            self._started_in = os.getpid()
            weakref.finalize(self, queue.put, None).atexit = False
        elif self._started_in != os.getpid():
            raise EngineForkedError

    def enter(self) -> bool:
        """Keep the started thread from making calls, until `leave`: make short ones here.

        Never waits.

        Returns:
            Whether it does so. False: the thread makes a call now, a fork is under way, or the
            thread stayed in another process.
        """
        self._leave_if_interrupted()
        if self._started_in != os.getpid():
            return False
        self._has_entered = True  # first: an interrupt may come at any step
        self._has_entered = self._lock.try_enter()
        return self._has_entered

    def leave(self) -> None:
        """Let the thread make calls again."""
        self._lock.leave()
        self._has_entered = False

    def _leave_if_interrupted(self) -> None:
        """Leave, if an interrupt came in the way of that: no call is under way on this thread."""
        if self._has_entered:
            with suppress(RuntimeError):  # it came before the lock was taken, or after its release
                self._lock.leave()
            self._has_entered = False

    def close(self) -> None:
        """End the thread after its queued calls."""
        if self._started_in:
            self._started_in = 0
            self._queue.put(None)
            self._queue = SimpleQueue()


def _make_in_order(queue: SimpleQueue[BlockingCall[Any] | None], lock: CallLock) -> None:
    with lock.registered():
        while (call := queue.get()) is not None:
            with lock:
                call.make()
            call.notify()
            del call  # it holds a caller's arguments until the next one comes


class Threads:
    """Makes each call on a thread of its own: as many at once as there are calls.

    The caller limits their number. A thread whose function has ended waits for the next call, so
    there are as many threads as calls were running at once. They are daemons: none delays the
    interpreter's exit. `close` ends them.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_in = 0  # the process
        self._open()

    def _open(self) -> None:
        self._calls: SimpleQueue[BlockingCall[Any] | None] = SimpleQueue()
        # One item for each thread that waits and has no call on its way.
        self._idle: deque[None] = deque()

    def start(
        self, function: Callable[[Unpack[Arguments]], Result], *args: *Arguments
    ) -> BlockingCall[Result]:
        """Call a function on a thread, in a copy of this context, without waiting for it.

        Raises:
            EngineForkedError: The threads stayed in the process that this one was forked from.
            RuntimeError: The system can't start another thread. The function is not called.
        """
        self._check()
        context = _context_for_threads()
        call = BlockingCall(lambda: context.run(function, *args))
        try:
            self._idle.pop()
        except IndexError:
            # The thread refers to nothing of this object; see `WorkThread`.
            threading.Thread(
                target=_make_for_any, args=(self._calls, self._idle), name=self._name, daemon=True
            ).start()
        self._calls.put(call)
        return call

    def _check(self) -> None:
        if not self._started_in:
            self._started_in = os.getpid()
            weakref.finalize(self, self._calls.put, None).atexit = False
        elif self._started_in != os.getpid():
            raise EngineForkedError

    def close(self) -> None:
        """End the waiting threads, and each busy one after its function."""
        if self._started_in:
            self._started_in = 0
            self._calls.put(None)
            self._open()


def _make_for_any(calls: SimpleQueue[BlockingCall[Any] | None], idle: deque[None]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        idle.append(None)  # first, so that the woken task finds an idle thread
        call.notify()
        del call  # it holds a caller's arguments until the next one comes
    calls.put(None)  # for the next thread


def _context_for_threads() -> Context:
    """Return a copy of this context in which no event loop seems to run."""
    context = copy_context()
    if sniffio := sys.modules.get("sniffio"):  # without it, nothing claims that one runs
        context.run(sniffio.current_async_library_cvar.set, None)
    return context
