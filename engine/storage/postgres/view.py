"""Views: one state of a shared database, for a program that is no engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from engine.domain.epochs import Epoch
from engine.domain.exceptions import JobDamagedError
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.domain.models import Progress
from engine.domain.pauses import Pauses
from engine.storage.answers import Names, StoredPage
from engine.storage.audit import DamagedAuditLine, KeptAuditLine
from engine.storage.filter import JobFilter
from engine.storage.overview import EngineRow, KindCounts, Statuses
from engine.storage.postgres import listing, live, reading
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.removing import count_to_remove
from engine.storage.postgres.statements import Statements
from engine.storage.postgres.throughput import see_throughput
from engine.storage.record import AttemptRecord, Damaged, Entry, Record
from engine.storage.record_checks import record_problem
from engine.storage.throughput import SeenThroughput

_PROGRESS: Final = ("job_id", "attempt", "done", "total", "note")


class DatabaseView:
    """One state of a shared database; an `engine.storage.inspection.View`.

    Args:
        cursor: Has a transaction, which sees that state.
        statements: Those of its schema.
    """

    def __init__(self, cursor: Reader, statements: Statements) -> None:
        self._cursor = cursor
        self._statements = statements

    def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Return a page of jobs."""
        page = listing.page(
            self._cursor, self._statements, jobs, after, limit, newest_first=newest_first
        )
        return replace(page, jobs=[_or_damaged(job) for job in page.jobs])

    def counts(self) -> Mapping[str, int]:
        """Count the jobs of each status."""
        query = f"SELECT status, count(*) FROM {self._statements.schema}.jobs GROUP BY status"
        return dict(self._cursor.execute(query.encode()).fetchall())

    def job(self, job_id: str) -> Record | None:
        """Return a job; None for an unknown one.

        Raises:
            JobDamagedError: It can't be read.
        """
        found = reading.checkout(self._cursor, self._statements, Names([job_id])).ids
        job = found.jobs.get(job_id)
        if job is not None and (problem := record_problem(job)) is not None:
            raise JobDamagedError(job_id, problem)
        return job

    def find(self, names: Names) -> Sequence[Record | Damaged]:
        """Return the jobs that have one of these names."""
        found = reading.checkout(self._cursor, self._statements, names).all()
        return [_or_damaged(job) for job in found]

    def statuses(self) -> Statuses | None:
        """Return the statuses of the newest engine's lifecycle; None if they can't be read."""
        return Statuses.of(self.lifecycle())

    def lifecycle(self) -> str | None:
        """Return the description of the newest engine's lifecycle; None if it can't be read."""
        return reading.note(self._cursor, self._statements, "lifecycle")

    def kinds(self, statuses: Statuses, now: datetime) -> Sequence[KindCounts]:
        """Count the live jobs of each kind."""
        return live.kinds(self._cursor, self._statements, statuses, now)

    def engines(self) -> Sequence[EngineRow]:
        """Return the engines, the oldest first."""
        return live.engines(self._cursor, self._statements)

    def history(self, job_id: str) -> Sequence[Entry]:
        """Return the transitions of a job, oldest first; none of an unknown job.

        Raises:
            JobDamagedError: One of them is missing.
        """
        entries = reading.history(self._cursor, self._statements, job_id)
        job = self.job(job_id)
        if entries is None or job is None:
            return []
        if len(entries) != job.version:
            raise JobDamagedError(job_id, "its history is not complete")
        return entries

    def transitions(self, after: int, limit: int, job_id: str | None = None) -> Sequence[Entry]:
        """Return transitions in their order."""
        return reading.transitions(self._cursor, self._statements, after, limit, job_id)

    def throughput(self, since: datetime) -> SeenThroughput:
        """Return how many transitions there were, by minute."""
        return see_throughput(self._cursor, self._statements, since)

    def last_sequence(self) -> int:
        """Return the number of the newest transition that was ever made."""
        return int(reading.one(self._cursor, self._statements.numbers)[0])

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """Return the failed attempts of a job that are kept, oldest first."""
        return reading.attempts(self._cursor, self._statements, job_id) or []

    def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Return lines of the audit, newest first."""
        return reading.audit(self._cursor, self._statements, before, limit, job_id)

    def ids_from(self, beginning: str, most: int) -> Sequence[str]:
        """Return the first ids that begin with a text."""
        return reading.ids_from(self._cursor, self._statements, beginning, most)

    def holder(self, job_id: str) -> str | None:
        """Return the name of the engine that holds a job; None if none does."""
        s = self._statements.schema
        row = self._cursor.execute(
            f"SELECT engine.name FROM {s}.jobs AS job "
            f"JOIN {s}.engines AS engine ON engine.engine_id = job.holder "
            "WHERE job.job_id = %b".encode(),
            (job_id,),
        ).fetchone()
        return None if row is None else str(row[0])

    def progress(self, job_id: str) -> Progress | None:
        """Return the newest progress of a job; None without any, and on a standby."""
        if reading.is_standby(self._cursor):  # which has no unlogged tables
            return None
        row = self._cursor.execute(
            f"SELECT {', '.join(_PROGRESS)} "
            f"FROM {self._statements.schema}.progress WHERE job_id = %b".encode(),
            (job_id,),
        ).fetchone()
        return None if row is None else Progress(**dict(zip(_PROGRESS, row, strict=True)))

    def epochs(self) -> Sequence[Epoch]:
        """Return the epochs in the order in which they began."""
        return [Epoch(*row) for row in self._cursor.execute(self._statements.epochs)]

    def pauses(self) -> Pauses:
        """Return the pauses."""
        return Pauses.read(reading.pauses(self._cursor, self._statements))

    def removable(
        self, final_statuses: Collection[str], before: datetime | None, keep: int | None
    ) -> int:
        """Count the jobs that a removal would remove: the database knows which have ended."""
        del final_statuses
        return count_to_remove(self._cursor, self._statements, before, keep)

    def rules(self) -> Rules:
        """Return the rules of follow-ups."""
        return Rules.read(StoredRules(*reading.one(self._cursor, self._statements.rules)))


def _or_damaged(job: Record | Damaged) -> Record | Damaged:
    if isinstance(job, Damaged) or (problem := record_problem(job)) is None:
        return job
    return Damaged(job.job_id, job.position, problem)
