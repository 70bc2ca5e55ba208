"""A file with many ended jobs, and live ones that are spread evenly among them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import JobStatus
from engine.domain.ids import new_job_id
from engine.storage.record import Change, Record
from engine.storage.sqlite.rows import SHORT_COLUMNS, SHORT_TRANSITION_COLUMNS, batch_rows
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.measure import progress

_BATCH = 10_000
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def fill(path: Path, finished: int, live: int) -> None:
    """Fill an engine's empty file with its rows, checksums included, but unsynced and faster."""
    jobs = finished + live
    every = jobs // live if live else jobs + 1
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")  # KiB
        connection.execute("BEGIN IMMEDIATE")
        sequence = 0
        for first in range(1, jobs + 1, _BATCH):
            changes: list[Change] = []
            for position in range(first, min(first + _BATCH, jobs + 1)):
                changes += _life(position, sequence + len(changes), live=position % every == 0)
            sequence += len(changes)
            rows = batch_rows(changes)
            _insert(connection, "jobs", SHORT_COLUMNS, rows.jobs())
            _insert(connection, "transitions", SHORT_TRANSITION_COLUMNS, rows.transitions)
            progress(f"filling a file, {position:,} of {jobs:,} jobs")
        connection.execute("COMMIT")


def _life(position: int, sequence: int, *, live: bool) -> list[Change]:
    """Return a job's changes: its creation and, if it has ended, two more."""
    at = _LONG_AGO + timedelta(seconds=position)
    waiting, running, completed = (
        status.value
        for status in (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED)
    )
    first = Record(new_job_id(), waiting, HASH, None, at, at, position, sequence=sequence + 1)
    if live:
        return [Change(sequence + 1, None, first)]
    second = first.moved(running, at, sequence + 2, starts=True)
    third = second.moved(completed, at, sequence + 3, result=RESULT, outcome="succeeded")
    return [
        Change(sequence + 1, None, first),
        Change(sequence + 2, waiting, second),
        Change(sequence + 3, running, third),
    ]


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[object, ...]],
) -> None:
    places = ", ".join("?" * len(columns))
    connection.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
        rows,
    )
