"""Record the operations of Python itself on the files of a folder: syncs, new and removed names.

A storage need not do everything by SQLite. The contents of a file are read when it is synced, so an
image shows none of them before that.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.reliability.disk.recording import FOLDER, Link, Sync, Truncate, Unlink, Write

if TYPE_CHECKING:
    from tests.reliability.disk.vfs import Disk


@contextmanager
def noted(disk: Disk) -> Iterator[None]:
    """Record the operations of Python's `os` in the folder of a disk during the block."""
    calls = _Calls(disk)
    with (
        patch("os.fsync", calls.fsync),
        patch("os.replace", calls.replace),
        patch("os.rename", calls.replace),
        patch("os.unlink", calls.unlink),
    ):
        yield


class _Calls:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._fsync, self._replace, self._unlink = os.fsync, os.replace, os.unlink

    def fsync(self, descriptor: int) -> None:
        name = self._name_of(os.fstat(descriptor))
        if name is None:
            self._fsync(descriptor)
        elif name == "":
            self._disk.recording.add(Sync(FOLDER))
        else:
            self._sync_file(name)

    def _sync_file(self, name: str) -> None:
        recording = self._disk.recording
        file, content = recording.file(name), (recording.folder / name).read_bytes()
        recording.add(Write(file, 0, content))
        recording.add(Truncate(file, len(content)))
        failed = self._disk.fault.fails("sync", name, 0) is not None
        recording.add(Sync(file, succeeded=not failed))
        if failed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def replace(self, source: Any, target: Any) -> None:  # noqa: ANN401 - any kind of path
        self._replace(source, target)
        recording = self._disk.recording
        if Path(target).parent == recording.folder:
            name = Path(source).name
            recording.add(Link(Path(target).name, recording.file(name), before=name))

    def unlink(self, path: Any, **place: Any) -> None:  # noqa: ANN401 - any kind of path
        self._unlink(path, **place)
        if Path(path).parent == self._disk.recording.folder:
            self._disk.recording.add(Unlink(Path(path).name))

    def _name_of(self, status: os.stat_result) -> str | None:
        """Return the name of an open file of the folder, "" for the folder itself."""
        folder = self._disk.recording.folder
        if os.path.samestat(status, folder.stat()):
            return ""
        if stat.S_ISREG(status.st_mode):
            for path in folder.iterdir():
                if os.path.samestat(status, path.stat()):
                    return path.name
        return None
