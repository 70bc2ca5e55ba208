"""A thread of its own for work that blocks: one call after another, in the order of their coming.

`anyio.to_thread` borrows a thread for each call, from all who borrow them; for calls as short as a
commit that takes as long as the call itself. This one waits on a queue, and tells the event loop by
the loop's own means.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec

from engine.domain.exceptions import EngineForkedError
from engine.portal.affinity import choose_event
from engine.portal.work import Result, Work, call_soon

Parameters = ParamSpec("Parameters")


class WorkThread:
    """Makes calls on a thread of its own, one at a time. It starts with the first call.

    A daemon: it does not hold up the interpreter's exit. Who has it closes it by `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Work[Any] | None] = SimpleQueue()
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
        work = Work(lambda: function(*args, **kwargs), lambda: tell(done.set))
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
        self._queue.put(Work(function, lambda: None))

    def close(self) -> None:
        """Let the thread end when it has made the calls that wait."""
        if self._started_in:
            self._started_in = 0
            self._queue.put(None)
            self._queue = SimpleQueue()


def _work(queue: SimpleQueue[Work[Any] | None]) -> None:
    while (work := queue.get()) is not None:
        work.make()
        work.tell()
        del work  # it holds a caller's arguments until the next one comes
