"""The floor of jobs with a handler: `sqlite3` in a plain loop, which runs no handler.

It writes the engine's rows as often as the engine does: a job is created, an attempt holds it, it
has ended. `tests.bench.durable_floors` says which work it omits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from os import urandom
from typing import Any

from engine import JobStatus
from engine.domain.ids import new_job_id
from engine.domain.time_text import time_text
from engine.owner.acts import worker_act
from tests.bench.durable_floors import HASH, PlainSqlite

DONE = "done"
_CHECKSUM = 0x5EED_5EED
_WAITING, _RUNNING, _COMPLETED = (
    status.value for status in (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED)
)

_INSERT_CLAIMED = (
    "INSERT INTO jobs (position, job_id, status, input_hash, created_at, updated_at, version,"
    " started_at, priority, attempt, failures, token, claimed_at, checksum)"
    " VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, 1, 0, ?, ?, ?)"
)
_CLAIM = (
    "UPDATE jobs SET status = ?, updated_at = ?, version = version + 1, started_at = ?,"
    " priority = 0, attempt = 1, failures = 0, token = ?, claimed_at = ?, checksum = ?"
    " WHERE position = ?"
)
_INSERT_WORKERS_LINE = (
    "INSERT INTO transitions (sequence, position, from_status, to_status, at, by, checksum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_END = (
    "UPDATE jobs SET status = ?, updated_at = ?, result = ?, outcome = ?, ended_at = ?,"
    " token = NULL, version = version + 1, checksum = ? WHERE position = ?"
)


class PlainWork(PlainSqlite):
    """A file with jobs and their attempts; each call is one transaction."""

    def live(self, jobs: int) -> None:
        """Write whole lives in three transactions: created, moved and claimed, ended."""
        positions = self.create(jobs)
        now = _now()
        claims = [(_RUNNING, now, now, _token(), now, _CHECKSUM, place) for place in positions]
        self._write(_CLAIM, claims, positions, _WAITING, _RUNNING, now)
        self._end(positions)

    def live_running(self, jobs: int) -> None:
        """Write lives that begin running, in two transactions: created and claimed, ended."""
        now, first = _now(), self._position + 1
        self._position += jobs
        positions = range(first, first + jobs)
        rows = [
            (place, new_job_id(), _RUNNING, HASH, now, now, now, _token(), now, _CHECKSUM)
            for place in positions
        ]
        self._write(_INSERT_CLAIMED, rows, positions, None, _RUNNING, now)
        self._end(positions)

    def _end(self, positions: range) -> None:
        now = _now()
        rows = [(_COMPLETED, now, DONE, "succeeded", now, _CHECKSUM, place) for place in positions]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_END, rows)
        first, by = self._sequence + 1, worker_act().by
        self._sequence += len(positions)
        self._connection.executemany(
            _INSERT_WORKERS_LINE,
            [
                (sequence, place, _RUNNING, _COMPLETED, now, by, _CHECKSUM)
                for sequence, place in enumerate(positions, first)
            ],
        )
        self._connection.execute("COMMIT")

    def _write(
        self,
        statement: str,
        rows: Sequence[Sequence[Any]],
        positions: range,
        source: str | None,
        target: str,
        now: str,
    ) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(statement, rows)
        self._insert_lines(positions, source, target, now)
        self._connection.execute("COMMIT")


def _now() -> str:
    return time_text(datetime.now(UTC))


def _token() -> str:
    return urandom(8).hex()
