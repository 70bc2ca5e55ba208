"""Inspection: what a program may ask of a place with jobs, while engines use it or not.

The place is a file or a database. Its jobs stay as they are; only a new place can be made, the
rules of follow-ups and the pauses can be changed, and an engine can be drained. No lifecycle
is needed: the statuses are the texts that are stored there. What acts on the jobs, such as
`engine.operating`, is an engine too, and gets its storage here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from engine.domain.epochs import Epoch
from engine.domain.follow_up_rules import Rules
from engine.domain.models import Progress
from engine.domain.pauses import Pauses
from engine.storage.answers import Names, StoredPage
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine
from engine.storage.copying import Contents, Counts, Draft
from engine.storage.filter import JobFilter
from engine.storage.findings import Report
from engine.storage.overview import EngineRow, KindCounts, Statuses
from engine.storage.protocol import ProgressCallback, Storage
from engine.storage.record import AttemptRecord, Damaged, Entry, Record
from engine.storage.throughput import SeenThroughput


class View(Protocol):
    """One state of a place: what is committed later is not seen."""

    def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Return a page of jobs; see `engine.storage.Storage.page`."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Count the jobs of each status."""
        ...

    def job(self, job_id: str) -> Record | None:
        """Return a job; None for an unknown one.

        Raises:
            JobDamagedError: It can't be read.
        """
        ...

    def find(self, names: Names) -> Sequence[Record | Damaged]:
        """Return the jobs that have one of these names."""
        ...

    def statuses(self) -> Statuses | None:
        """Return the statuses of the newest engine's lifecycle; None if they can't be read."""
        ...

    def lifecycle(self) -> str | None:
        """Return the description of the newest engine's lifecycle; None if it can't be read.

        `engine.domain.lifecycle` makes the lifecycle of it.
        """
        ...

    def kinds(self, statuses: Statuses, now: datetime) -> Sequence[KindCounts]:
        """Count the live jobs of each kind: of each status, the oldest `COUNTED_JOBS`."""
        ...

    def engines(self) -> Sequence[EngineRow]:
        """Return the engines of a database, the oldest first; none of a file."""
        ...

    def history(self, job_id: str) -> Sequence[Entry]:
        """Return the transitions of a job, oldest first; none of an unknown job.

        Raises:
            JobDamagedError: One of them can't be read.
        """
        ...

    def transitions(self, after: int, limit: int, job_id: str | None = None) -> Sequence[Entry]:
        """Return transitions in their order; see `engine.storage.Storage.transitions`.

        Raises:
            StorageDamagedError: One of them can't be read.
        """
        ...

    def throughput(self, since: datetime) -> SeenThroughput:
        """Return the transitions of the minutes from one on; see `engine.storage.throughput`.

        What engines have not counted yet is counted here, up to some 100,000 transitions.
        """
        ...

    def last_sequence(self) -> int:
        """Return the number of the newest transition that was ever made.

        Raises:
            StorageDamagedError: It can't be read.
        """
        ...

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return the failed attempts of a job that are kept, oldest first; none of an unknown job.

        Raises:
            JobDamagedError: One of them can't be read.
        """
        ...

    def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Return lines of the audit, newest first; see `engine.storage.Storage.audit`."""
        ...

    def ids_from(self, beginning: str, most: int) -> Sequence[str]:
        """Return the first ids that begin with a text, in their order, up to a number of them."""
        ...

    def holder(self, job_id: str) -> str | None:
        """Return the name of the engine that holds a job; None if none does, and in a file."""
        ...

    def progress(self, job_id: str) -> Progress | None:
        """Return the newest progress of a job; None without any, and in a file."""
        ...

    def epochs(self) -> Sequence[Epoch]:
        """Return the epochs in the order in which they began."""
        ...

    def removable(
        self, final_statuses: Collection[str], before: datetime | None, keep: int | None
    ) -> int:
        """Count the jobs that `engine.storage.Storage.remove_ended` would remove now, to the end.

        Args:
            final_statuses: Those of the lifecycle.
            before: See `remove_ended`.
            keep: The same.
        """
        ...

    def rules(self) -> Rules:
        """Return the rules of follow-ups.

        Raises:
            StorageDamagedError: They can't be read.
        """
        ...

    def pauses(self) -> Pauses:
        """Return the pauses.

        Raises:
            StorageDamagedError: They can't be read.
        """
        ...


class Place(Protocol):
    """A place with jobs."""

    @property
    def name(self) -> str:
        """Its name for people and shells, without a password."""
        ...

    @property
    def file(self) -> Path | None:
        """The path of a file; None of a database."""
        ...

    def reading(self) -> AbstractContextManager[View]:
        """Give one state of it.

        Raises:
            StorageError: It can't be read, or is no engine's.
        """
        ...

    def check(self, progress: ProgressCallback) -> Report:
        """Verify all of it; see `engine.storage.sqlite.check` and its twin in ``postgres``.

        Raises:
            StorageError: It can't be read, or is no engine's.
        """
        ...

    def guest(self) -> Storage:
        """Return the storage of a guest: an engine that acts for an operator, and does no more.

        Its opening makes nothing that is missing and fits no job to a lifecycle, and so leaves the
        place as it is. One thing only is due before a guest writes: the epoch of a copy.
        """
        ...

    def change_rules(self, change: Callable[[Rules], Rules], lines: Sequence[AuditLine]) -> Rules:
        """Keep other rules of follow-ups; return those before.

        Args:
            change: Makes them from those that are kept; called again if others have changed these.
            lines: The lines of the audit that are there if and only if the rules have changed.

        Raises:
            StorageInUseError: An engine has the file. Those of a database may run.
            StorageError: It can't be read or written, or is no engine's.
            OutcomeUnknownError: It failed during the commit.
        """
        ...

    def contents(self) -> AbstractContextManager[Contents]:
        """Give all of it, for a copy.

        Raises:
            StorageInUseError: An engine has it.
            StorageError: It can't be read, or is no engine's.
        """
        ...

    def make(self, write: Callable[[Draft], Counts]) -> Counts:
        """Make the place: all of it, durable, or nothing.

        Args:
            write: Writes all of it, and counts that; an exception that it raises leaves nothing.

        Raises:
            StorageError: It is not empty, or can't be written.
            OutcomeUnknownError: It failed during the commit.
        """
        ...
