"""A TCP proxy that misbehaves on command: it refuses, cuts and hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_BYTES: Final = 65536


class Proxy:
    """Passes bytes between its clients and a server, on threads.

    Attributes:
        passes: Set while bytes pass. Cleared, they stay where they are, in both directions, and new
            clients get no answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._refuses = False
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
                if self._refuses:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._pairs.add((client, server))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_BYTES):
                self.passes.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """End all connections, and each new one."""
        self._refuses = True
        self.cut()

    def serve(self) -> None:
        """Take new connections again."""
        self._refuses = False

    def close(self) -> None:
        """End everything."""
        self.passes.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for pair in self._pairs:
            for end in pair:
                end.close()


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
