"""Ownership: one engine at a time has a file, by a lock that ends with its process.

The lock is on a file of its own, ``jobs.db-lock``, because SQLite's locks on the database itself
are for single transactions. The operating system releases it however the process ends. The file
stays, and names the last process that had the lock.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import weakref
from datetime import UTC, datetime
from pathlib import Path

from engine.domain.exceptions import (
    StorageError,
    StorageFullError,
    StorageInUseError,
    StorageReadOnlyError,
)
from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rights import PRIVATE, give, open_regular, rights_beside

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Ownership:
    """The right to write a file, held until `release`."""

    def __init__(self, path: Path, mode: int = PRIVATE) -> None:
        """Lock the file at once, or refuse.

        Args:
            path: The database. Who may write it may lock it.
            mode: That of a new database, if it is missing.

        Raises:
            StorageInUseError: Another engine has it.
            StorageError: The lock's file can't be written, or is a link or no regular file; or the
                system has no such locks.
        """
        if fcntl is None:
            raise StorageError(f"{path} can't be used: this system has no flock")
        self._path = beside(path, "-lock")
        self._name = os.fspath(self._path)  # looked up at each commit
        try:
            self._descriptor = open_regular(self._path, os.O_CREAT)
        except StorageError:  # which is an OSError, too
            raise
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock(path, mode)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._status = os.fstat(self._descriptor)
        # An engine that is never closed releases the lock when it is garbage.
        self._release = weakref.finalize(self, _release, self._descriptor)
        self._release.atexit = False
        _held.add(self)

    def _lock(self, path: Path, mode: int) -> None:
        try:
            give(self._descriptor, rights_beside(path, mode))
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _described(os.read(self._descriptor, 1_000))
            raise StorageInUseError(str(path), holder) from None
        except OSError as error:  # such as on another machine's file system
            raise StorageError(f"{self._path} can't be locked: {error.strerror}") from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, _this_process())
        except OSError as error:  # such as no room
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StorageError:
        kind = {
            errno.ENOSPC: StorageFullError,
            errno.EDQUOT: StorageFullError,
            errno.EACCES: StorageReadOnlyError,
            errno.EROFS: StorageReadOnlyError,
        }.get(error.errno or 0, StorageError)
        return kind(f"{self._path} can't be written: {error.strerror}")

    def check(self) -> None:
        """Check that other engines would find this lock.

        Raises:
            StorageError: Its file was deleted, moved or replaced.
        """
        try:
            is_there = os.path.samestat(os.lstat(self._name), self._status)
        except OSError:
            is_there = False
        if not is_there:
            raise StorageError(
                f"{self._path} was deleted or replaced, so that another engine may have the file: "
                "close this one"
            )

    def release(self) -> None:
        """Unlock the file."""
        _held.discard(self)
        self._release()

    def forget(self) -> None:
        """In a forked child, leave the lock to the parent, which has it as long as it lives."""
        self._release.detach()
        os.close(self._descriptor)


def _release(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was just forked may have it open, too
    os.close(descriptor)


def _this_process() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _described(text: bytes) -> str:
    try:
        holder = json.loads(text)
        this = " (this process)" if holder["pid"] == os.getpid() else ""
        return f"process {holder['pid']}{this} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not yet written its id"


_held: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _forget_all() -> None:
    for ownership in list(_held):
        ownership.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
