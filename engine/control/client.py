"""The client: operations on an engine of another process, by its control socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import anyio

from engine.control.peer import this_operator
from engine.control.protocol import Hello, Reply, error_of
from engine.control.socket_file import socket_beside
from engine.control.wire import LostError, Question, Wire
from engine.domain.exceptions import (
    CallTimeoutError,
    EngineClosedError,
    EngineUnavailableError,
    OutcomeUnknownError,
    WriteTimeoutError,
)
from engine.domain.validation import check_seconds
from engine.operations import OPERATIONS, Desk
from engine.storage.sqlite.paths import path_at

_MAX_WIRES: Final = 4
_MAX_WAITING_WIRES: Final = 4
"""Reads that wait for something to happen hold up no others."""
_MAX_IDLE_WIRES: Final = 2
"""The server takes 16: two desks with all their waits and what they keep leave room for others."""
_HELLO_SECONDS: Final = 5.0


class SocketDesk:
    """Carries out operations on the engine that has a file, in whatever process it is.

    Any number of tasks of one event loop may call at once; four operations at most are then on
    their way, and beside them four that ``wait`` for something to happen. It connects when it has
    something to ask, and again after the engine was restarted. Use it as an async context manager,
    or `aclose` it.

    Args:
        path: The engine's file, as the engine takes it.
        timeout: Seconds for each operation, above 0. By default 60: a read may wait for 30.

    Raises:
        InvalidValueError: An argument is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 60.0) -> None:
        self._path = socket_beside(path_at(path))
        self._timeout = check_seconds("timeout", timeout, above_zero=True)
        self._own_name = this_operator()
        self._idle: list[Wire] = []
        self._room = anyio.CapacityLimiter(_MAX_WIRES)
        self._waiting_room = anyio.CapacityLimiter(_MAX_WAITING_WIRES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up. A later call connects anew."""
        while self._idle:
            await self._idle.pop().aclose()

    async def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        by: str | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """See `Desk.do`. The engine itself finds out who asks: its user and process.

        Another ``by`` than this one is for whom it is asked, and stands behind that.

        Cancelling it loses the answer: an act is applied as a whole or not.

        Raises:
            InvalidValueError: There is no such operation, or an argument is wrong.
            CallTimeoutError: There was no answer in time, and nothing was applied.
            WriteTimeoutError: An act was sent, and there was no answer in time.
            OutcomeUnknownError: An act was sent, and the connection was lost.
            EngineUnavailableError: No engine listens there, or one that speaks another protocol, or
                it has too many clients. Nothing was applied.
            EngineError: The operation's.
        """
        room = self._waiting_room if arguments.get("wait") else self._room
        return await self.do_in(room, operation, arguments, by=by)

    def apart(self) -> Desk:
        """See `Desk.apart`. It has a connection more, which this desk closes."""
        return _DeskApart(self)

    async def do_in(
        self,
        room: anyio.CapacityLimiter,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        by: str | None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Carry out an operation as soon as there is room, as `do`."""
        found = OPERATIONS.get(operation)
        acts = found is None or found.acts
        question = Question.of(operation, arguments, None if by == self._own_name else by)
        with anyio.move_on_after(self._timeout):
            async with room:
                reply = await self._reply(question, acts=acts)
            if reply.error is not None:
                raise error_of(reply.error)
            return reply.answer
        raise (WriteTimeoutError if acts and question.was_sent else CallTimeoutError)(self._timeout)

    async def _reply(self, question: Question, *, acts: bool) -> Reply:
        """Return the engine's reply; ask once more if the connection is lost, if that is safe."""
        for _ in range(2):
            wire = await self._wire()
            try:
                reply = await wire.ask(question)
            except LostError:
                await wire.aclose()
                await self.aclose()  # the idle ones are lost with it, if the engine was restarted
                if acts and question.was_sent:
                    raise OutcomeUnknownError(
                        f"the connection to the engine at {self._path} was lost: outcome unknown, "
                        "the change may have been applied; read the job again"
                    ) from None
            except BaseException:
                await wire.aclose()
                raise
            else:
                await self._keep(wire)
                return reply
        raise EngineUnavailableError(f"the engine at {self._path} hung up twice")

    async def _keep(self, wire: Wire) -> None:
        """Keep a connection for the next question, or hang up if there are enough."""
        if len(self._idle) < _MAX_IDLE_WIRES:
            self._idle.append(wire)
        else:
            await wire.aclose()

    async def _wire(self) -> Wire:
        """Return a connection that nobody uses."""
        while self._idle:
            wire = self._idle.pop()
            if wire.is_fresh():
                return wire
            await wire.aclose()
        return await Wire.connect(self._path)


class _DeskApart:
    """Has a place of its own among the operations of a desk."""

    def __init__(self, desk: SocketDesk) -> None:
        self._desk = desk
        self._room = anyio.CapacityLimiter(1)

    async def do(
        self, operation: str, arguments: Mapping[str, Any], *, by: str | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value
        """See `SocketDesk.do`."""
        return await self._desk.do_in(self._room, operation, arguments, by=by)

    def apart(self) -> Desk:
        """See `Desk.apart`."""
        return self._desk.apart()


async def engine_listening_at(path: str | os.PathLike[str]) -> Hello | None:
    """Return which engine listens beside a file; None if none does.

    Raises:
        InvalidValueError: No file can have this path.
        EngineUnavailableError: One listens, and speaks another protocol, has too many clients,
            can't be reached, or has not said hello within 5 s.
    """
    socket = socket_beside(path_at(path))
    with anyio.move_on_after(_HELLO_SECONDS):
        try:
            wire = await Wire.connect(socket)
        except EngineClosedError:
            return None
        await wire.aclose()
        return wire.hello
    problem = f"the engine at {socket} has not said hello within {_HELLO_SECONDS:g} s"
    raise EngineUnavailableError(f"{problem}: try again later")
