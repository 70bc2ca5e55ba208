"""Tasks that cost little to start, for a worker that starts many thousands a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeVarTuple, Unpack

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


def task_starter(tasks: TaskGroup) -> StartTask:
    """Return a function that starts tasks outside of the program's cancel scopes.

    On asyncio these are plain tasks of the loop, at a sixth of the cost of a task group's. Only the
    end of the loop cancels them, and their starter has to wait for them. On trio they belong to the
    task group, and have to shield themselves; no Ctrl-C is raised in them.

    Each task begins with an empty context, not with that of whoever has opened the engine. None
    begins before its starter has gone on: the loop's task factory, which may be an eager one, is
    not asked.
    """
    loop: Any = current_token().native_token
    running: set[asyncio.Task[None]] = set()  # the loop refers to its tasks only weakly

    def start_on_asyncio(
        function: Callable[[Unpack[Arguments]], Coroutine[Any, Any, None]],
        *args: *Arguments,
        name: str,
    ) -> None:
        coroutine = _removed(function(*args))
        running.add(asyncio.Task(coroutine, loop=loop, name=name, context=Context()))

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
        Context().run(partial(tasks.start_soon, protect(function), *args, name=name))

    return start_on_asyncio if isinstance(loop, asyncio.AbstractEventLoop) else start_on_trio
