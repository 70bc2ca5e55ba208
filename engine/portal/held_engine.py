"""Keeps the context of an awaited engine open, for tasks that enter and leave it as they like.

The context has a task group. anyio lets only the task that entered a group leave it, and only the
innermost group first. But fixtures, startup and shutdown callbacks, and cells of a notebook run in
tasks of their own. So on asyncio a task of the engine's own holds the context. trio has no tasks
outside of a nursery, so there the rule stays, with a typed error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from anyio.lowlevel import current_token

from engine.domain.exceptions import WrongLoopError
from engine.portal.tasks import BegunTask, until_done


class Context(Protocol):
    """A context that can cancel its body.

    Attributes:
        cancel_body: Called at an interrupt; None: it cancels the task that entered it.
    """

    cancel_body: Callable[[], object] | None

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None: ...


class Held(Protocol):
    """Keeps a context open."""

    async def enter(self) -> None:
        """Enter the context. Cancelling it leaves the context again.

        Raises:
            BaseException: Raised on entering the context.
        """
        ...

    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave the context, as by its ``__aexit__``. A cancellation does not cut it short.

        Does nothing the second time, but waits until the context has been left.

        Raises:
            WrongLoopError: Another task must leave it, or another context has to be left before.
            BaseException: Raised on leaving the context.
        """
        ...


def hold(context: Context) -> Held:
    """Return what keeps a context open on the running event loop."""
    is_asyncio = isinstance(current_token().native_token, asyncio.AbstractEventLoop)
    return _InOwnTask(context) if is_asyncio else _InEnteringTask(context)


class _InOwnTask:
    """Holds a context in a task of its own, on asyncio.

    An interrupt cancels the entering task, if it still runs, and the context stays open until that
    has closed what it has opened inside: the end of the task leaves the context, if nothing does
    before. Without that task, the context is left at once. Leaving raises the interrupt, in any
    task. It is what a signal's handler raised, or another exception that is no `Exception`.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        context.cancel_body = self._cancel_body
        self._decided = asyncio.Event()  # whether the context is entered
        self._leaving = asyncio.Event()
        self._is_entered = False
        self._error: BaseException | None = None
        self._entering = asyncio.current_task()
        self._has_cancelled = False
        self._is_cut = False  # by the context itself
        self._is_interrupted = False

    async def enter(self) -> None:
        """See `Held.enter`."""
        loop = asyncio.get_running_loop()
        self._task = BegunTask(self._hold(), loop=loop, name="engine")
        try:
            await self._decided.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            await until_done(self._task)
            raise
        if not self._is_entered:
            await until_done(self._task)
            self._raise()

    async def _hold(self) -> None:
        """Run as the task. Raises nothing: an interrupt would end the event loop."""
        try:
            async with self._context:
                self._is_entered = True
                self._decided.set()
                await self._until_leaving()
        except BaseException as error:  # noqa: BLE001 - raised by `enter` or `leave`
            self._error = error
            if self._is_cut and not isinstance(error, asyncio.CancelledError):
                self._cancel_body()
        finally:
            self._decided.set()

    async def _until_leaving(self) -> None:
        """Wait; only the end of the loop, or a bug in a task of the context, cancels that."""
        try:
            await self._leaving.wait()
        except asyncio.CancelledError:
            self._is_cut = True
            raise

    def _cancel_body(self) -> None:
        """Cancel the entering task, after it has got an answer that is on its way."""
        self._is_interrupted = True
        asyncio.get_running_loop().call_soon(self._cancel_entering)

    def _cancel_entering(self) -> None:
        """Cancel the entering task, unless it has left; if it has ended, leave the context."""
        if self._leaving.is_set() or self._has_cancelled:
            return
        if self._entering is not None and self._entering.cancel("the engine was interrupted"):
            self._has_cancelled = True
            self._entering.add_done_callback(lambda _: self._leaving.set())
        else:
            self._leaving.set()

    async def leave(
        self,
        kind: type[BaseException] | None,  # noqa: ARG002 - as for `Held.leave`
        error: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002 - as for `Held.leave`
    ) -> None:
        """See `Held.leave`. An error of the body comes before those of leaving, if no interrupt."""
        self._leaving.set()
        came = await until_done(self._task)
        leaving = asyncio.current_task()
        if self._has_cancelled and leaving is not None and leaving is self._entering:
            self._has_cancelled = False
            leaving.uncancel()
        if error is None or self._is_interrupted or not isinstance(self._error, Exception):
            self._raise()
        if came is not None and error is None:
            raise came

    def _raise(self) -> None:
        """Raise the error of the context, if it has one."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame


class _InEnteringTask:
    """Holds a context in the task that enters it, on trio."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._is_left = False
        self._current_task: Any = sys.modules["trio"].lowlevel.current_task

    async def enter(self) -> None:
        """See `Held.enter`."""
        await self._context.__aenter__()
        self._task = self._current_task()
        self._nursery = self._task.child_nurseries[-1]

    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """See `Held.leave`."""
        if self._is_left:
            return None
        nurseries = self._task.child_nurseries
        if self._current_task() is not self._task:
            raise WrongLoopError(
                "on trio the task that entered an engine has to leave it, and another task tries "
                "to: use `async with` in one task, or asyncio"
            )
        if nurseries[-1:] != [self._nursery]:
            raise WrongLoopError(
                "on trio the engine that was entered last has to be left first, and so has a task "
                "group that was opened after it: use nested `async with`"
            )
        self._is_left = True
        return await self._context.__aexit__(kind, error, traceback)
