"""Attachments: start and stop the parts that work with an open engine, workers and gates."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from engine.domain.exceptions import (
    EngineNotStartedError,
    EngineStartedError,
    InvalidValueError,
    shown,
)
from engine.owner.base import EngineBase
from engine.owner.inside import check_outside
from engine.portal import HeldContext


class Part(Protocol):
    """Does the work of an attachment, on the event loop of the engine."""

    async def open(self) -> None:
        """Start working.

        Raises:
            EngineUnavailableError: The engine is not open.
        """
        ...

    async def close(self) -> None:
        """Stop working. Can't be cancelled."""
        ...


class Attachment:
    """Works with an engine while it is entered: by ``async with``, or ``with`` a blocking engine.

    Args:
        engine: The engine. Enter it before the attachment, and leave it after.

    Raises:
        InvalidValueError: The engine is no engine.
    """

    _name: ClassVar[str]
    _part: Part  # does not refer to this object, so that this can become garbage

    def __init__(self, engine: EngineBase[Any]) -> None:
        given: object = engine
        if not isinstance(given, EngineBase):
            raise InvalidValueError(
                "engine", f"must be a JobEngine or a SyncJobEngine, not {shown(engine)}"
            )
        self._engine = engine
        self._started = False

    async def __aenter__(self) -> Self:
        """Start working, on the running event loop.

        Raises:
            EngineStartedError: The attachment was started before.
            EngineNotStartedError, EngineClosedError: The engine is not open.
            HandlerProcessError: The handler of a worker can't be loaded in a process.
            InvalidValueError: The engine is a `SyncJobEngine`.
            WrongLoopError: The engine is open on another event loop.
        """
        self._check_start(blocking=False)
        await self._part.open()
        self._started = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working. A cancellation does not cut it short.

        Raises:
            WrongLoopError: Called by a handler, or by a check, that this runs.
        """
        check_outside(self._part, self._name)
        await self._part.close()

    def __enter__(self) -> Self:
        """Start working, on the event-loop thread of the blocking engines.

        Raises:
            EngineStartedError: The attachment was started before.
            EngineClosedError: The engine is closed.
            HandlerProcessError: The handler of a worker can't be loaded in a process.
            InvalidValueError: The engine is a `JobEngine`.
        """
        self._check_start(blocking=True)
        self._held = HeldContext(_working(self._part))
        self._started = True
        weakref.finalize(self, self._held.leave_soon).atexit = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working, and wait until all work has ended.

        Raises:
            WrongLoopError: Called by a handler, or by a check, that this runs.
        """
        check_outside(self._part, self._name)
        self._held.leave()

    def _check_start(self, *, blocking: bool) -> None:
        core = self._engine.core
        if core.is_blocking != blocking:
            name, how = type(self._engine).__name__, "with" if core.is_blocking else "async with"
            raise InvalidValueError("engine", f"is a {name}: use `{how}`")
        if self._started:
            raise EngineStartedError(self._name)
        core.check_caller()

    def _check_started(self) -> None:
        if not self._started:
            raise EngineNotStartedError(self._name)


@asynccontextmanager
async def _working(part: Part) -> AsyncIterator[None]:
    await part.open()
    try:
        yield
    finally:
        await part.close()
