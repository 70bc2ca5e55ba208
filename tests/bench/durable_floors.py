"""The floor of durable figures: the standard library's `sqlite3`, in a plain loop.

One thread, one connection, the engine's pragmas, tables and indexes, the same rows: a job and a
transition for each change, ids from the same source, times as text, a constant instead of a
checksum. No caller waits for an answer, nothing is checked or decided, and no job stays in memory.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from engine import JobStatus
from engine.domain.ids import new_job_id
from engine.storage.sqlite.schema import STEPS

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
RESULT = "the result of the work, a line of text as long as a link to a file: about 80 characters"
_CHECKSUM = 0x5EED_5EED

_INSERT_JOB = (
    "INSERT INTO jobs (position, job_id, status, input_hash, created_at, updated_at, version,"
    " checksum) VALUES (?, ?, ?, ?, ?, ?, 1, ?)"
)
_INSERT_LINE = (
    "INSERT INTO transitions (sequence, position, from_status, to_status, at, checksum)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_UPDATE_JOB = (
    "UPDATE jobs SET status = ?, updated_at = ?, started_at = coalesce(started_at, ?), result = ?,"
    " outcome = ?, ended_at = ?, version = version + 1, checksum = ? WHERE position = ?"
)


class PlainSqlite:
    """A file that is written in batches; each call is one transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        for statement in chain.from_iterable(STEPS):
            self._connection.execute(statement)
        self._position = 0
        self._sequence = 0

    def create(self, jobs: int) -> range:
        """Insert jobs and their first transitions; return their positions."""
        now = _now()
        first = self._position + 1
        self._position += jobs
        positions = range(first, first + jobs)
        status = JobStatus.AWAITING_PAYMENT.value
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            _INSERT_JOB,
            [(place, new_job_id(), status, HASH, now, now, _CHECKSUM) for place in positions],
        )
        self._insert_lines(positions, None, status, now)
        self._connection.execute("COMMIT")
        return positions

    def move(self, positions: range, source: str, target: str, result: str | None) -> None:
        """Update jobs and insert a transition for each; a job with a result has ended."""
        now = _now()
        ending = ("succeeded", now) if result else (None, None)
        values = (target, now, now, result, *ending, _CHECKSUM)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_UPDATE_JOB, [(*values, place) for place in positions])
        self._insert_lines(positions, source, target, now)
        self._connection.execute("COMMIT")

    def _insert_lines(self, positions: range, source: str | None, target: str, now: str) -> None:
        first = self._sequence + 1
        self._sequence += len(positions)
        lines = enumerate(positions, first)
        self._connection.executemany(
            _INSERT_LINE,
            [(sequence, place, source, target, now, _CHECKSUM) for sequence, place in lines],
        )

    def close(self) -> None:
        self._connection.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
