"""Recent jobs: stay in a table for a while, because their callers soon ask for them again.

Otherwise each look at a job that has just ended would go to the storage, and so would each call
that moves a job which this engine has just written to a shared one. The oldest leave first.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Final

from engine.storage.record import Record
from engine.storage.table import Table

_MOST_BYTES: Final = 4 * 1_048_576
_LARGE_BYTES: Final = _MOST_BYTES // 64  # a job with more is not kept
_BYTES_OF_A_RECORD: Final = 400  # without its texts; and its places in dictionaries
_BYTES_OF_A_CHARACTER: Final = 4  # at most


class RecentJobs:
    """Keeps the newest jobs of a table, of 4 MiB at most.

    Args:
        table: Has the jobs that are added here, until they leave.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._sizes: dict[str, int] = {}  # in bytes, by job id, the oldest first
        self._bytes = 0

    def add(self, record: Record) -> None:
        """Keep a job that the table has just got; others leave."""
        self._bytes -= self._sizes.pop(record.job_id, 0)
        size = _size(record)
        if size > _LARGE_BYTES:
            self._table.remove(record)
            return
        self._sizes[record.job_id] = size
        self._bytes += size
        while self._bytes > _MOST_BYTES:
            self.forget([next(iter(self._sizes))])

    def forget(self, job_ids: Iterable[str]) -> None:
        """Take jobs out of the table, if they are kept here."""
        for job_id in job_ids:
            if (size := self._sizes.pop(job_id, None)) is not None:
                self._bytes -= size
                if (record := self._table.find(job_id)) is not None:
                    self._table.remove(record)

    def forget_all(self) -> None:
        """Take all jobs out of the table that are kept here."""
        self.forget(list(self._sizes))


def _size(record: Record) -> int:
    texts = (
        *(record.job_id, record.input_hash, record.blockchain_identifier, record.idempotency_key),
        *(record.result, record.error, record.input),
    )
    others = record.execution.characters * _BYTES_OF_A_CHARACTER
    return _BYTES_OF_A_RECORD + others + sum(map(getsizeof, filter(None, texts)))
