"""One blocking call that is made on another thread, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from anyio.lowlevel import current_token

Result = TypeVar("Result")


class Work(Generic[Result]):
    """A call to be made, and then its outcome.

    Args:
        function: What is called.
        tell: Called by the thread when the outcome is there.
    """

    __slots__ = ("_error", "_function", "_result", "_tell")

    def __init__(self, function: Callable[[], Result], tell: Callable[[], object]) -> None:
        self._function = function
        self._tell = tell
        self._error: BaseException | None = None

    def make(self) -> None:
        """Make the call. Never raises."""
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error

    def tell(self) -> None:
        """Tell who waits for the call that it has been made."""
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits any more
            self._tell()

    def outcome(self) -> Result:
        """Return what the call returned, or raise what it raised. To be asked once."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return self._result


def call_soon() -> Callable[[Callable[[], object]], object]:
    """Return what makes the running event loop call something soon.

    It may be called from any thread and from a signal's handler. Once the loop has ended it raises
    a `RuntimeError`.
    """
    loop: Any = current_token().native_token
    asyncio_runs = isinstance(loop, asyncio.AbstractEventLoop)
    call: Callable[[Callable[[], object]], object] = (
        loop.call_soon_threadsafe if asyncio_runs else loop.run_sync_soon
    )
    return call
