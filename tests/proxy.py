"""A TCP proxy that misbehaves on command: it refuses, cuts, hangs, and swallows one direction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_BYTES: Final = 65536


class Proxy:
    """Passes bytes between its clients and a server, on threads.

    Attributes:
        passes: Set while bytes pass. Cleared, they stay where they are, in both directions, and new
            clients get no answer.
        swallowed: The number of requests and answers, or parts of them, that were swallowed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._cut: set[socket.socket] = set()
        self._refuses = False
        self._swallows = False
        self._swallows_from: bytes | None = None
        self._swallows_requests = False
        self.swallowed = 0
        self.passes = threading.Event()
        self.passes.set()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        port: int = self._listening.getsockname()[1]
        return port

    def accept(self) -> None:
        """Serve clients until `close`."""
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = self._connected()
                if server is None:
                    client.close()
                    continue
                self._pairs.add((client, server))
                self._start(client, server, has_answers=False)
                self._start(server, client, has_answers=True)

    def _connected(self) -> socket.socket | None:
        """Connect to the server, if it is to be reached."""
        if self._refuses:
            return None
        try:
            return socket.create_connection(self._target)
        except OSError:
            return None

    def _start(self, source: socket.socket, sink: socket.socket, *, has_answers: bool) -> None:
        pump = partial(self._pump, source, sink, has_answers=has_answers)
        threading.Thread(target=pump, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, *, has_answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_BYTES):
                self.passes.wait()
                if source in self._cut:
                    continue
                if self._swallows if has_answers else self._swallows_requests:
                    self.swallowed += 1
                    continue
                if not has_answers and self._swallows_from and self._swallows_from in data:
                    self._swallows = True
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def swallow(self) -> None:
        """Swallow all answers from now on: what is asked for happens all the same."""
        self._swallows = True

    def swallow_from(self, text: bytes) -> None:
        """Swallow all answers from the next request on that has a text in it."""
        self._swallows_from = text

    def swallow_requests(self) -> None:
        """Swallow all requests from now on: nothing more happens."""
        self._swallows_requests = True

    def cut(self) -> None:
        """End all connections: nothing passes on them any more. Swallow nothing on new ones."""
        pairs, self._pairs = self._pairs, set()
        ends = [*chain.from_iterable(pairs)]
        self._cut.update(ends)
        self._swallows, self._swallows_from = False, None
        self._swallows_requests = False
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def refuse(self, *, refuses: bool = True) -> None:
        """End all connections, and each new one; or let them be made again."""
        self._refuses = refuses
        self.cut()

    def close(self) -> None:
        """End everything."""
        self.passes.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    """Start a proxy of the server in a URL; yield it and the URL through it."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    accepting = threading.Thread(target=proxy.accept, daemon=True)
    accepting.start()
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}"))
    finally:
        proxy.close()
        accepting.join()
