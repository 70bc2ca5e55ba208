"""A thread of its own for work that blocks: one call after another, in the order of their coming.

`anyio.to_thread` borrows a thread for each call, from all who borrow them; for calls as short as a
commit that takes as long as the call itself. This one waits on a queue, and tells the event loop by
the loop's own means.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

from anyio.lowlevel import current_token

from engine.domain.exceptions import EngineForkedError
from engine.portal.home import choose_event

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Work(Generic[Result]):
    """One call, and what came of it."""

    def __init__(self, call: Callable[[], Result], tell: Callable[[], object]) -> None:
        self._call = call
        self._tell = tell
        self._error: BaseException | None = None

    def do(self) -> None:
        """Make the call and tell who waits for it. Never raises."""
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits any more
            self._tell()

    def outcome(self) -> Result:
        """Return what the call returned, or raise what it raised."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return self._result


class WorkThread:
    """Makes calls on a thread of its own, one at a time. It starts with the first call.

    A daemon: it does not hold up the interpreter's exit. Who has it closes it by `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._started_in = 0  # the process

    async def run(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Make a call on the thread, and return what it returns.

        Cancelled, it leaves the call to go on, and to end before the next begins.
        """
        self._begin()
        done = choose_event()()
        tell = call_soon()
        work = _Work(lambda: function(*args, **kwargs), lambda: tell(done.set))
        self._queue.put(work)
        await done.wait()
        return work.outcome()

    def _begin(self) -> None:
        """Start the thread, if it has not started.

        Raises:
            EngineForkedError: It stayed behind in the process that this one was forked from.
        """
        if not self._started_in:
            # The thread has nothing of this object, which can thus become garbage, and end it.
            queue = self._queue
            threading.Thread(target=_work, args=(queue,), name=self._name, daemon=True).start()
            self._started_in = os.getpid()
            weakref.finalize(self, queue.put, None).atexit = False
        elif self._started_in != os.getpid():
            raise EngineForkedError

    def start(self, function: Callable[[], None]) -> None:
        """Make a call on the thread, which has started, without waiting; it must not raise."""
        self._queue.put(_Work(function, lambda: None))

    def close(self) -> None:
        """Let the thread end when it has made the calls that wait."""
        if self._started_in:
            self._started_in = 0
            self._queue.put(None)
            self._queue = SimpleQueue()


def _work(queue: SimpleQueue[_Work[Any] | None]) -> None:
    while (work := queue.get()) is not None:
        work.do()
        del work  # it holds a caller's arguments until the next one comes


def call_soon() -> Callable[[Callable[[], object]], object]:
    """Return what makes the running event loop call something soon, from any thread."""
    loop: Any = current_token().native_token
    asyncio_runs = isinstance(loop, asyncio.AbstractEventLoop)
    call: Callable[[Callable[[], object]], object] = (
        loop.call_soon_threadsafe if asyncio_runs else loop.run_sync_soon
    )
    return call
