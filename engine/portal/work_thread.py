"""A thread of its own for work that blocks: one call after another, in the order of their coming.

`anyio.to_thread` borrows a thread for each call, from all who borrow them; for calls as short as a
commit that takes as long as the call itself. This one waits on a queue, and tells the event loop by
the loop's own means.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

from anyio.lowlevel import current_token

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
        self._started = False

    async def run(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Make a call on the thread, and return what it returns.

        Cancelled, it leaves the call to go on, and to end before the next begins.
        """
        if not self._started:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._started = True
        done = choose_event()()
        tell = call_soon()
        work = _Work(lambda: function(*args, **kwargs), lambda: tell(done.set))
        self._queue.put(work)
        await done.wait()
        return work.outcome()

    def start(self, function: Callable[[], None]) -> None:
        """Make a call on the thread, which has started, without waiting; it must not raise."""
        self._queue.put(_Work(function, lambda: None))

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work.do()
            del work  # it holds a caller's arguments until the next one comes

    def close(self) -> None:
        """Let the thread end when it has made the calls that wait."""
        if self._started:
            self._started = False
            self._queue.put(None)


def call_soon() -> Callable[[Callable[[], object]], object]:
    """Return what makes the running event loop call something soon, from any thread."""
    loop: Any = current_token().native_token
    asyncio_runs = isinstance(loop, asyncio.AbstractEventLoop)
    call: Callable[[Callable[[], object]], object] = (
        loop.call_soon_threadsafe if asyncio_runs else loop.run_sync_soon
    )
    return call
