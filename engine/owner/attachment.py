"""Attachments: start and stop the parts that work with an open engine, workers and gates."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

import anyio

from engine.domain.exceptions import (
    EngineNotStartedError,
    EngineStartedError,
    InvalidValueError,
    shown,
)
from engine.owner.base import EngineBase
from engine.owner.core import Core
from engine.owner.inside import check_outside
from engine.portal import HeldContext, to_the_end


class Part:
    """Does the work of an attachment, on the event loop of the engine.

    Args:
        core: Of the engine.
    """

    def __init__(self, core: Core[Any]) -> None:
        self._core = core
        self._closed: anyio.Event | None = None

    async def open(self) -> None:
        """Start working. The engine closes what is still open at its end.

        Raises:
            EngineError: The engine is not open, or can't take the part.
        """
        self._core.inbox.check_open()
        await self._open()
        self._core.parts.append(self)

    async def close(self) -> None:
        """Stop working; again, wait for that. A cancellation does not cut it short."""
        await to_the_end(self._close_once)

    async def _close_once(self) -> None:
        if self._closed is not None:
            await self._closed.wait()
            return
        self._closed = anyio.Event()
        try:
            await self._close()
        finally:  # also at the end of the event loop
            self._core.parts.remove(self)
            self._closed.set()

    def interrupt(self) -> None:
        """Take on no new work: the program is about to close."""

    async def _open(self) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError


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
            KindInUseError: Another open worker of the engine has one of the worker's kinds.
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
        """Stop working. A cancellation does not cut it short. Does nothing the second time.

        Raises:
            EngineNotStartedError: The attachment has not been entered.
            InvalidValueError: The engine is a `SyncJobEngine`.
            WrongLoopError: Called on another event loop, or by a handler or a check that this runs.
        """
        self._check_end(blocking=False)
        self._engine.core.check_caller()
        check_outside(self._part, self._name)
        await self._part.close()

    def __enter__(self) -> Self:
        """Start working, on the event-loop thread of the blocking engines.

        Raises:
            EngineStartedError: The attachment was started before.
            EngineClosedError: The engine is closed.
            HandlerProcessError: The handler of a worker can't be loaded in a process.
            InvalidValueError: The engine is a `JobEngine`.
            KindInUseError: Another open worker of the engine has one of the worker's kinds.
            WrongLoopError: This thread's event loop is running, and the engine must not block it.
        """
        self._check_start(blocking=True)
        self._held = HeldContext(_working(self._part), self._engine.core.check_caller)
        self._started = True
        weakref.finalize(self, self._held.leave_soon).atexit = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working, and wait until all work has ended. Does nothing the second time.

        Raises:
            EngineNotStartedError: The attachment has not been entered.
            InvalidValueError: The engine is a `JobEngine`.
            WrongLoopError: Called by a handler, or by a check, that this runs; or this thread's
                event loop is running, and the engine must not block it. The attachment stays open.
        """
        self._check_end(blocking=True)
        check_outside(self._part, self._name)
        self._held.leave()

    def _check_start(self, *, blocking: bool) -> None:
        self._check_kind(blocking=blocking)
        if self._started:
            raise EngineStartedError(self._name)
        self._engine.core.check_caller()

    def _check_end(self, *, blocking: bool) -> None:
        self._check_started()
        self._check_kind(blocking=blocking)

    def _check_kind(self, *, blocking: bool) -> None:
        core = self._engine.core
        if core.is_blocking != blocking:
            name, how = type(self._engine).__name__, "with" if core.is_blocking else "async with"
            raise InvalidValueError("engine", f"is a {name}: use `{how}`")

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
