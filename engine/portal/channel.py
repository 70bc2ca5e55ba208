"""Channels: messages between a process and a child process that it has started.

A message is bytes behind a header of 4 bytes, its length. The two ends are a pair of connected
sockets. The other end is not trusted: damage of any kind is an error here, and nothing else.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import Final

MAX_MESSAGE_BYTES: Final = 33_554_432
"""More than the longest result in UTF-8, 4 MiB, and a job with all its answers."""

_HEADER_BYTES: Final = 4
_READ_BYTES: Final = 65_536
_SHORTEST_SECONDS: Final = 0.001  # for the socket, 0 means another kind of call
# A write to a channel whose other end has gone must not raise SIGPIPE, which a program may have set
# back to its default action, the end of the process.
_FLAGS: Final = getattr(socket, "MSG_NOSIGNAL", 0)  # macOS has a socket option instead


class ChannelError(Exception):
    """The channel can't be used any more."""


class ChannelEndedError(ChannelError):
    """The other end is closed."""


class ChannelDamagedError(ChannelError):
    """The bytes are no message."""


class Channel:
    """One end of a channel. Any thread may send; one at a time may receive.

    Threads that use it at once have to give the same time limit.

    Args:
        end: A connected socket. It belongs to the channel from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(None)
        if hasattr(socket, "SO_NOSIGPIPE"):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_NOSIGPIPE, 1)
        self._end = end
        self._seconds: float | None = None
        self._sending = threading.Lock()
        self._received = bytearray()

    def send(self, message: bytes, seconds: float | None = None) -> None:
        """Send a message. After an error the channel can't be used any more.

        Raises:
            ChannelEndedError: The other end is closed, or this one.
            TimeoutError: The other end did not take it in time.
        """
        with self._sending:
            try:
                self._limit(seconds)
                self._end.sendall(len(message).to_bytes(_HEADER_BYTES) + message, _FLAGS)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelEndedError from error

    def receive(self, seconds: float | None = None) -> bytes:
        """Return the next message.

        Raises:
            ChannelEndedError: The other end is closed, or this one.
            ChannelDamagedError: The header gives an impossible length.
            TimeoutError: It has not come in time. What has come is kept for the next call.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while (message := self._take()) is None:
            try:
                self._limit(seconds)
                part = self._end.recv(_READ_BYTES)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelEndedError from error
            if not part:
                raise ChannelEndedError
            self._received += part
            if until is not None and time.monotonic() > until and not self._is_whole():
                raise TimeoutError
        return message

    def has_more(self) -> bool:
        """Return whether bytes have come that `receive` has not returned. Does not wait."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(self._received or poll.poll(0))

    def _limit(self, seconds: float | None) -> None:
        """Set the time limit of the next call of the socket: a system call, if it is another."""
        if seconds != self._seconds:
            self._end.settimeout(None if seconds is None else max(seconds, _SHORTEST_SECONDS))
            self._seconds = seconds

    def _is_whole(self) -> bool:
        """Return whether the received bytes begin with a whole message."""
        received = self._received
        return len(received) >= _HEADER_BYTES + int.from_bytes(received[:_HEADER_BYTES])

    def _take(self) -> bytes | None:
        """Remove the first message from the received bytes; None if it is not whole yet."""
        received = self._received
        length = int.from_bytes(received[:_HEADER_BYTES])
        if length > MAX_MESSAGE_BYTES:
            raise ChannelDamagedError(f"announced a message of {length} bytes")
        end = _HEADER_BYTES + length
        if len(received) < end:
            return None
        message = bytes(received[_HEADER_BYTES:end])
        del received[:end]
        return message

    def close(self) -> None:
        """Close this end."""
        with suppress(OSError):
            self._end.close()
