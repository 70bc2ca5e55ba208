"""Columns: what the memory storage keeps of its jobs beside their records, a row for each job."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from engine.domain.labels import DEFAULT_KIND, read_labels
from engine.domain.lifecycle import MAX_STATUSES
from engine.storage.filter import JobFilter
from engine.storage.record import Record

Name: TypeAlias = tuple[str, ...]

_REMOVED: Final = 255  # instead of the code of a status: there are no more than 255 statuses
_BLOCK: Final = 1_024
_GONE_PART: Final = 8


class IndexIn(dict[str, int]):
    """Gives each text its index in a list; appends new texts to the list."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, text: str) -> int:
        self[text] = len(self._texts)
        self._texts.append(text)
        return self[text]


class Statuses:
    """A column of statuses. Finds the rows of those that have one, in their order.

    A status is kept as one byte, its index in a list: `bytearray.find` finds a page of one status
    in 30 µs, among a million jobs.

    Attributes:
        names: The statuses by their codes.
        code_of: The code of each; a new one for a new status.
        codes: The column.
        counts: The numbers of jobs by the codes of their statuses.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.code_of = IndexIn(self.names)
        self.codes = bytearray()
        self.counts = [0] * (MAX_STATUSES + 1)

    def remove(self, row: int) -> None:
        """Mark a row as removed."""
        self.counts[self.codes[row]] -= 1
        self.codes[row] = _REMOVED

    def is_removed(self, row: int) -> bool:
        """Return whether a row is removed."""
        return self.codes[row] == _REMOVED

    def rename(self, old: str, name: str) -> tuple[bytes, bytes]:
        """Give all rows with a status another one; return the codes of both."""
        code, into = self.code_of[old], self.code_of[name]
        self.counts[into] += self.counts[code]
        self.counts[code] = 0
        renamed = bytes([code]), bytes([into])
        self.codes = self.codes.replace(*renamed)
        return renamed

    def count(self, status: str | None) -> int:
        """Return how many rows have a status; for None, how many there are."""
        if status is None:
            return sum(self.counts)
        code = self.code_of.get(status)
        return 0 if code is None else self.counts[code]

    def rows_from(self, status: str | None, start: int) -> Iterator[int]:
        """Return the rows with a status from one on; for None, all of these."""
        if status is None:
            yield from (row for row in range(start, len(self.codes)) if not self.is_removed(row))
        elif (code := self.code_of.get(status)) is not None:
            row = start - 1
            while (row := self.codes.find(code, row + 1)) >= 0:
                yield row

    def rows_below(self, status: str | None, end: int) -> Iterator[int]:
        """Return the rows with a status that are below one, the highest first; for None, all."""
        row = min(end, len(self.codes))
        if status is None:
            yield from (row for row in range(row - 1, -1, -1) if not self.is_removed(row))
        elif (code := self.code_of.get(status)) is not None:
            while (row := self.codes.rfind(code, 0, row)) >= 0:
                yield row


class Texts:
    """A column of texts, in blocks: a full one is a tuple, which the collector doesn't walk."""

    def __init__(self) -> None:
        self._full: list[tuple[str, ...]] = []
        self._filling: list[str] = []

    def __len__(self) -> int:
        return len(self._full) * _BLOCK + len(self._filling)

    def __getitem__(self, row: int) -> str:
        block, index = divmod(row, _BLOCK)
        return self._full[block][index] if block < len(self._full) else self._filling[index]

    def clear(self, row: int) -> None:
        """Forget a text."""
        block, index = divmod(row, _BLOCK)
        if block < len(self._full):
            texts = self._full[block]
            self._full[block] = (*texts[:index], "", *texts[index + 1 :])
        else:
            self._filling[index] = ""

    def append(self, text: str) -> None:
        """Add a row."""
        self._filling.append(text)
        if len(self._filling) == _BLOCK:
            self._full.append(tuple(self._filling))
            self._filling.clear()


class RowIndex:
    """Finds the rows that have a name, in their order.

    A row that is removed leaves when an eighth of the rows with its name are: taking out each one
    at once would move all behind it.

    Args:
        is_removed: Returns whether a row is removed.
    """

    def __init__(self, is_removed: Callable[[int], bool]) -> None:
        self._is_removed = is_removed
        self._rows: dict[Name, array[int]] = {}
        self._gone: dict[Name, int] = {}  # how many of the rows are removed

    def add(self, name: Name, row: int) -> None:
        """Add a row, which is higher than those before."""
        if (rows := self._rows.get(name)) is None:
            rows = self._rows[name] = array("q")
        rows.append(row)

    def note_removal(self, name: Name) -> None:
        """Take note that a row with a name is removed."""
        rows, gone = self._rows[name], self._gone.get(name, 0) + 1
        if gone == len(rows):
            del self._rows[name]
        elif gone * _GONE_PART > len(rows):
            self._rows[name] = array("q", (row for row in rows if not self._is_removed(row)))
        else:
            self._gone[name] = gone
            return
        self._gone.pop(name, None)

    def count(self, name: Name) -> int:
        """Return how many rows have a name."""
        return len(self._rows.get(name, ())) - self._gone.get(name, 0)

    def rows_from(self, name: Name, start: int) -> Iterator[int]:
        """Return the rows with a name from one on."""
        rows = self._rows.get(name, array("q"))
        for place in range(bisect_left(rows, start), len(rows)):
            if not self._is_removed(rows[place]):
                yield rows[place]

    def rows_below(self, name: Name, end: int) -> Iterator[int]:
        """Return the rows with a name that are below one, the highest first."""
        rows = self._rows.get(name, array("q"))
        for place in range(bisect_left(rows, end) - 1, -1, -1):
            if not self._is_removed(rows[place]):
                yield rows[place]


class Lead(NamedTuple):
    """A part of a filter, and how many jobs it admits."""

    column: Statuses | RowIndex
    key: Any
    jobs: int


def root_name(root_id: str) -> Name:
    """Return the name by which the index finds the follow-ups of a root."""
    return ("root", root_id, "")


def names_of(record: Record) -> Iterator[Name]:
    """Return the names by which the index finds a job."""
    if record.parent_id is not None:
        yield root_name(record.root_id)
    if record.kind != DEFAULT_KIND:
        yield (record.kind,)
    if record.labels is not None:
        yield from read_labels(record.labels).items()


def names_in(jobs: JobFilter) -> Iterator[Name]:
    """Return the names by which the index finds jobs that a filter may admit."""
    if jobs.root_id is not None:
        yield root_name(jobs.root_id)
    if jobs.kind not in {None, DEFAULT_KIND}:
        yield (str(jobs.kind),)
    yield from jobs.labels
