"""The floor of figures on PostgreSQL: bare psycopg, in a plain loop.

One thread, one connection, binary arrays, the engine's tables and indexes, the same rows: a job and
a transition for each change, in one statement a batch, which is one commit. What is the same in a
batch is sent once. Nothing is compared or decided, no number is looked up, and no other program may
write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import psycopg

from engine import JobStatus
from engine.domain.ids import new_job_id
from tests.bench.durable_floors import HASH, RESULT

_WAITING, _RUNNING, _COMPLETED = (
    status.value for status in (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED)
)
_LINE: Final = (
    "INSERT INTO engine.transitions (sequence, position, job_id, from_status, to_status, at)"
)
_INSERTED: Final = (
    "INSERT INTO engine.jobs (position, job_id, revision, status, input_hash, created_at,"
    " updated_at, version, kind, ready)"
)
_CREATE: Final = (
    f"WITH given AS (SELECT * FROM unnest(%b::bigint[], %b::text[]) AS given (position, job_id)),"
    f" line AS ({_LINE} SELECT %b::bigint + position, position, job_id, NULL, %b::text,"
    " %b::timestamptz FROM given)"
    f" {_INSERTED} SELECT position, job_id, 1, %b::text, %b::text, %b::timestamptz,"
    " %b::timestamptz, 1, 'default', false FROM given"
)
_CREATE_ONE: Final = (
    f"WITH line AS ({_LINE} VALUES (%b::bigint, %b::bigint, %b::text, NULL, %b::text,"
    " %b::timestamptz))"
    f" {_INSERTED} VALUES (%b::bigint, %b::text, 1, %b::text, %b::text, %b::timestamptz,"
    " %b::timestamptz, 1, 'default', false)"
)
_MOVE: Final = (
    "WITH given AS (SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::text[])"
    " AS given (position, sequence, job_id)),"
    f" line AS ({_LINE} SELECT sequence, position, job_id, %b::text, %b::text, %b::timestamptz"
    " FROM given)"
    " UPDATE engine.jobs AS job SET status = %b::text, updated_at = %b::timestamptz,"
    " version = version + 1, revision = revision + 1,"
    " started_at = coalesce(started_at, %b::timestamptz), ready = %b::boolean,"
    " result = %b::text, outcome = %b::text, ended_at = %b::timestamptz"
    " FROM given WHERE job.position = given.position"
)


class PlainPostgres:
    """A database that is written in batches; each call is one commit.

    Args:
        url: A database whose schema ``engine`` has no jobs.
    """

    def __init__(self, url: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self._cursor = self._connection.cursor(binary=True)
        self._position = 0
        self._sequence = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def create(self, jobs: int) -> tuple[list[int], list[str]]:
        """Insert jobs and their first transitions; return their positions and ids."""
        now = datetime.now(UTC)
        positions = [*range(self._position + 1, self._position + jobs + 1)]
        job_ids = [new_job_id() for _ in positions]
        ahead = self._sequence - self._position
        line = (ahead, _WAITING, now)
        self._cursor.execute(_CREATE, (positions, job_ids, *line, _WAITING, HASH, now, now))
        self._position += jobs
        self._sequence += jobs
        return positions, job_ids

    def create_one(self) -> None:
        """Insert a job and its first transition."""
        now, job_id = datetime.now(UTC), new_job_id()
        self._position += 1
        self._sequence += 1
        line = (self._sequence, self._position, job_id, _WAITING, now)
        self._cursor.execute(_CREATE_ONE, (*line, self._position, job_id, _WAITING, HASH, now, now))

    def live(self, jobs: int) -> None:
        """Write whole lives in three batches."""
        positions, job_ids = self.create(jobs)
        self._move(positions, job_ids, _WAITING, _RUNNING, None)
        self._move(positions, job_ids, _RUNNING, _COMPLETED, RESULT)

    def _move(
        self,
        positions: Sequence[int],
        job_ids: Sequence[str],
        source: str,
        target: str,
        result: str | None,
    ) -> None:
        """Update jobs and insert a transition for each; a job with a result has ended."""
        now, first = datetime.now(UTC), self._sequence + 1
        self._sequence += len(positions)
        sequences = [*range(first, self._sequence + 1)]
        ending = (result, "succeeded", now) if result else (None, None, None)
        job = (target, now, now, not result, *ending)
        self._cursor.execute(_MOVE, (positions, sequences, job_ids, source, target, now, *job))
