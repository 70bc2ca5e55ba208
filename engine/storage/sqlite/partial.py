"""Partial copies: a new file while it is written, and those that killed programs have left.

A backup, another copy or an export is written under another name: it is there whole or not at all.
A living one has its partial copy locked by ``flock``, which ends with its process. So each
can remove the other ones of its folder: those that no process has locked. The name alone
does not make a file a leftover: it is empty, an engine's that no engine has ever opened, or begins
as an export does.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar

from engine.domain.exceptions import StorageError
from engine.storage.sqlite.connection import make_durable, sync_folder
from engine.storage.sqlite.errors import translate_os_errors
from engine.storage.sqlite.file import has_log
from engine.storage.sqlite.paths import beside, check_usable
from engine.storage.sqlite.rights import Rights, make_file, open_regular
from engine.storage.sqlite.schema import APPLICATION_ID

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

Result = TypeVar("Result")

_NAME: Final = re.compile(r".+-partial-[0-9a-f]{16}", re.DOTALL)
# The first bytes of a database (https://www.sqlite.org/fileformat2.html, 1.3).
_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID: Final = slice(68, 72)
_EXPORT: Final = b'{"job_id": "'
# Not ``nolock=1``, with which SQLite writes no log. Windows has no locks of ours.
_WITHOUT_LOCKS: Final = "?vfs=unix-none" if os.name == "posix" else ""
_TRIES: Final = 3


def publish_whole(target: Path, rights: Rights, fill: Callable[[Path], Result]) -> Result:
    """Make a file, durable, whole or not at all; return what `fill` returns.

    Args:
        target: The file.
        rights: Those that it gets, as far as the process may give them.
        fill: Writes all of an empty file, which gets the name of the target afterwards; called
            again if another program has removed it.

    Raises:
        StorageError: The target is there already, or can't be written.
    """
    check_usable(target)
    with translate_os_errors(f"{target} can't be written"):
        _check_free(target)
        for _ in range(_TRIES):
            with partial_copy(target, rights) as partial:
                result = fill(partial.path)
                _check_free(target)  # another program may have made it meanwhile
                if partial.publish(target):
                    sync_folder(target.parent)
                    return result
    raise StorageError(f"{target} can't be written: its unfinished copy was removed each time")


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise StorageError(f"{target} is there already: choose another name, or delete it first")


@contextmanager
def open_partial(partial: Path) -> Iterator[sqlite3.Connection]:
    """Open a partial copy for writing; the end moves its log into it.

    Raises:
        StorageError: Another program has opened it.
    """
    # SQLite's locks and ours would meet on some systems; nobody else opens this file.
    address = f"{partial.absolute().as_uri()}{_WITHOUT_LOCKS}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # a log without locks needs it
        make_durable(connection)
        # From its first byte on, everyone can see what it is; SQLite writes the first page last.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        yield connection
        # Closing would do it, too, but not tell of an error.
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise StorageError(f"{partial} can't be completed: another program has opened it")


class PartialCopy:
    """A locked file, which a backup writes and then publishes.

    Args:
        path: The file.
        descriptor: It, open and locked.

    Attributes:
        path: The same.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def publish(self, target: Path) -> bool:
        """Give the file its final name, after SQLite has closed it.

        Returns:
            False if it is not there: as soon as it is unlocked, another backup may remove it.

        Raises:
            StorageError: A part of it is still in its log.
            OSError: It can't be renamed.
        """
        if has_log(self.path):
            raise StorageError(f"{target} can't be written: {self.path} has still a log")
        # Closing a database ends the locks of the process on it, such as those of an engine that
        # opens it under its final name (https://www.sqlite.org/howtocorrupt.html, 2.2).
        self.unlock()
        try:
            self.path.replace(target)
        except FileNotFoundError:
            return False
        return True

    def unlock(self) -> None:
        """Close and unlock the file, unless that is done."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def partial_copy(target: Path, rights: Rights) -> Iterator[PartialCopy]:
    """Give an empty file beside a target; remove it, unless it was published.

    First removes what killed backups have left in the folder.

    Raises:
        OSError: It can't be made.
    """
    remove_leftovers(target.parent)
    partial = PartialCopy(*_make(target, rights))
    try:
        yield partial
    finally:
        _remove(partial.path)
        partial.unlock()


def _make(target: Path, rights: Rights) -> tuple[Path, int]:
    """Make and lock a partial copy: again, if another backup took it for a leftover meanwhile."""
    while True:
        partial = beside(target, f"-partial-{token_hex(8)}")
        descriptor = make_file(partial, rights)
        with suppress(OSError):  # a system without such locks takes nothing for a leftover
            _lock(descriptor, wait=True)
        if partial.exists():
            return partial, descriptor
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the partial copies of a folder that no living backup has, as far as we may."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name):
                with suppress(OSError):
                    _remove_if_left(path)


def _remove_if_left(partial: Path) -> None:
    """Remove a partial copy, if it can only be one.

    Raises:
        OSError: A backup has it; or it may not be removed, or is no regular file.
    """
    descriptor = open_regular(partial)
    try:
        _lock(descriptor, wait=False)
        if _is_ours(os.read(descriptor, _APPLICATION_ID.stop), partial):
            _remove(partial)
    finally:
        os.close(descriptor)


def _is_ours(head: bytes, partial: Path) -> bool:
    """Return whether this program made the file that begins so, and no engine has opened it."""
    is_engines = head.startswith(_MAGIC) and head[_APPLICATION_ID] == APPLICATION_ID.to_bytes(4)
    is_ours = not head or is_engines or head.startswith(_EXPORT)
    return is_ours and not beside(partial, "-lock").exists()


def _lock(descriptor: int, *, wait: bool) -> None:
    """Lock an open file.

    Raises:
        OSError: Another process has it locked, without ``wait``; or the system has no such locks.
    """
    if fcntl is None:
        raise OSError
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _remove(partial: Path) -> None:
    for path in (partial, *(beside(partial, suffix) for suffix in ("-journal", "-wal", "-shm"))):
        with suppress(OSError):
            path.unlink(missing_ok=True)
