"""Limited thread: makes the calls on a database, and ends those that take too long.

A server, a proxy or a network can swallow an answer, for which a blocking call waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple, Unpack

import anyio

from engine.portal import WorkThread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

CALL_SECONDS: Final = 15.0  # the server's own limits are lower
_CUT_AGAIN_SECONDS: Final = 1.0


class LimitedThread:
    """A thread of its own for blocking calls, one at a time; each is cut when its time ends.

    Args:
        name: That of the thread.
        cut: Ends a call that waits for the server: it then raises an error soon. Does nothing to
            one that connects.
    """

    def __init__(self, name: str, cut: Callable[[], object]) -> None:
        self._thread = WorkThread(name)
        self._cut = cut

    async def run(
        self,
        function: Callable[[Unpack[Arguments]], Result],
        *arguments: *Arguments,
        seconds: float = CALL_SECONDS,
    ) -> Result:
        """Make a call on the thread, and return its result; cut it after some seconds.

        It is cut again each second until it has ended: it may connect, which nobody can cut, and
        then wait for an answer. A call that has ended by the end of its time is left alone: where
        the event loop was blocked, both are seen at once.

        Cancelling it leaves the call running; the next one begins after its end.
        """
        call = self._thread.start(lambda: function(*arguments))
        with anyio.move_on_after(seconds):
            await call.until_ended()
        while not call.ended:
            self._cut()
            with anyio.move_on_after(_CUT_AGAIN_SECONDS):
                await call.until_ended()
        return await call.wait()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()
