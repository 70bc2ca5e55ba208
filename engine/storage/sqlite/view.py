"""Views: one state of an engine's file, for a program that is no engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from engine.domain.epochs import Epoch
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.domain.pauses import Pauses
from engine.storage.answers import Names, StoredPage
from engine.storage.audit import DamagedAuditLine, KeptAuditLine
from engine.storage.filter import JobFilter
from engine.storage.overview import EngineRow, KindCounts, Statuses
from engine.storage.record import AttemptRecord, Damaged, Entry, Record
from engine.storage.sqlite import audit, reading
from engine.storage.sqlite.epochs import read_epochs
from engine.storage.sqlite.kinds import kinds
from engine.storage.sqlite.listing import page
from engine.storage.sqlite.notes import newest_number, read_pauses, read_rules, read_text
from engine.storage.sqlite.removing import count_to_remove
from engine.storage.sqlite.throughput import see_throughput
from engine.storage.throughput import SeenThroughput


class FileView:
    """One state of an engine's file; an `engine.storage.inspection.View`.

    Args:
        connection: Has a transaction, which sees that state.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Return a page of jobs."""
        return page(self._connection, jobs, after, limit, newest_first=newest_first)

    def counts(self) -> Mapping[str, int]:
        """Count the jobs of each status."""
        return reading.counts(self._connection)

    def job(self, job_id: str) -> Record | None:
        """Return a job; None for an unknown one.

        Raises:
            JobDamagedError: It can't be read.
        """
        return reading.find_job(self._connection, job_id)

    def find(self, names: Names) -> Sequence[Record | Damaged]:
        """Return the jobs that have one of these names."""
        return reading.checkout(self._connection, names).all()

    def statuses(self) -> Statuses | None:
        """Return the statuses of the newest engine's lifecycle; None if they can't be read."""
        return Statuses.of(self.lifecycle())

    def lifecycle(self) -> str | None:
        """Return the description of the newest engine's lifecycle; None if it can't be read."""
        return read_text(self._connection, "lifecycle")

    def kinds(self, statuses: Statuses, now: datetime) -> Sequence[KindCounts]:
        """Count the live jobs of each kind."""
        return kinds(self._connection, statuses, now)

    def engines(self) -> Sequence[EngineRow]:
        """Return no engine: a file has one at most, and does not say whether it has."""
        return ()

    def history(self, job_id: str) -> Sequence[Entry]:
        """Return the transitions of a job, oldest first."""
        return reading.history(self._connection, job_id) or []

    def transitions(self, after: int, limit: int, job_id: str | None = None) -> Sequence[Entry]:
        """Return transitions in their order."""
        return reading.transitions(self._connection, after, limit, job_id)

    def throughput(self, since: datetime) -> SeenThroughput:
        """Return how many transitions there were, by minute."""
        return see_throughput(self._connection, since)

    def last_sequence(self) -> int:
        """Return the number of the newest transition that was ever made."""
        return newest_number(self._connection, "sequence", "transitions")

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return the failed attempts of a job that are kept, oldest first."""
        return reading.attempts(self._connection, job_id) or []

    def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Return lines of the audit, newest first."""
        return audit.read_lines(self._connection, before, limit, job_id)

    def ids_from(self, beginning: str, most: int) -> Sequence[str]:
        """Return the first ids that begin with a text."""
        return reading.ids_from(self._connection, beginning, most)

    def holder(self, job_id: str) -> None:
        """Return None: the engine that has the file has each of its jobs."""
        del job_id

    def progress(self, job_id: str) -> None:
        """Return None: a file keeps no progress."""
        del job_id

    def epochs(self) -> Sequence[Epoch]:
        """Return the epochs in the order in which they began."""
        return read_epochs(self._connection)

    def pauses(self) -> Pauses:
        """Return the pauses."""
        return Pauses.read(read_pauses(self._connection))

    def removable(
        self, final_statuses: Collection[str], before: datetime | None, keep: int | None
    ) -> int:
        """Count the jobs that a removal would remove."""
        return count_to_remove(self._connection, final_statuses, before, keep)

    def rules(self) -> Rules:
        """Return the rules of follow-ups."""
        return Rules.read(StoredRules(text=read_rules(self._connection)))
