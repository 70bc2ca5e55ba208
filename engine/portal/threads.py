"""Threads for blocking functions of which some may never return.

`anyio.to_thread` is not for those. On asyncio its threads are no daemons, unless the thread that
runs the loop is one, and the interpreter waits at its exit for every call that has been given up.
(On trio they are.) Nor does it tell when such a call has ended, or where it hangs.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVarTuple, Unpack

from anyio.lowlevel import checkpoint_if_cancelled

from engine.domain.exceptions import EngineForkedError
from engine.portal.affinity import choose_event
from engine.portal.stacks import frames_of, stack_text
from engine.portal.work import Result, Work, call_soon

Arguments = TypeVarTuple("Arguments")


class Call(Work[Result]):
    """A function that a thread is calling, or has called. The event loop that asked may ask for it.

    Attributes:
        ended: Whether the function has returned or raised. Any thread may look.
    """

    __slots__ = ("_done", "_ident", "ended")

    def __init__(self, function: Callable[[], Result]) -> None:
        self._done = done = choose_event()()
        call = call_soon()
        super().__init__(function, lambda: call(done.set))
        self._ident = 0
        self.ended = False

    def make(self) -> None:
        """Make the call, in this thread. Never raises."""
        self._ident = threading.get_ident()
        super().make()
        self.ended = True

    async def until_ended(self) -> None:
        """Wait until the function has ended, however it ends. Any number of tasks may wait.

        Cancelled, it leaves the function to go on.
        """
        if not self.ended:  # what is set then is set on this loop, which is here at the moment
            await self._done.wait()

    async def wait(self) -> Result:
        """Return what the function returns, or raise what it raises. To be had once.

        Cancelled, it leaves the function to go on, and may be called again.
        """
        await self.until_ended()
        return self.outcome()

    def stack(self) -> str | None:
        """Return the stack of the function's thread at this moment; None when it has ended."""
        frames = frames_of(self._ident)
        # The thread may be at its next call already; then this one had ended before.
        return None if self.ended else stack_text(frames)


class Threads:
    """Calls each function in a thread of its own: as many at once as there are calls.

    How many that may be is the caller's to limit. A thread whose function has ended waits for the
    next one, so there are in the end as many as were needed at once. They are daemons: none holds
    up the interpreter's exit. Who has this closes it by `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_in = 0  # the process
        self._open()

    def _open(self) -> None:
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        # One item for each thread that waits and for which no call is on its way.
        self._idle: deque[None] = deque()

    async def run(
        self, function: Callable[[Unpack[Arguments]], Result], *args: *Arguments
    ) -> Result:
        """Call a function in a thread, and return what it returns or raise what it raises.

        Cancelled, it returns at once, and leaves the function to go on. Cancelled before, it calls
        nothing.

        Raises:
            EngineForkedError: See `start`.
        """
        await checkpoint_if_cancelled()
        return await self.start(function, *args).wait()

    def start(
        self, function: Callable[[Unpack[Arguments]], Result], *args: *Arguments
    ) -> Call[Result]:
        """Have a thread call a function, in a copy of this context, and do not wait for it.

        Raises:
            EngineForkedError: The threads stayed behind in the process that this one was forked
                from.
            RuntimeError: The system can't start another thread. Nothing is called.
        """
        self._check()
        context = _context_for_threads()
        call = Call(lambda: context.run(function, *args))
        try:
            self._idle.pop()
        except IndexError:
            # The thread has nothing of this object, which can thus become garbage, and end it.
            threading.Thread(
                target=_work, args=(self._calls, self._idle), name=self._name, daemon=True
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
        """Let the threads end that wait, and each other one when its function has ended."""
        if self._started_in:
            self._started_in = 0
            self._calls.put(None)
            self._open()


def _work(calls: SimpleQueue[Call[Any] | None], idle: deque[None]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        idle.append(None)  # first, so that who is told finds a thread that waits
        call.tell()
        del call  # it holds a caller's arguments until the next one comes
    calls.put(None)  # for the next thread


def _context_for_threads() -> Context:
    """Return a copy of this context in which no event loop is said to run."""
    context = copy_context()
    if sniffio := sys.modules.get("sniffio"):  # else nothing says so
        context.run(sniffio.current_async_library_cvar.set, None)
    return context
