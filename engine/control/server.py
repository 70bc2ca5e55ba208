"""The server: listens on the control socket of an open engine, and takes its clients in."""

from __future__ import annotations

import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from msgspec import to_builtins

from engine.control.connection import Connection
from engine.control.peer import UNKNOWN, peer_of
from engine.control.protocol import PROTOCOL, Hello, error_fields, line_of
from engine.control.socket_file import HAS_SOCKETS, SocketFile
from engine.domain.exceptions import EngineUnavailableError, StorageError
from engine.domain.version import __version__
from engine.operations import EngineDesk
from engine.owner.attachment import Part
from engine.owner.core import Core
from engine.portal import Readiness, WorkThread, readiness_of
from engine.portal.logs import TaskLogger

logger = TaskLogger("engine")

_MAX_CONNECTIONS: Final = 16
_REFUSAL_SECONDS: Final = 0.05  # between two refusals: a flood of callers costs little
_LOOK_AGAIN_SECONDS: Final = 5.0  # when the process has no descriptor or no thread left
_NAME_SECONDS: Final = 2.0  # how long a directory of users may take
_CLOSING_SECONDS: Final = 2.0  # for what is at work when the engine closes


def listen(core: Core[Any], database: Path) -> None:
    """Listen beside the engine's file, if the system has such sockets."""
    if not HAS_SOCKETS:
        return
    file = SocketFile(database)
    try:
        listener = file.listen()
        try:
            ready = readiness_of(listener)
        except OSError:
            listener.close()
            file.remove()
            raise
    except (OSError, NotImplementedError) as error:
        reason = error if isinstance(error, StorageError) else f"{database}-control: {error}"
        logger.warning("the engine goes without its control socket. %s", reason)
        return
    ControlServer(core, file, listener, ready).begin()


class ControlServer(Part):
    """Serves the clients of a control socket, on the event loop of the engine.

    Args:
        core: Of the engine, which has the file's lock.
        file: The socket's file.
        listener: The socket.
        ready: Waits for its callers.
    """

    def __init__(
        self, core: Core[Any], file: SocketFile, listener: socket.socket, ready: Readiness
    ) -> None:
        super().__init__(core)
        self._file = file
        self._listener = listener
        self._ready = ready
        self._desk = EngineDesk(core)
        hello = Hello(PROTOCOL, __version__, str(core.kept.file), os.getpid())
        self._hello = line_of(to_builtins(hello))
        self._connections: set[Connection] = set()
        self._names = WorkThread("engine control names")

    def begin(self) -> None:
        """Start to serve, on the event loop of the engine."""
        # Shielded: a cancelled application closes the engine, and waits until it has ended.
        self._whole = anyio.CancelScope(shield=True)
        self._accepting = anyio.CancelScope()
        self._served: anyio.Event | None = None
        self._core.parts.append(self)
        self._core.start(self._serve, name="engine control")
        _open_servers.add(self)

    async def _close(self) -> None:
        """Answer what is at work, and hang up."""
        self._file.remove()
        self._accepting.cancel()
        for connection in self._connections:
            connection.finish()
        if self._served is None:
            self._whole.cancel()
            self._stop_listening()
        else:
            with anyio.move_on_after(_CLOSING_SECONDS):
                await self._served.wait()
            self._whole.cancel()
            await self._served.wait()
        self._names.close()
        _open_servers.discard(self)  # last: a fork before that has connections to forget

    def _stop_listening(self) -> None:
        self._ready.close()
        self._listener.close()

    def forget(self) -> None:
        """In a forked child, leave the socket, its file and the connections to the parent."""
        self._file.disown()
        for connection in self._connections:
            connection.forget()
        if self._listener.fileno() >= 0:
            os.close(self._listener.detach())

    async def _serve(self) -> None:
        if self._whole.cancel_called:
            return
        self._served = anyio.Event()
        try:
            with self._whole:
                async with anyio.create_task_group() as clients:
                    try:
                        with self._accepting:
                            await self._accept_all(clients)
                    finally:
                        self._stop_listening()
        finally:
            self._served.set()

    async def _accept_all(self, clients: TaskGroup) -> None:
        while True:
            try:
                await self._ready.wait()
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):  # it has hung up already
                continue
            except (OSError, RuntimeError) as error:  # no descriptor is left, or no thread
                logger.warning("no client is taken in for a while: %s", error)
                await anyio.sleep(_LOOK_AGAIN_SECONDS)
                continue
            if self._accepting.cancel_called:  # nobody would tell this one to finish
                client.close()
                return
            client.settimeout(0)
            if len(self._connections) < _MAX_CONNECTIONS:
                self._take_in(client, clients)
            else:
                _refuse(client)
                await anyio.sleep(_REFUSAL_SECONDS)

    def _take_in(self, client: socket.socket, clients: TaskGroup) -> None:
        connection = Connection(self._desk, client)
        self._connections.add(connection)
        clients.start_soon(self._serve_one, connection, client)

    async def _serve_one(self, connection: Connection, client: socket.socket) -> None:
        try:
            with client:
                await connection.serve(self._hello, await self._name_of(client))
        except Exception:
            logger.exception("a client of the control socket is cut, by a bug")
        finally:
            self._connections.discard(connection)

    async def _name_of(self, client: socket.socket) -> str:
        peer = peer_of(client)
        if peer is None:
            return UNKNOWN
        with anyio.move_on_after(_NAME_SECONDS):
            return await self._names.run(peer.described)
        return peer.without_name()


def _refuse(client: socket.socket) -> None:
    problem = f"the engine has {_MAX_CONNECTIONS} clients at its control socket: try again later"
    error = error_fields(EngineUnavailableError(problem))
    with client, suppress(OSError):
        client.send(line_of({"id": None, "error": error}))


_open_servers: weakref.WeakSet[ControlServer] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_open_servers):
        server.forget()
    _open_servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
