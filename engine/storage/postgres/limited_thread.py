"""Limited thread: makes the calls on a database, and ends those that take too long.

A server, a proxy or a network can swallow an answer, for which a blocking call waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar, TypeVarTuple, Unpack

import anyio

from engine.portal import WorkThread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

CALL_SECONDS: Final = 15.0  # the server's own limits are lower


class LimitedThread:
    """A thread of its own for blocking calls, one at a time; each has a limit.

    Args:
        name: That of the thread.
        cut: Ends a call that waits for the server: it then raises an error soon.
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

        Cancelling it leaves the call running; the next one begins after its end.
        """
        call = _Call(lambda: function(*arguments))
        with anyio.move_on_after(seconds):
            await self._thread.run(call.make)
            return call.outcome()
        self._cut()
        return await self._thread.run(call.outcome)  # begins after the end of the call

    def close(self) -> None:
        """End the thread."""
        self._thread.close()


class _Call(Generic[Result]):
    """A call that keeps its outcome."""

    _result: Result

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._error: BaseException | None = None

    def make(self) -> None:
        """Call the function."""
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is awaited
            self._error = error

    def outcome(self) -> Result:
        """Return the function's result, or raise its error."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return self._result
