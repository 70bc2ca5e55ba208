"""Clients of a control socket that speak in plain lines, as well or as badly as a test wants."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.reliability.alive import wait_until

SECONDS_AGAINST_HANGS = 30
_LONGEST = 2**27


def control(path: Path) -> Path:
    """Return the path of the control socket of a file."""
    return path.with_name(f"{path.name}-control")


class Client:
    """Sends what it is told, and reads lines."""

    def __init__(self, stream: UNIXSocketStream) -> None:
        self.stream = stream
        self._lines = BufferedByteReceiveStream(stream)

    async def send(self, *requests: object) -> None:
        for request in requests:
            text = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
            await self.stream.send(text)

    async def read(self) -> Any:  # noqa: ANN401 - JSON
        with anyio.fail_after(SECONDS_AGAINST_HANGS):
            return json.loads(await self._lines.receive_until(b"\n", _LONGEST))

    async def is_cut(self) -> bool:
        """Wait for the end of the connection."""
        with anyio.fail_after(SECONDS_AGAINST_HANGS):
            try:
                return not [await self._lines.receive()]
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True


async def connected(path: Path) -> Client:
    """Connect to the engine on a file, and read its hello."""
    client = Client(await anyio.connect_unix(control(path)))
    assert (await client.read())["process"] == os.getpid()
    return client


def ask(path: Path, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Ask for one operation, blocking, and return the reply: for other users and processes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS_AGAINST_HANGS)
        client.connect(os.fspath(control(path)))
        with client.makefile("rwb") as lines:
            lines.readline()
            request = {"id": 1, "operation": operation, "arguments": arguments}
            lines.write(json.dumps(request).encode() + b"\n")
            lines.flush()
            return json.loads(lines.readline())


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that sends no event, while this event loop goes on."""
    await to_thread.run_sync(wait_until, condition)


@contextmanager
def pretending(path: Path) -> Iterator[socket.socket]:
    """Listen in the place of an engine."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(control(path)))
        listener.listen()
        yield listener
