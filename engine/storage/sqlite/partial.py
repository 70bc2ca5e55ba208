"""Partial copies: a backup's file while it is written, and those that killed backups have left.

A living backup has its partial copy locked by ``flock``, which ends with its process. So every
backup can remove the other ones of its folder: those that no process has locked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rights import Rights, make_file, open_regular

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAME: Final = re.compile(r".+-partial-[0-9a-f]{16}", re.DOTALL)


@contextmanager
def partial_copy(target: Path, rights: Rights) -> Iterator[Path]:
    """Give an empty file beside a target; remove it, unless it was renamed.

    First removes what killed backups have left in the folder.

    Raises:
        OSError: It can't be made.
    """
    remove_leftovers(target.parent)
    partial, descriptor = _make(target, rights)
    try:
        yield partial
    finally:
        _remove(partial)
        os.close(descriptor)


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
    """Remove a partial copy.

    Raises:
        OSError: A backup has it; or it may not be removed, or is no regular file.
    """
    descriptor = open_regular(partial)
    try:
        _lock(descriptor, wait=False)
        _remove(partial)
    finally:
        os.close(descriptor)


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
