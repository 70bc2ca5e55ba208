"""The operations on the files of a folder, and the remains after a power loss at any moment.

A moment is a number of operations. An operation is durable from the next successful sync of its
file on. Before that it may be on the disk or not, whole or in part, regardless of later operations.
A failed sync makes nothing durable, and no later sync writes its operations either: the operating
system has dropped them, or takes them for written (Rebello et al., "Can Applications Recover from
fsync Failures?", USENIX ATC 2020). Names belong to the folder, and are durable from the folder's
sync on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

FOLDER: Final = 0
"""Stands for the folder where other operations have the number of a file."""

SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    file: int
    succeeded: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """A file gets a name, and loses its old one if that is given."""

    name: str
    to: int
    before: str | None = None
    file: int = FOLDER


@dataclass(frozen=True, slots=True)
class Unlink:
    name: str
    file: int = FOLDER


Operation: TypeAlias = Write | Truncate | Sync | Link | Unlink


class Unsynced(Enum):
    """The fate of the operations that are not durable."""

    LOST = auto()
    HALF = auto()
    """Each is there or not, by chance."""
    TORN = auto()
    """Each sector of each write is there or not, by chance."""
    KEPT = auto()
    """All are there: only the process was killed."""


POWER_LOSSES: Final = (Unsynced.LOST, Unsynced.HALF, Unsynced.TORN)


class Recording:
    """The operations on the files of one folder. Any thread may add one, one thread at a time.

    Args:
        folder: Its present contents are durable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._operations: list[Operation] = []
        self._contents = [b""]  # at the beginning, by the number of the file; the folder has none
        self._names: dict[str, int] = {}  # now
        for path in folder.iterdir():
            self._names[path.name] = len(self._contents)
            self._contents.append(path.read_bytes())
        self._names_before = dict(self._names)

    @property
    def moment(self) -> int:
        return len(self._operations)

    def writes(self, name: str) -> int:
        """Return the number of writes to the file that has this name now."""
        file = self._names[name]
        return sum(isinstance(done, Write) and done.file == file for done in self._operations)

    def file(self, name: str) -> int:
        """Return the number of the file that has a name; a new one if there is none."""
        if name not in self._names:
            self.add(Link(name, len(self._contents)))
            self._contents.append(b"")
        return self._names[name]

    def add(self, operation: Operation) -> None:
        if isinstance(operation, Link):
            self._names[operation.name] = operation.to
            self._names.pop(operation.before or "", None)
        elif isinstance(operation, Unlink):
            self._names.pop(operation.name, None)
        self._operations.append(operation)

    def image(self, moment: int, unsynced: Unsynced, random: Random) -> dict[str, bytes]:
        """Return the files, by name, as they are when the power comes back."""
        names, contents = dict(self._names_before), [bytearray(was) for was in self._contents]
        done = self._operations[:moment]
        for operation, is_durable in zip(done, _are_durable(done), strict=True):
            fate = Unsynced.KEPT if is_durable else unsynced
            if not _reaches_the_disk(operation, fate, random):
                continue
            match operation:
                case Write(file, offset, data) if fate is Unsynced.TORN:
                    _tear(contents[file], offset, data, random)
                case Write(file, offset, data):
                    _write(contents[file], offset, data)
                case Truncate(file, size):
                    _resize(contents[file], size)
                case Link(name, to, before):
                    names[name] = to
                    names.pop(before or "", None)
                case Unlink(name):
                    names.pop(name, None)
                case Sync():
                    pass
        return {name: bytes(contents[file]) for name, file in names.items()}


def _are_durable(operations: list[Operation]) -> list[bool]:
    """Return for each operation whether the next sync of its file succeeded."""
    next_sync: dict[int, bool] = {}
    durable: list[bool] = []
    for operation in reversed(operations):
        if isinstance(operation, Sync):
            next_sync[operation.file] = operation.succeeded
        durable.append(next_sync.get(operation.file, False))
    return durable[::-1]


def _reaches_the_disk(operation: Operation, fate: Unsynced, random: Random) -> bool:
    """Return whether an operation is done, in whole or in part."""
    if fate is Unsynced.KEPT or (fate is Unsynced.TORN and isinstance(operation, Write)):
        return True
    return fate is not Unsynced.LOST and random.random() < 0.5


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _tear(content: bytearray, offset: int, data: bytes, random: Random) -> None:
    """Write some of the sectors. The others keep their old bytes, or are zero."""
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if random.random() < 0.5:
            _write(content, start, data[start - offset : stop - offset])
        start = stop


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
