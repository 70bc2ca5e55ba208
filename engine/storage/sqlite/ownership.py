"""Ownership: one engine at a time has a file, by a lock that ends with its process.

The lock is on a file of its own beside the database, ``jobs.db-lock``, because SQLite's locks on
the database are for single transactions. The operating system lets go of it when the process ends,
however it ends. The file stays, and says who had it last.
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

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Ownership:
    """The right to write a file, held until `release`."""

    def __init__(self, path: Path) -> None:
        """Take it, at once or not at all.

        Raises:
            StorageInUseError: Somebody has it.
            StorageError: The file of the lock can't be written; or the system has no such locks.
        """
        if fcntl is None:
            raise StorageError(f"{path} can't be used: this system has no flock")
        self._path = beside(path, "-lock")
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.read(self._descriptor, 1_000))
            os.close(self._descriptor)
            raise StorageInUseError(str(path), holder) from None
        except OSError as error:  # a file system of another machine, say
            os.close(self._descriptor)
            raise StorageError(f"{self._path} can't be locked: {error.strerror}") from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, _myself())
        except OSError as error:  # no room, say
            os.close(self._descriptor)
            raise self._unwritable(error) from error
        # An engine that was never closed lets go when it is garbage.
        self._release = weakref.finalize(self, _release, self._descriptor)
        self._release.atexit = False
        _held.add(self)

    def _unwritable(self, error: OSError) -> StorageError:
        kind = {
            errno.ENOSPC: StorageFullError,
            errno.EDQUOT: StorageFullError,
            errno.EACCES: StorageReadOnlyError,
            errno.EROFS: StorageReadOnlyError,
        }.get(error.errno or 0, StorageError)
        return kind(f"{self._path} can't be written: {error.strerror}")

    def check(self) -> None:
        """Look whether the lock is still the one that others would meet.

        Raises:
            StorageError: Its file was deleted, moved or replaced.
        """
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            there = False
        if not there:
            raise StorageError(
                f"{self._path} was deleted or replaced, so that another engine may have the file: "
                "close this one"
            )

    def release(self) -> None:
        """Let others have it."""
        _held.discard(self)
        self._release()

    def forget(self) -> None:
        """In a forked child: the lock is the parent's, for as long as the parent lives."""
        self._release.detach()
        os.close(self._descriptor)


def _release(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was just forked may have it open, too
    os.close(descriptor)


def _myself() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _holder(text: bytes) -> str:
    try:
        told = json.loads(text)
        this = " (this process)" if told["pid"] == os.getpid() else ""
        return f"process {told['pid']}{this} on {told['host']}, since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not yet said which"


_held: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _forget_all() -> None:
    for ownership in list(_held):
        ownership.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
