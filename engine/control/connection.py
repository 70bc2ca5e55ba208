"""A connection: one client of the control socket, who is cut when it doesn't behave."""

from __future__ import annotations

import os
import socket
from typing import Final

import anyio
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    DelimiterNotFound,
    IncompleteRead,
)
from anyio.abc import TaskGroup, UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from engine.control.peer import UNKNOWN, acting_for
from engine.control.protocol import (
    MAX_AT_WORK,
    MAX_REQUEST_BYTES,
    Request,
    error_fields,
    line_of,
    read_request,
)
from engine.domain.exceptions import (
    EngineClosedError,
    EngineError,
    InvalidValueError,
    OutcomeUnknownError,
)
from engine.operations import OPERATIONS, Desk
from engine.portal.logs import TaskLogger

logger = TaskLogger("engine")

_IDLE_SECONDS: Final = 60.0
_SENDING_SECONDS: Final = 10.0
_ENDING_SECONDS: Final = 5.0  # for what is at work when no more requests can come


class Connection:
    """Answers the requests of one client, several at a time, each in a task of its own.

    Args:
        desk: Carries out the operations.
        client: The connected socket.
    """

    def __init__(self, desk: Desk, client: socket.socket) -> None:
        self._desk = desk
        self._client = client
        self._by = UNKNOWN
        self._whole = anyio.CancelScope()
        self._reading = anyio.CancelScope()
        self._reads: set[anyio.CancelScope] = set()  # operations that change nothing
        self._at_work = 0
        self._room = anyio.Semaphore(MAX_AT_WORK)
        self._sending = anyio.Lock()

    async def serve(self, hello: bytes, by: str) -> None:
        """Say hello, and answer until the client has gone, or must go.

        Args:
            hello: The first line.
            by: Who the client is.
        """
        self._by = by
        with self._whole:
            self._stream = await UNIXSocketStream.from_socket(self._client)
            async with self._stream, anyio.create_task_group() as operations:
                with self._reading:
                    await self._send(hello)
                    await self._read_all(operations)
                self._whole.deadline = anyio.current_time() + _ENDING_SECONDS

    def finish(self) -> None:
        """Take no more requests, end those that only read, and close when all are answered."""
        self._reading.cancel()
        for operation in self._reads:
            operation.cancel()

    def forget(self) -> None:
        """In a forked child, leave the connection to the parent."""
        if self._client.fileno() >= 0:
            os.close(self._client.detach())

    async def _read_all(self, operations: TaskGroup) -> None:
        lines = BufferedByteReceiveStream(self._stream)
        while True:
            await self._room.acquire()
            try:
                line = await self._next_line(lines)
                if line is None:
                    return
                request = read_request(line)
            except InvalidValueError as error:
                await self._send(line_of({"id": None, "error": error_fields(error)}))
                return
            self._at_work += 1
            operations.start_soon(self._answer, request)

    async def _next_line(self, lines: BufferedByteReceiveStream) -> bytes | None:
        """Return the next line; None if the client has hung up, or is idle, also within a line.

        Raises:
            InvalidValueError: The line is too long.
        """
        while True:
            with anyio.move_on_after(_IDLE_SECONDS):
                try:
                    return await lines.receive_until(b"\n", MAX_REQUEST_BYTES)
                except DelimiterNotFound:
                    problem = f"may have {MAX_REQUEST_BYTES:,} bytes, and has more"
                    raise InvalidValueError("line", problem) from None
                except (IncompleteRead, BrokenResourceError, ClosedResourceError):
                    return None
            if not self._at_work:
                return None

    async def _answer(self, request: Request) -> None:
        try:
            await self._send(line_of({"id": request.id, **await self._outcome(request)}))
        finally:
            self._at_work -= 1
            self._room.release()

    async def _outcome(self, request: Request) -> dict[str, object]:
        try:
            return {"answer": await self._do(request)}
        except EngineError as error:
            return {"error": error_fields(error)}
        except Exception:
            logger.exception("the operation %s met a bug", request.operation)
            problem = f"{request.operation} met a bug, and the engine's log says more about it"
            return {"error": error_fields(OutcomeUnknownError(f"outcome unknown: {problem}"))}

    async def _do(self, request: Request) -> object:
        """Carry out an operation; until the engine closes, if it changes nothing.

        Raises:
            EngineError: The operation's; or the engine closes.
        """
        found, whom = OPERATIONS.get(request.operation), request.for_whom
        by = self._by if whom is None else acting_for(self._by, whom)
        with anyio.CancelScope() as scope:
            if found is None or not found.acts:
                self._reads.add(scope)
            try:
                return await self._desk.do(request.operation, request.arguments, by=by)
            finally:
                self._reads.discard(scope)
        raise EngineClosedError

    async def _send(self, line: bytes) -> None:
        """Send a line, or cut a client that doesn't read it."""
        try:
            with anyio.move_on_after(_SENDING_SECONDS) as limit:
                async with self._sending:
                    await self._stream.send(line)
        except (BrokenResourceError, ClosedResourceError):
            self._whole.cancel()
        if limit.cancelled_caught:
            logger.warning("%s has not read its answers: its connection is cut", self._by)
            self._whole.cancel()
