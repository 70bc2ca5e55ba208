"""Tasks that begin and end whatever is cancelled, and that cost little to start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, Protocol, TypeVarTuple, Unpack

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from engine.portal.interrupts import protect

Arguments = TypeVarTuple("Arguments")


class StartTask(Protocol):
    """Starts a task."""

    def __call__(
        self,
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        """Start a task that runs a function. The function must not raise."""
        ...


class BegunTask(asyncio.Task[None]):
    """A task that begins, even if it is cancelled before: its function has to clean up.

    It does not ask the loop's task factory, which may be an eager one: under that, anyio's cancel
    scopes break, and the task would begin before its starter has gone on.
    """

    __slots__ = ()

    def cancel(self, msg: Any = None) -> bool:  # noqa: ANN401 - as in the class above
        """Cancel the task after its first step, which is scheduled already."""
        coroutine = self.get_coro()
        if isinstance(coroutine, Coroutine) and getcoroutinestate(coroutine) == CORO_CREATED:
            self.get_loop().call_soon(super().cancel, msg)
            return True
        return super().cancel(msg)


def task_starter(tasks: TaskGroup, context: Context) -> StartTask:
    """Return a function that starts tasks outside of the program's cancel scopes.

    On asyncio these are plain tasks of the loop, at a sixth of the cost of a task group's. Only the
    end of the loop cancels them, and their starter has to wait for them. On trio they belong to the
    task group, and have to shield themselves; no Ctrl-C is raised in them.

    Each task begins with a copy of this context, not with that of whoever has opened the engine.
    None begins before its starter has gone on.
    """
    loop: Any = current_token().native_token
    running: set[asyncio.Task[None]] = set()  # the loop refers to its tasks only weakly

    def start_on_asyncio(
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        coroutine = _removed(function(*args))
        running.add(BegunTask(coroutine, loop=loop, name=name, context=context.copy()))

    async def _removed(function: Coroutine[Any, Any, None]) -> None:
        # At a third of the cost of a callback.
        try:
            await function
        finally:
            running.discard(asyncio.current_task())

    def start_on_trio(
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        context.run(partial(tasks.start_soon, protect(function), *args, name=name))

    return start_on_asyncio if isinstance(loop, asyncio.AbstractEventLoop) else start_on_trio


async def to_the_end(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a function to its end. A cancellation that comes meanwhile is raised afterwards.

    On asyncio that includes cancellations of the task itself, which pierce anyio's shields.

    Raises:
        BaseException: The function's own.
    """
    if not isinstance(current_token().native_token, asyncio.AbstractEventLoop):
        with anyio.CancelScope(shield=True):
            await function()
        return
    task = BegunTask(function(), loop=asyncio.get_running_loop(), name="engine closing")
    came = await until_done(task)
    task.result()
    if came is not None:
        raise came


async def until_done(task: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Wait until a task is done, on asyncio; return a cancellation that came meanwhile."""
    came = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancellation:
                came = cancellation
    return came
