"""A file system for SQLite that records all operations, and fails when a test says so.

It passes everything on to the real file system. Files of one process only (``-shm``) are not
recorded: SQLite makes them anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, TypeAlias

import apsw
from typing_extensions import Buffer

from tests.reliability.disk.connection import connected, is_planted, planted
from tests.reliability.disk.python_files import noted
from tests.reliability.disk.recording import FOLDER, Recording, Sync, Truncate, Unlink, Write

_numbers: Final = count(1)
_OpenFlags: TypeAlias = "list[int]"


class Fault(Protocol):
    """A fault of a disk."""

    def fails(self, work: str, name: str, added_bytes: int) -> int | None:
        """Return SQLite's error code for this operation, or None to let it succeed.

        Args:
            work: ``open``, ``read``, ``write``, ``sync`` or ``truncate``.
            name: The name of the file.
            added_bytes: The bytes by which the file would grow.
        """
        ...


class Healthy:
    """A disk without a fault."""

    def fails(self, work: str, name: str, added_bytes: int) -> int | None:
        del work, name, added_bytes
        return None


class Disk:
    """A folder, and connections to the databases in it.

    Attributes:
        recording: The operations on it.
        fault: Its current fault; a test may replace it.
    """

    def __init__(self, folder: Path) -> None:
        self.recording = Recording(folder)
        self.fault: Fault = Healthy()
        self._vfs = _FileSystem(self)

    def connect(self, path: Path) -> sqlite3.Connection:
        assert path.parent == self.recording.folder
        return connected(path, self._vfs.name)

    def close(self) -> None:
        self._vfs.unregister()


@contextmanager
def recorded(folder: Path) -> Iterator[Disk]:
    """Record the operations on a folder during the block."""
    disk = Disk(folder)
    try:
        with noted(disk):
            yield disk
    finally:
        disk.close()


class _FileSystem(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.name = f"disk-{next(_numbers)}"
        self._disk = disk
        super().__init__(self.name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: _OpenFlags
    ) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", None, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        return _File(self._disk, name, path.name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's
        super().xDelete(filename, syncdir)  # not by Python's unlink: it is written down once
        self._disk.recording.add(Unlink(Path(filename).name))
        if syncdir:
            self._disk.recording.add(Sync(FOLDER))


class _File(apsw.VFSFile):
    """A database, its write-ahead log or its journal."""

    def __init__(
        self, disk: Disk, path: str | apsw.URIFilename, name: str, flags: _OpenFlags
    ) -> None:
        self._disk = disk
        self._name = name
        self._fail("open")
        super().__init__("", path, flags)
        self._file = disk.recording.file(name)
        # SQLite's file system syncs the folder together with the first sync of a log or journal.
        self._syncs_folder = not flags[0] & apsw.SQLITE_OPEN_MAIN_DB

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        self._fail("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: Buffer, offset: int) -> None:  # noqa: N802 - SQLite's name
        content = bytes(data)
        added = max(0, offset + len(content) - self.xFileSize())
        code = self._disk.fault.fails("write", self._name, added)
        if code is not None:
            content = content[: len(content) // 2]  # that far it came
        super().xWrite(content, offset)
        self._disk.recording.add(Write(self._file, offset, content))
        if code is not None:
            raise planted(code)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._fail("truncate")
        super().xTruncate(newsize)
        self._disk.recording.add(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Record the sync without making it: the machine itself keeps its power."""
        del flags
        code = self._disk.fault.fails("sync", self._name, 0)
        if code is not None:
            self._disk.recording.add(Sync(self._file, succeeded=False))
            raise planted(code)
        self._disk.recording.add(Sync(self._file))
        if self._syncs_folder:
            self._disk.recording.add(Sync(FOLDER))
            self._syncs_folder = False

    def _fail(self, work: str) -> None:
        code = self._disk.fault.fails(work, self._name, 0)
        if code is not None:
            raise planted(code)

    def excepthook(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Drop the planted errors that can't be reported to SQLite."""
        del kind, traceback
        return error is not None and is_planted(error)
