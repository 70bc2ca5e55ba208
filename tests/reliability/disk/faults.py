"""Faults of a disk: it fails for a while, or is full."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import apsw

WORKS: Final = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
}
"""The operations of a disk, and SQLite's names for their failures."""

LATEST_BEGINNING: Final = {"write": 300, "sync": 40, "truncate": 4, "read": 60}


@dataclass
class Errors:
    """Some operations fail, one after another.

    Args:
        work: The kind of the first operation to fail.
        beginning: Its number among those of this kind, counted from 1.
        count: The number of operations that fail.
        works: Their kinds; operations of other kinds in between succeed.
        no_room: Whether writes fail because there is no room.

    Attributes:
        hits: The number of failed operations.
    """

    work: str
    beginning: int
    count: int
    works: frozenset[str]
    no_room: bool = False
    hits: int = 0
    seen: int = 0

    @property
    def is_over(self) -> bool:
        return self.hits == self.count

    @property
    def reads_fail(self) -> bool:
        return not self.works.isdisjoint({"open", "read"})

    def fails(self, work: str, name: str, added_bytes: int) -> int | None:
        del name, added_bytes
        self.seen += work == self.work
        if self.is_over or self.seen < self.beginning or work not in self.works:
            return None
        self.hits += 1
        return apsw.SQLITE_FULL if self.no_room and work == "write" else WORKS[work]


def some_errors(random: Random) -> Errors:
    """Return one error, some of one kind, or some of any kinds.

    Often they are three syncs: that of a commit, that of finding out its outcome, and that of
    closing the file. The contents of the log are then readable, and not durable.
    """
    if random.random() < 0.25:
        return Errors("sync", random.randrange(1, 20), 3, frozenset({"sync"}))
    work = random.choice(["write", "write", "sync", "sync", "sync", "truncate", "read"])
    beginning = random.randrange(1, LATEST_BEGINNING[work])
    count = random.choice([1, 1, 2, 3, 4, 5, 10, 30])
    whatever = count > 1 and random.random() < 0.5
    works = frozenset(WORKS) if whatever else frozenset({work})
    return Errors(work, beginning, count, works, no_room=random.random() < 0.3)


@dataclass
class Full:
    """The folder has room for so many bytes.

    Attributes:
        hits: The number of writes that found no room.
    """

    folder: Path
    capacity_bytes: int
    hits: int = 0

    def fails(self, work: str, name: str, added_bytes: int) -> int | None:
        del name
        if work != "write" or not added_bytes:
            return None
        used = sum(path.stat().st_size for path in self.folder.iterdir())
        if used + added_bytes <= self.capacity_bytes:
            return None
        self.hits += 1
        return apsw.SQLITE_FULL
