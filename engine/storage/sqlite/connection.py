"""The writing connection: a commit that returns is on the disk.

``synchronous = FULL`` makes SQLite sync its log before a COMMIT returns, so that committed changes
survive a power cut; with NORMAL they would not.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from engine.domain.exceptions import CommitUnknownError, StorageError, StorageFullError
from engine.storage.sqlite.errors import storage_error, translate_os_errors
from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rights import give_group_to_log, open_regular

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]

# SQLite itself moves a log of so many pages, 32 MiB, into the database, while a commit waits: jobs
# with long results make it so long.
_LOG_PAGES: Final = 8_192
# After a long read has made the log longer, it is cut to this size.
_LOG_BYTES: Final = 64 * 1_048_576
_BLOCK_BYTES: Final = 1_048_576


class WritingConnection:
    """The one connection that writes to an engine's file.

    Args:
        path: The file.
        connect: Returns a connection that writes to it.

    Attributes:
        sqlite: SQLite's own connection, for statements.
        is_open: False after `close`, or after a rollback failed: then connect again.

    Raises:
        sqlite3.Error: It can't be opened.
        StorageError: It can't have a log.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self.sqlite: sqlite3.Connection = connect(path)
        self.is_open: bool = True
        _connected.add(self)
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        make_durable(self.sqlite)
        self.sqlite.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        self.sqlite.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        [mode] = self.sqlite.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(f"{self._path} can't be used: its journal mode is {mode}, not WAL")
        give_group_to_log(self._path)

    def transaction(self, write: Callable[[sqlite3.Connection], object]) -> None:
        """Write, and commit that durably, or roll it back.

        Raises:
            StorageFullError: It is not committed: the last frame of the log, which would have
                marked it as committed, had no room.
            CommitUnknownError: The COMMIT failed in another way: the log may be complete, and only
                not be synced.
        """
        self.sqlite.execute("BEGIN IMMEDIATE")
        try:
            write(self.sqlite)
        except BaseException:
            self._roll_back()
            raise
        try:
            self.sqlite.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            reason = storage_error(self._path, error)
            if reason is None:
                raise
            if isinstance(reason, StorageFullError):
                raise reason from error
            raise CommitUnknownError(reason) from reason

    def _roll_back(self) -> None:
        """Roll back, unless SQLite has done so by itself."""
        try:
            if self.sqlite.in_transaction:
                self.sqlite.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def checkpoint(self) -> None:
        """Move the log into the database, as far as no reader needs it."""
        self.sqlite.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close it; SQLite moves the log into the database."""
        if self.is_open:
            self.is_open = False
            self.sqlite.close()

    def leave_to_parent(self) -> None:
        """In a forked child, never close SQLite's connection, not even at the interpreter's exit.

        SQLite would take itself for the last user of the file and delete its log, which by then may
        be another engine's (https://www.sqlite.org/howtocorrupt.html, 2.6).
        """
        if self.is_open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.sqlite))
            self.is_open = False


_connected: weakref.WeakSet[WritingConnection] = weakref.WeakSet()


def _leave_all() -> None:
    for connection in list(_connected):
        connection.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)


def make_durable(connection: sqlite3.Connection) -> None:
    """Let a commit return only when it is on the disk; on macOS not merely in the disk's cache."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def rewrite_log(path: Path) -> None:
    """Write a file's log once more, in place, after a sync of it failed.

    Syncing again would not help: the operating system may have dropped the pages that it could not
    write (https://wiki.postgresql.org/wiki/Fsync_Errors), and still show them to readers. Each byte
    is written as it was read, so a crash in between does no harm, and SQLite then opens a log that
    is durable as far as it is readable.

    Raises:
        StorageError: The log can't be written.
    """
    log_path = beside(path, "-wal")
    if not log_path.exists():
        return
    with (
        translate_os_errors(f"{log_path} can't be written"),
        os.fdopen(open_regular(log_path), "r+b") as log,
    ):
        while block := log.read(_BLOCK_BYTES):
            log.seek(-len(block), os.SEEK_CUR)
            log.write(block)
        log.flush()
        sync(log.fileno())


def sync(descriptor: int) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: It may not be there.
    """
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - it is not everywhere

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's new names are on the disk.

    Raises:
        OSError: They may not be there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
