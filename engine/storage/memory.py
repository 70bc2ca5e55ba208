"""The memory storage: nothing outlives the process; otherwise a storage like any other.

It keeps columns rather than objects, because a history of a million lines must neither cost a
kilobyte a line nor be walked by the garbage collector. A job's position, less one, is its row in
the job columns; a change's sequence number, less one, is its row in the history columns. A job's
history is a chain from its newest change backwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from engine.domain.exceptions import StorageError
from engine.domain.lifecycle import MAX_STATUSES
from engine.domain.record import (
    JOB_ID,
    POSITION,
    STATUS,
    UPDATED_AT,
    Change,
    Entry,
    newest_records,
)
from engine.domain.table import Table
from engine.storage.protocol import CheckedOut, Opened

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BLOCK: Final = 1_024


class MemoryStorage:
    """Keeps everything in memory.

    The jobs live as long as this object: an engine that is closed and another that is opened with
    the same storage, one after the other, see the same jobs.
    """

    def __init__(self) -> None:
        self._users = 0  # engines that have opened it; the second is told to close it again
        self._table = Table()
        # A status is kept as one byte, its place in this list, so that a page of one status is
        # found by `bytearray.find`: 30 µs for a million jobs.
        self._statuses: list[str] = []
        self._code_of = _PlaceIn(self._statuses)
        self._counts = [0] * MAX_STATUSES  # how many jobs have the status of this place
        # Columns of jobs.
        self._ids = _Texts()
        self._status_codes = bytearray()
        self._newest = array("q")  # the sequence number of the job's newest change
        # Columns of changes.
        self._times = array("q")  # microseconds since 1970
        self._to_codes = bytearray()
        self._previous = array("q")  # the sequence number of the same job's change before; 0: none

    async def open(self, final_statuses: Collection[str]) -> Opened:
        """Return what earlier engines left here; nothing, in a new storage.

        Raises:
            StorageError: An engine is using it.
        """
        self._users += 1
        if self._users > 1:
            raise StorageError("an engine is using this storage: close that engine first")
        del final_statuses  # all jobs stay in the table: there is nothing to read them back from
        return Opened(self._table, len(self._times), len(self._ids), keeps_table=True)

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        """Return nothing: what is not in the table does not exist."""
        del job_ids, keys
        return CheckedOut()

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply the changes; it can't fail."""
        code_of, codes, counts, newest = (
            self._code_of,
            self._status_codes,
            self._counts,
            self._newest,
        )
        new_codes: list[int] = []
        previous: list[int] = []
        for sequence, from_status, record in changes:
            code = code_of[record[STATUS]]
            new_codes.append(code)
            counts[code] += 1
            if from_status is None:
                self._ids.append(record[JOB_ID])
                codes.append(code)
                newest.append(sequence)
                previous.append(0)
            else:
                row = record[POSITION] - 1
                counts[codes[row]] -= 1
                codes[row] = code
                previous.append(newest[row])
                newest[row] = sequence
        self._to_codes.extend(new_codes)
        self._previous.extend(previous)
        self._times.extend(_microseconds([record[UPDATED_AT] for _, _, record in changes]))
        self._table.update(newest_records(changes))

    async def count(self, status: str | None) -> int:
        """Count the jobs with this status."""
        return len(self._ids) if status is None else self._counts[self._code_of[status]]

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[str]:
        """Return the ids of the jobs behind a position."""
        if status is None:
            stop = min(after + limit, len(self._ids))
            return [self._ids[row] for row in range(after, stop)]
        found: list[str] = []
        code, row = self._code_of[status], after - 1
        while len(found) < limit and (row := self._status_codes.find(code, row + 1)) >= 0:
            found.append(self._ids[row])
        return found

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Follow the job's changes back to its creation."""
        record = self._table.find(job_id)
        if record is None:
            return None
        newest_first: list[Entry] = []
        sequence = self._newest[record[POSITION] - 1]
        while sequence:
            change = sequence - 1
            previous = self._previous[change]
            from_status = self._statuses[self._to_codes[previous - 1]] if previous else None
            to_status = self._statuses[self._to_codes[change]]
            at = _EPOCH + self._times[change] * _MICROSECOND
            newest_first.append(Entry(sequence, from_status, to_status, at))
            sequence = previous
        return newest_first[::-1]

    async def aclose(self) -> None:
        """Be ready for another engine. The jobs are gone when this object is."""
        self._users = max(0, self._users - 1)


class _PlaceIn(dict[str, int]):
    """Gives each text its place in a list, and puts a new one at the end of it."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, text: str) -> int:
        self[text] = len(self._texts)
        self._texts.append(text)
        return self[text]


class _Texts:
    """A column of texts, in blocks: a full one is a tuple, which the collector need not walk."""

    def __init__(self) -> None:
        self._full: list[tuple[str, ...]] = []
        self._filling: list[str] = []

    def __len__(self) -> int:
        return len(self._full) * _BLOCK + len(self._filling)

    def __getitem__(self, row: int) -> str:
        block, place = divmod(row, _BLOCK)
        return self._full[block][place] if block < len(self._full) else self._filling[place]

    def append(self, text: str) -> None:
        self._filling.append(text)
        if len(self._filling) == _BLOCK:
            self._full.append(tuple(self._filling))
            self._filling.clear()


def _microseconds(times: list[datetime]) -> list[int]:
    """Return times as microseconds since 1970. Most often a batch has only one."""
    numbers = {time: (time - _EPOCH) // _MICROSECOND for time in set(times)}
    return [numbers[time] for time in times]
