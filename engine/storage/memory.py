"""The memory storage: nothing outlives the process; otherwise a storage like any other.

It keeps columns rather than objects, because a history of a million lines must neither cost a
kilobyte a line nor be walked by the garbage collector. A job's position, less one, is its row in
the job columns; a transition's sequence number, less one, is its row in the history columns. The
history of a job is a chain from its newest transition backwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Final, cast

from engine.domain.exceptions import StorageError, StorageInUseError
from engine.domain.lifecycle import MAX_STATUSES
from engine.storage.protocol import CheckedOut, Opened, ProgressCallback
from engine.storage.record import (
    Change,
    Entry,
    Record,
    newest_records,
)
from engine.storage.table import Table

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BLOCK: Final = 1_024
_REMOVED: Final = 255  # instead of the place of a status, of which there are no more than 255


class MemoryStorage:
    """Keeps everything in memory.

    The jobs live as long as this object: an engine that is closed and another that is opened with
    the same storage, one after the other, see the same jobs.

    Of a job that is removed by a rule of retention there remain 9 bytes, and 25 for each of its
    transitions.
    """

    def __init__(self) -> None:
        self._users = 0  # engines that have opened it; the second is told to close it again
        self._table = Table()
        # A status is kept as one byte, its place in this list, so that a page of one status is
        # found by `bytearray.find`: 30 µs for a million jobs.
        self._statuses: list[str] = []
        self._code_of = _PlaceIn(self._statuses)
        self._counts = [0] * (MAX_STATUSES + 1)  # how many jobs have the status of this place
        # Columns of jobs.
        self._ids = _Texts()
        self._status_codes = bytearray()
        self._newest = array("q")  # the sequence number of the job's newest transition
        # Columns of transitions.
        self._times = array("q")  # microseconds since 1970
        self._to_codes = bytearray()
        self._previous = array("q")  # the sequence number of the same job's one before; 0: none
        self._rows = array("q")  # of the jobs
        self._forgotten = 0  # all transitions up to this one are of removed jobs
        self._ends: list[tuple[datetime, int]] | None = None  # when the job of a row ended: a heap
        self._final_statuses: Collection[str] = ()

    async def open(self, final_statuses: Collection[str]) -> Opened:
        """Return what earlier engines left here; nothing, in a new storage.

        Raises:
            StorageInUseError: An engine of this process has it open.
        """
        self._users += 1
        if self._users > 1:
            raise StorageInUseError(
                "this MemoryStorage", "one of this process, given the same object"
            )
        self._final_statuses = frozenset(final_statuses)
        self._ends = None
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
        transitions = [change for change in changes if change.sequence is not None]
        for sequence, change in enumerate(transitions, len(self._times) + 1):
            record = change.record
            code = code_of[record.status]
            new_codes.append(code)
            counts[code] += 1
            if change.from_status is None:
                self._ids.append(record.job_id)
                codes.append(code)
                newest.append(sequence)
                previous.append(0)
            else:
                row = record.position - 1
                counts[codes[row]] -= 1
                codes[row] = code
                previous.append(newest[row])
                newest[row] = sequence
        self._to_codes.extend(new_codes)
        self._previous.extend(previous)
        self._rows.extend([change.record.position - 1 for change in transitions])
        self._times.extend(_microseconds([change.record.updated_at for change in transitions]))
        newest_of = newest_records(changes)
        self._table.update(newest_of)
        if self._ends is not None:
            moved = {change.record.job_id for change in transitions}
            self._note_ends(self._ends, map(newest_of.__getitem__, moved))

    async def resolve(self, changes: Sequence[Change]) -> bool:
        """Never called: a commit can't fail."""
        raise NotImplementedError

    async def count(self, status: str | None) -> int:
        """Count the jobs with this status."""
        return sum(self._counts) if status is None else self._counts[self._code_of[status]]

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[Record]:
        """Return the jobs behind a position."""
        code = None if status is None else self._code_of[status]
        rows = islice(self._rows_from(code, after), limit)
        return [self._record(row) for row in rows]

    def _record(self, row: int) -> Record:
        return cast("Record", self._table.find(self._ids[row]))

    def _rows_from(self, code: int | None, start: int) -> Iterator[int]:
        """Return the rows of jobs from a row on: all, or those with a status."""
        if code is None:
            for row in range(start, len(self._ids)):
                if self._status_codes[row] != _REMOVED:
                    yield row
            return
        row = start - 1
        while (row := self._status_codes.find(code, row + 1)) >= 0:
            yield row

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Follow the job's transitions back to its creation."""
        record = self._table.find(job_id)
        return None if record is None else self._entries(record, 0)

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Return the transitions behind a sequence number, of all jobs or of one."""
        if job_id is None:
            return [self._entry(sequence) for sequence in islice(self._kept(after), limit)]
        record = self._table.find(job_id)
        return [] if record is None else self._entries(record, after)[:limit]

    def _entries(self, record: Record, after: int) -> list[Entry]:
        newest_first: list[Entry] = []
        sequence = self._newest[record.position - 1]
        while sequence > after:
            newest_first.append(self._entry(sequence))
            sequence = self._previous[sequence - 1]
        return newest_first[::-1]

    def _entry(self, sequence: int) -> Entry:
        place = sequence - 1
        previous = self._previous[place]
        from_status = self._statuses[self._to_codes[previous - 1]] if previous else None
        to_status = self._statuses[self._to_codes[place]]
        at = _EPOCH + self._times[place] * _MICROSECOND
        return Entry(sequence, self._ids[self._rows[place]], from_status, to_status, at)

    def _kept(self, after: int) -> Iterator[int]:
        """Return the sequence numbers above one whose jobs are there."""
        codes, rows = self._status_codes, self._rows
        # So that a watcher from the beginning does not go through all that was ever removed.
        while self._forgotten < len(rows) and codes[rows[self._forgotten]] == _REMOVED:
            self._forgotten += 1
        for sequence in range(max(after, self._forgotten) + 1, len(rows) + 1):
            if codes[rows[sequence - 1]] != _REMOVED:
                yield sequence

    async def remove_ended(self, before: datetime | None, keep: int | None, limit: int) -> int:
        """Remove ended jobs from the table; a mark stays in their rows."""
        if self._ends is None:
            self._ends = []
            self._note_ends(self._ends, self._table.records())
        ends, removed = self._ends, 0
        while ends and removed < limit:
            too_many = keep is not None and len(ends) > keep
            if not too_many and (before is None or ends[0][0] >= before):
                break
            self._remove(heappop(ends)[1])
            removed += 1
        return removed

    def _note_ends(self, ends: list[tuple[datetime, int]], records: Iterable[Record]) -> None:
        for record in records:
            if record.status in self._final_statuses:
                heappush(ends, (record.updated_at, record.position - 1))

    def _remove(self, row: int) -> None:
        self._table.remove(self._record(row))
        self._counts[self._status_codes[row]] -= 1
        self._status_codes[row] = _REMOVED
        self._ids.clear(row)

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Refuse.

        Raises:
            StorageError: Always.
        """
        del progress
        raise StorageError(f"jobs in memory can't be copied to {path}: keep them in a file")

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

    def clear(self, row: int) -> None:
        """Forget a text."""
        block, place = divmod(row, _BLOCK)
        if block < len(self._full):
            texts = self._full[block]
            self._full[block] = (*texts[:place], "", *texts[place + 1 :])
        else:
            self._filling[place] = ""

    def append(self, text: str) -> None:
        self._filling.append(text)
        if len(self._filling) == _BLOCK:
            self._full.append(tuple(self._filling))
            self._filling.clear()


def _microseconds(times: list[datetime]) -> list[int]:
    """Return times as microseconds since 1970. Most often a batch has only one."""
    numbers = {time: (time - _EPOCH) // _MICROSECOND for time in set(times)}
    return [numbers[time] for time in times]
