"""What may be wrong with a disk: it fails for a while, or is full."""

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
"""What a disk does, and how SQLite calls its failure."""

LATEST_BEGINNING: Final = {"write": 300, "sync": 40, "truncate": 4, "read": 60}


@dataclass
class Errors:
    """Some operations fail, one after another.

    Args:
        work: What kind of operation is the first to fail,
        beginning: and which of this kind, counted from 1.
        count: So many operations fail.
        works: Of these kinds; what is done in between of others succeeds.
        no_room: Writes fail because there is no room.

    Attributes:
        hits: How many have failed.
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
    """Return one error, some of one kind, or some of whatever kind comes.

    Often they are three syncs: that of a commit, that of the attempt to find out what became of it,
    and that of closing the file. What is in the log then can be read, and is not durable.
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
    """There is room for so many bytes in the folder, and for no more.

    Attributes:
        hits: How many writes have found no room.
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
