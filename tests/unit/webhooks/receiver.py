"""Receivers of webhooks on loopback, which answer as a test wants it, and a resolver that lies."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.parser import Parser
from http import HTTPStatus
from ipaddress import ip_address
from json import loads
from typing import Any, Final

import pytest

SECONDS_AGAINST_HANGS: Final = 60.0

Answer = Callable[[socket.socket, threading.Event], object]


def status(code: int, *headers: str, body: str = "") -> Answer:
    """Answer with a status."""
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", *headers, f"Content-Length: {len(body)}"]
    return raw("\r\n".join([*lines, "", body]))


def raw(text: str) -> Answer:
    """Answer with a text, and close."""
    return lambda connection, _: connection.sendall(text.encode())


def hang(text: str = "") -> Answer:
    """Begin an answer, and send no more of it until the receiver closes."""

    def answer(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(text.encode())
        closing.wait(SECONDS_AGAINST_HANGS)

    return answer


@dataclass(frozen=True)
class Request:
    """A request that a receiver got."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        return loads(self.body)


class Receiver:
    """Takes requests, and answers the n-th one by the n-th answer; later ones by the last."""

    def __init__(self, *answers: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._answers = answers
        self._context = context
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?to=crm"

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):  # wakes the thread that accepts
            socket.create_connection(("127.0.0.1", self.port), SECONDS_AGAINST_HANGS).close()
        for thread in self._threads:
            thread.join(SECONDS_AGAINST_HANGS)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(SECONDS_AGAINST_HANGS)
        with suppress(OSError), connection:  # a client may go at any time, or refuse our TLS
            stream = connection
            if self._context is not None:
                stream = self._context.wrap_socket(connection, server_side=True)
            with stream:
                if (request := _read(stream)) is not None:
                    self.requests.append(request)
                    place = min(len(self.requests), len(self._answers)) - 1
                    self._answers[place](stream, self._closing)


def _read(connection: socket.socket) -> Request | None:
    """Read a request; return None if the client goes before its end."""
    with connection.makefile("rb") as stream:
        line = stream.readline().decode()
        lines = b"".join(iter(stream.readline, b"\r\n")).decode() if line else ""
        headers = {name.lower(): value for name, value in Parser().parsestr(lines).items()}
        length = int(headers.get("content-length", 0))
        body = stream.read(length)
    return Request(line.strip(), headers, body) if line and len(body) == length else None


@contextmanager
def receiving(*answers: Answer, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(*answers, context=context)
    try:
        yield receiver
    finally:
        receiver.close()


class Resolver:
    """Resolves a name to other addresses each time; all other names as they are.

    Attributes:
        calls: How often it was asked for the name.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str] | OSError
    ) -> None:
        self.calls = 0
        self._name = name
        self._answers = answers
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, *arguments: Any, **others: Any) -> list[Any]:  # noqa: ANN401
        name = host.decode() if isinstance(host, bytes) else host
        if name != self._name:
            return self._real(host, *arguments, **others)
        flags = arguments[4] if len(arguments) > 4 else others.get("flags", 0)
        if flags & socket.AI_NUMERICHOST:  # trio asks first whether it is an address
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        self.calls += 1
        answer = self._answers[min(self.calls, len(self._answers)) - 1]
        if isinstance(answer, OSError):
            raise answer
        port = arguments[0] if arguments else others["port"]
        return [_place(address, port) for address in answer]


def _place(address: str, port: int) -> tuple[Any, ...]:
    is_new = ip_address(address).version == 6
    family = socket.AF_INET6 if is_new else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0) if is_new else (address, port))
