"""Recently ended jobs: stay in the owner's table for a while, because their callers ask for them.

Otherwise each look at a job that has just ended would go to the storage. The oldest leave first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.storage.record import Record
from engine.storage.table import Table

_MOST_CHARACTERS: Final = 4 * 1_048_576
_LARGE_CHARACTERS: Final = _MOST_CHARACTERS // 64  # a job with more is not kept
_CHARACTERS_OF_A_RECORD: Final = 600  # a record without long texts, and its places in dictionaries


class RecentlyEnded:
    """Keeps the newest ended jobs of a table, of about 4 MB.

    Args:
        table: The owner's. It has the jobs that are added here, until they leave.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._sizes: dict[str, int] = {}  # in characters, by job id, the oldest end first
        self._characters = 0

    def add(self, record: Record) -> None:
        """Keep a job that has just ended; others leave."""
        size = _CHARACTERS_OF_A_RECORD + record.characters
        if size > _LARGE_CHARACTERS:
            self._table.remove(record)
            return
        self._sizes[record.job_id] = size
        self._characters += size
        while self._characters > _MOST_CHARACTERS:
            self.forget([next(iter(self._sizes))])

    def forget(self, job_ids: Iterable[str]) -> None:
        """Take jobs out of the table, if they are kept here."""
        for job_id in job_ids:
            if (size := self._sizes.pop(job_id, None)) is not None:
                self._characters -= size
                if (record := self._table.find(job_id)) is not None:
                    self._table.remove(record)
