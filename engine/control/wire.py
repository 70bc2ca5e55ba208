"""A wire: the client's end of one connection, with one request on its way at most."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self, TypeVar

import anyio
from anyio import BrokenResourceError, ClosedResourceError, DelimiterNotFound, IncompleteRead
from anyio.abc import UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

from engine.control.protocol import (
    MAX_ANSWER_BYTES,
    MAX_HELLO_BYTES,
    MAX_REQUEST_BYTES,
    PROTOCOL,
    Hello,
    Reply,
    error_of,
    line_of,
    read_line,
)
from engine.control.socket_file import HAS_SOCKETS, short_name
from engine.domain.exceptions import (
    EngineClosedError,
    EngineUnavailableError,
    InvalidValueError,
)

Form = TypeVar("Form", bound=Struct)

_ID: Final = 1
_FRESH_SECONDS: Final = 20.0  # the server closes what is idle for three times as long
_RETRY_SECONDS: Final = 0.02
_NOBODY: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, None})
"""Python itself refuses a path that is too long for a socket, by an error without a number."""
_BROKEN: Final = (BrokenResourceError, ClosedResourceError)


class LostError(Exception):
    """The connection was lost."""


@dataclass
class Question:
    """A request on its way.

    Attributes:
        line: The request.
        was_sent: Whether the engine may have got all of it.
    """

    line: bytes
    was_sent: bool = False

    @classmethod
    def of(cls, operation: str, arguments: Mapping[str, Any], for_whom: str | None) -> Self:
        """Return the question for an operation, on behalf of somebody or of nobody else.

        Raises:
            InvalidValueError: It is too long, or has arguments that are no JSON.
        """
        request = {"id": _ID, "operation": operation, "arguments": arguments}
        if for_whom is not None:
            request["for_whom"] = for_whom
        try:
            line = line_of(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidValueError("arguments", f"must be a JSON object: {error}") from None
        if len(line) > MAX_REQUEST_BYTES:
            problem = f"may have {MAX_REQUEST_BYTES:,} bytes as JSON, not {len(line):,}"
            raise InvalidValueError("arguments", problem)
        return cls(line)


class Wire:
    """A connection to an engine.

    Attributes:
        hello: Who the engine is.
    """

    hello: Hello

    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._lines = BufferedByteReceiveStream(stream)
        self._used_at = monotonic()

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connect to the engine at a socket, and let it say who it is.

        Raises:
            EngineClosedError: None listens there.
            EngineUnavailableError: It can't be reached, has too many clients, or speaks another
                protocol.
        """
        wire = cls(await UNIXSocketStream.from_socket(await _connected(path)))
        try:
            wire.hello = await wire._read_hello(path)
        except BaseException:
            await wire.aclose()
            raise
        return wire

    async def _read_hello(self, path: Path) -> Hello:
        try:
            line = await self._line(MAX_HELLO_BYTES)
        except LostError:
            raise _nobody_at(path) from None
        with suppress(InvalidValueError):
            hello = read_line(line, Hello)
            if hello.protocol == PROTOCOL:
                return hello
            problem = f"the engine at {path} speaks protocol {hello.protocol}, not {PROTOCOL}"
            raise EngineUnavailableError(f"{problem}: use the commands of its version")
        with suppress(InvalidValueError):
            if (fields := read_line(line, Reply).error) is not None:
                raise error_of(fields)
        raise EngineUnavailableError(f"{path} is not the socket of an engine")

    async def ask(self, question: Question) -> Reply:
        """Send a request, and return its reply. After an error, a cancellation too, hang up.

        Raises:
            LostError: The connection was lost. `Question.was_sent` says if that was before the
                engine could have got the request.
        """
        try:
            await self._stream.send(question.line)
            question.was_sent = True
            reply = read_line(await self._line(MAX_ANSWER_BYTES), Reply)
        except (InvalidValueError, *_BROKEN) as error:
            raise LostError(str(error)) from None
        if reply.id not in {_ID, None}:
            raise LostError("it is the answer to another request")
        self._used_at = monotonic()
        return reply

    async def _line(self, longest: int) -> bytes:
        try:
            return await self._lines.receive_until(b"\n", longest)
        except (IncompleteRead, DelimiterNotFound, *_BROKEN) as error:
            raise LostError(str(error)) from None

    def is_fresh(self) -> bool:
        """Return whether the engine is not about to hang up because nobody asks it anything.

        It may have hung up for another reason; then the next request can't be sent.
        """
        return monotonic() - self._used_at < _FRESH_SECONDS

    async def aclose(self) -> None:
        """Hang up."""
        await anyio.aclose_forcefully(self._stream)


async def _connected(path: Path) -> socket.socket:
    """Return a connected socket.

    Raises:
        EngineClosedError: Nobody listens there.
        EngineUnavailableError: It can't be reached.
    """
    if not HAS_SOCKETS:
        raise _nobody_at(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        while True:
            try:
                with short_name(path) as name:
                    connection.connect(name)
            except BlockingIOError:  # too many callers wait there
                await anyio.sleep(_RETRY_SECONDS)
            else:
                return connection
    except OSError as error:
        connection.close()
        if error.errno in _NOBODY:
            raise _nobody_at(path) from None
        raise EngineUnavailableError(f"{path} can't be reached: {error}") from error
    except BaseException:
        connection.close()
        raise


def _nobody_at(path: Path) -> EngineClosedError:
    return EngineClosedError(f"no engine listens at {path}, and this call was not applied")
