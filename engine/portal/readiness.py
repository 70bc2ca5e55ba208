"""Readiness: waits for callers of a listening socket."""

from __future__ import annotations

import select
import socket
from typing import Protocol

import anyio

from engine.portal.loop_thread import is_loop_thread
from engine.portal.threads import BlockingCall, Threads


class Readiness(Protocol):
    """Waits until a socket can be read, any number of times."""

    async def wait(self) -> None:
        """Wait until it can be read; one task at a time. May be cancelled.

        Raises:
            RuntimeError: The system can't start a thread for it. It may be called again.
        """
        ...

    def close(self) -> None:
        """Stop waiting. The caller closes the socket."""
        ...


def readiness_of(listener: socket.socket) -> Readiness:
    """Return what waits for a socket on the running event loop.

    The event-loop thread of the blocking engines sleeps faster while its loop has no sockets
    (`engine.portal.loop_thread`), so a thread of its own watches over a socket that is rarely used.

    Raises:
        OSError: The process has no descriptors left.
    """
    return _OnThread(listener) if is_loop_thread() else _OnLoop(listener)


class _OnLoop:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    async def wait(self) -> None:
        """See `Readiness.wait`."""
        await anyio.wait_readable(self._listener)

    def close(self) -> None:
        """See `Readiness.close`."""


class _OnThread:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._threads = Threads("engine control")
        self._ringer, self._bell = socket.socketpair()
        self._call: BlockingCall[None] | None = None

    async def wait(self) -> None:
        """See `Readiness.wait`."""
        if self._call is None or self._call.ended:
            self._call = self._threads.start(_until_one_is_readable, self._listener, self._bell)
        await self._call.until_ended()

    def close(self) -> None:
        """See `Readiness.close`."""
        self._ringer.send(b"\0")  # not by closing it: a forked child may have it open, too
        self._ringer.close()
        if self._call is None:
            self._bell.close()
        else:
            self._call.when_ended(self._bell.close)
        self._threads.close()


def _until_one_is_readable(*sockets: socket.socket) -> None:
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    poll.poll()
