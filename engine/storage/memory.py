"""The memory storage: nothing outlives the process; otherwise a storage like any other.

It keeps columns rather than objects, because a history of a million lines must neither cost a
kilobyte a line nor be walked by the garbage collector. A job's position, less one, is its row in
the job columns; a change's sequence number, less one, is its row in the history columns. A job's
history is a chain from its newest change backwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from datetime import datetime

from engine.domain.exceptions import DuplicateJobIdError
from engine.domain.lifecycle import MAX_STATUSES
from engine.domain.record import (
    IDEMPOTENCY_KEY,
    JOB_ID,
    POSITION,
    STATUS,
    UPDATED_AT,
    Change,
    Entry,
    Record,
)
from engine.storage.protocol import CheckedOut, Opened


class _PlaceIn(dict[str, int]):
    """Gives each text its place in a list, and puts a new one at the end of it."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, text: str) -> int:
        self[text] = len(self._texts)
        self._texts.append(text)
        return self[text]


class MemoryStorage:
    """Keeps everything in memory.

    The jobs live as long as this object: an engine that is closed and another that is opened with
    the same storage, one after the other, see the same jobs.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}  # job id -> row
        self._keys: dict[str, int] = {}  # idempotency key -> row
        # A status is kept as one byte, its place in this list, so that a page of one status is
        # found by `bytearray.find`: 30 µs for a million jobs.
        self._statuses: list[str] = []
        self._code_of = _PlaceIn(self._statuses)
        self._counts = [0] * MAX_STATUSES  # how many jobs have the status of this place
        # Columns of jobs.
        self._records: list[Record] = []
        self._status_codes = bytearray()
        self._newest = array("q")  # the sequence number of the job's newest change
        # Columns of changes.
        self._times: list[datetime] = []
        self._to_codes = bytearray()
        self._previous = array("q")  # the sequence number of the same job's change before; 0: none

    async def open(self, final_statuses: Collection[str]) -> Opened:
        """Return what earlier engines left here; nothing, in a new storage."""
        live = [record for record in self._records if record[STATUS] not in final_statuses]
        return Opened(live, last_sequence=len(self._times), last_position=len(self._records))

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        """Return the jobs with these ids and keys."""
        records, rows, by_key = self._records, self._rows, self._keys
        return CheckedOut(
            {job_id: records[rows[job_id]] for job_id in job_ids if job_id in rows},
            {key: records[by_key[key]] for key in keys if key in by_key},
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply the changes.

        Raises:
            DuplicateJobIdError: A created job's id is taken; none was applied.
        """
        for _, from_status, record in changes:
            if from_status is None and record[JOB_ID] in self._rows:
                raise DuplicateJobIdError(record[JOB_ID])
        code_of, codes, counts = self._code_of, self._status_codes, self._counts
        records, newest, add_previous = self._records, self._newest, self._previous.append
        for sequence, from_status, record in changes:
            code = code_of[record[STATUS]]
            if from_status is None:
                self._append_job(record, code, sequence)
                add_previous(0)
            else:
                row = record[POSITION] - 1
                counts[codes[row]] -= 1
                records[row] = record
                codes[row] = code
                add_previous(newest[row])
                newest[row] = sequence
            counts[code] += 1
        self._times.extend([record[UPDATED_AT] for _, _, record in changes])
        self._to_codes.extend([code_of[record[STATUS]] for _, _, record in changes])

    def _append_job(self, record: Record, code: int, sequence: int) -> None:
        row = len(self._records)
        self._rows[record[JOB_ID]] = row
        if (key := record[IDEMPOTENCY_KEY]) is not None:
            self._keys[key] = row
        self._records.append(record)
        self._status_codes.append(code)
        self._newest.append(sequence)

    async def count(self, status: str | None) -> int:
        """Count the jobs with this status."""
        if status is None:
            return len(self._records)
        return self._counts[self._code_of[status]]

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[Record]:
        """Return the jobs behind a position."""
        if status is None:
            return self._records[after : after + limit]
        found: list[Record] = []
        code, row = self._code_of[status], after - 1
        while len(found) < limit and (row := self._status_codes.find(code, row + 1)) >= 0:
            found.append(self._records[row])
        return found

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        """Follow the job's changes back to its creation."""
        if job_id not in self._rows:
            return None
        newest_first: list[Entry] = []
        sequence = self._newest[self._rows[job_id]]
        while sequence:
            change = sequence - 1
            previous = self._previous[change]
            from_status = self._statuses[self._to_codes[previous - 1]] if previous else None
            to_status = self._statuses[self._to_codes[change]]
            newest_first.append(Entry(sequence, from_status, to_status, self._times[change]))
            sequence = previous
        return newest_first[::-1]

    async def aclose(self) -> None:
        """Do nothing: the jobs are gone when this object is."""
