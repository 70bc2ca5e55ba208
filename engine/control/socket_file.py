"""The socket's file: made beside a database, with its rights, and removed again."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from engine.domain.exceptions import StorageError
from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rights import PRIVATE, give_to_socket, rights_beside

HAS_SOCKETS: Final = hasattr(socket, "AF_UNIX")
_MAX_NAME_BYTES: Final = 103  # macOS; 107 on Linux
_WAITING_CALLERS: Final = 64


def socket_beside(path: Path) -> Path:
    """Return the path of the control socket of a database, which may be a link."""
    return beside(Path(os.path.realpath(path)), "-control")


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Return a name for a path that is not too long for a socket, as far as the system has one.

    Raises:
        OSError: Its folder can't be opened.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) <= _MAX_NAME_BYTES or sys.platform != "linux":
        yield name
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class SocketFile:
    """The control socket of a database whose lock this process has.

    Args:
        database: The path of the database, without links.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = socket_beside(database)
        self._status: os.stat_result | None = None

    def listen(self) -> socket.socket:
        """Make the socket in the place of a dead engine's, and listen; the caller closes it.

        Raises:
            OSError: It can't be made, such as on a file system without sockets, or its path is too
                long.
            StorageError: Something else is in its place, and stays there.
        """
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.settimeout(0)
            with suppress(OSError):  # on Linux the file then begins with no more than this
                os.fchmod(listener.fileno(), PRIVATE)
            with short_name(self._path) as name:
                listener.bind(name)
            made = self._path.lstat()  # at once: what fails from here on removes it again
            self._status = made if stat.S_ISSOCK(made.st_mode) else None
            self._status = give_to_socket(self._path, rights_beside(self._database))
            listener.listen(_WAITING_CALLERS)  # from now on callers get in
        except BaseException:
            listener.close()
            self.remove()
            raise
        return listener

    def _remove_stale(self) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise StorageError(f"{self._path} is no socket: remove it")
            self._path.unlink()

    def remove(self) -> None:
        """Remove the socket, unless someone else has put another thing into its place."""
        with suppress(OSError):
            if self._status is not None and os.path.samestat(self._path.lstat(), self._status):
                self._path.unlink()

    def disown(self) -> None:
        """In a forked child, leave the file to the parent: `remove` does nothing from now on."""
        self._status = None
