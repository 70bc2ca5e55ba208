"""The time and memory of starting an engine on a file with a million ended jobs.

The live jobs are spread over the whole file, like jobs that wait long for their payment. Both are
measured in fresh processes: ``python -m tests.bench.startup FILE`` starts an engine on the file,
lists a job, and prints the seconds and the process's peak memory in bytes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from engine import JobEngine, JobStatus
from engine.domain.ids import new_job_id
from engine.storage.record import Change, Record
from engine.storage.sqlite.rows import SHORT_COLUMNS, TRANSITION_COLUMNS, batch_rows
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.measure import Best, Row, progress

_BATCH = 10_000
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def rows(finished: int, live: int, turns: int) -> list[Row]:
    """Fill a file once; start an engine on it, and one on an empty file, in turns."""
    best = Best()
    with new_folder() as folder:
        full, empty = folder / "full.db", folder / "empty.db"
        for path in (full, empty):
            anyio.run(_start, path)  # makes the file
        _fill(full, finished, live)
        for turn in range(turns):
            progress(f"starts, turn {turn + 1} of {turns}")
            for name, path in (("full", full), ("cold", full), ("empty", empty)):
                if name == "cold":
                    _let_go(full)
                seconds, size = _in_process(path)
                best.add(f"{name} seconds", 1, seconds)
                best.add(f"{name} bytes", 1, size)
    more = 1 / best["full bytes"] - 1 / best["empty bytes"]
    work = f"with {finished:,} finished and {live:,} live jobs"
    warm, cold = 1 / best["full seconds"], 1 / best["cold seconds"]
    return [
        Row(f"start {work}", warm, "limit", 2, 1.0, "s", at_most=True),
        Row("the same, read from the disk", cold, "limit", 2, 1.0, "s", at_most=True),
        Row(f"memory {work}", more / 1e6, "limit", 60, 1.0, "MB", at_most=True),
    ]


def _fill(path: Path, finished: int, live: int) -> None:
    """Write the engine's rows, with checksums, but unsynced and much faster."""
    jobs, every = finished + live, (finished + live) // live
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
            rows = batch_rows(changes, {JobStatus.COMPLETED.value})
            _insert(connection, "jobs", SHORT_COLUMNS, rows.jobs())
            _insert(connection, "transitions", TRANSITION_COLUMNS, rows.transitions)
            progress(f"filling a file, {position:,} of {jobs:,} jobs")
        connection.execute("COMMIT")


def _life(position: int, sequence: int, *, live: bool) -> list[Change]:
    """Return a job's changes: its creation and, if it has ended, two more."""
    at = _LONG_AGO + timedelta(seconds=position)
    waiting, running, completed = (
        status.value
        for status in (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING, JobStatus.COMPLETED)
    )
    first = Record(new_job_id(), waiting, HASH, None, at, at, position)
    if live:
        return [Change(sequence + 1, None, first)]
    second = first.moved(running, at)
    third = second.moved(completed, at, result=RESULT)
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
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",  # noqa: S608 - our own names
        rows,
    )


def _let_go(path: Path) -> None:
    """Ask the operating system to drop its cache of a file, as after a reboot."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _in_process(path: Path) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.startup", path],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, size = json.loads(done.stdout)
    return seconds, size


async def _start(path: Path) -> float:
    """Return the seconds until a call is answered."""
    start = time.perf_counter()
    async with JobEngine(path) as engine:
        await engine.list_jobs(limit=1)
        return time.perf_counter() - start


def _most_bytes() -> int:
    """Return the peak memory of this process, as Linux reports it (proc(5), status)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps([anyio.run(_start, Path(sys.argv[1])), _most_bytes()]))
