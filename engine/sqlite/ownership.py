"""Ownership: one engine at a time has a file, by a lock that ends with its process.

The lock is on a file of its own beside the database, ``jobs.db-lock``, because SQLite's locks on
the database are for single transactions. The operating system lets go of it when the process ends,
however it ends. The file stays, and says who had it last.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import weakref
from datetime import UTC, datetime
from pathlib import Path

from engine.domain.exceptions import StorageError, StorageInUseError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # A byte that is never written, so that others can read what is.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Ownership:
    """The right to write a file, held until `release`."""

    def __init__(self, path: Path) -> None:
        """Take it, at once or not at all.

        Raises:
            StorageInUseError: Somebody has it.
            StorageError: The file of the lock can't be written.
        """
        lock_path = path.with_name(f"{path.name}-lock")
        try:
            self._descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{lock_path} can't be written: {error.strerror}") from error
        try:
            _lock(self._descriptor)
        except OSError:
            holder = _holder(os.read(self._descriptor, 1_000))
            os.close(self._descriptor)
            raise StorageInUseError(str(path), holder) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, _myself())
        except OSError as error:  # no room, say
            os.close(self._descriptor)
            raise StorageError(f"{lock_path} can't be written: {error.strerror}") from error
        _held.add(self)

    def release(self) -> None:
        """Let others have it."""
        _held.discard(self)
        os.close(self._descriptor)

    def forget(self) -> None:
        """In a forked child: the lock is the parent's, for as long as the parent lives."""
        os.close(self._descriptor)


def _myself() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _holder(text: bytes) -> str:
    try:
        told = json.loads(text)
        return f"process {told['pid']} on {told['host']}, since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not yet said which"


_held: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _forget_all() -> None:
    for ownership in list(_held):
        ownership.forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
