"""The table: the owner's dictionary of jobs, which the garbage collector need not walk.

CPython's collector visits every item of every container that it tracks, 25 to 40 ns each: a plain
dict of a million records stops the event loop for 40 ms at every full collection, and at many young
ones too, because a dict is tracked anew whenever a tracked value is put into it. But it does not
track a dict that only ever held untracked values (``dictobject.c``, ``MAINTAIN_TRACKING``), and a
record is untracked from the first collection on that meets it. So new records wait in a small dict,
and move into the large one when the collector has let go of them.

Where a collector does not work like this, or is switched off, the table is two dicts and no worse.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from engine.storage.record import IDEMPOTENCY_KEY, JOB_ID, STATUS, Record

_YOUNG_RECORDS: Final = 1_024  # so many may wait before they are looked through


class Table:
    """Records by job id and by idempotency key."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._young: dict[str, Record] = {}
        self._settled: dict[str, Record] = {}  # out of date for a job that is in young as well
        self._ids_of_keys: dict[str, str] = {}
        self._settle_at = _YOUNG_RECORDS
        self.update({record[JOB_ID]: record for record in records})

    def statuses(self) -> set[str]:
        """Return every status that a job has; looks at all jobs."""
        return {record[STATUS] for record in self.records()}

    def records(self) -> Iterator[Record]:
        """Return all records, in no order."""
        for job_id, record in self._settled.items():
            if job_id not in self._young:
                yield record
        yield from self._young.values()

    def find(self, job_id: str) -> Record | None:
        """Return a job's record, or None."""
        return self._young.get(job_id) or self._settled.get(job_id)

    def find_all(self, job_ids: Iterable[str]) -> list[Record] | None:
        """Return the records of all of these jobs, or None if one is not there."""
        records: list[Record] = []
        for job_id in job_ids:
            record = self._young.get(job_id) or self._settled.get(job_id)
            if record is None:
                return None
            records.append(record)
        return records

    def find_by_key(self, key: str) -> Record | None:
        """Return the record of the job that has an idempotency key, or None."""
        job_id = self._ids_of_keys.get(key)
        return None if job_id is None else self.find(job_id)

    def update(self, records: Mapping[str, Record]) -> None:
        """Put records in, which are given by their job ids."""
        self._young.update(records)
        for record in records.values():
            if (key := record[IDEMPOTENCY_KEY]) is not None:
                self._ids_of_keys[key] = record[JOB_ID]
        if len(self._young) >= self._settle_at:
            self._settle()

    def remove(self, record: Record) -> None:
        """Take a job's record out."""
        self._young.pop(record[JOB_ID], None)
        self._settled.pop(record[JOB_ID], None)
        if (key := record[IDEMPOTENCY_KEY]) is not None:
            self._ids_of_keys.pop(key, None)

    def _settle(self) -> None:
        young, settled = self._young, self._settled
        for job_id in [job_id for job_id, record in young.items() if not gc.is_tracked(record)]:
            settled[job_id] = young.pop(job_id)
        # What is still tracked is not worth looking at again before as much has come in.
        self._settle_at = _YOUNG_RECORDS + 2 * len(young)
