"""Tasks that cost little to start, for what is started many thousand times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVarTuple, Unpack

from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from engine.portal.signals import protect

Arguments = TypeVarTuple("Arguments")


class StartTask(Protocol):
    """Starts a task."""

    def __call__(
        self,
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        """Start a task that runs this function, which must not raise."""
        ...


def task_starter(tasks: TaskGroup) -> StartTask:
    """Return what starts tasks of the running event loop, out of reach of the program's scopes.

    On asyncio these are tasks of the loop's own, a sixth of the cost of a task group's: nothing
    cancels them but the end of the loop, and who starts them has to wait for them. On trio they
    belong to the task group, have to shield themselves, and no Ctrl-C is raised in them.
    """
    loop: Any = current_token().native_token
    running: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    def start_on_asyncio(
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        running.add(loop.create_task(_removed(function(*args)), name=name))

    async def _removed(function: Coroutine[Any, Any, None]) -> None:
        # Costs a third of what a callback does.
        try:
            await function
        finally:
            running.discard(asyncio.current_task())

    def start_on_trio(
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        tasks.start_soon(protect(function), *args, name=name)

    return start_on_asyncio if isinstance(loop, asyncio.AbstractEventLoop) else start_on_trio
