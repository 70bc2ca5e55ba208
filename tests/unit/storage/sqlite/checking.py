"""A file, and its check."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from engine import JobStatus, SQLiteStorage, SyncJobEngine
from engine.storage.findings import Report
from engine.storage.sqlite import file
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.database import Database
from engine.storage.sqlite.ownership import Ownership
from engine.storage.sqlite.rows import (
    ATTEMPT_COLUMNS,
    AUDIT_COLUMNS,
    JOB_COLUMNS,
    THROUGHPUT_COLUMNS,
    TRANSITION_COLUMNS,
    checksum,
)

FINAL = {"completed": "succeeded", "failed": "failed"}
JOBS = [f"job-{number}" for number in range(1, 11)]


def ignore(_done: int, _of: int) -> None:
    pass


def checked(path: Path) -> Report:
    return check_file(path, ignore)


def make_file(folder: Path) -> Path:
    """Return a file with 7 jobs, 13 transitions and 6 acts, after the removal of 3 ended jobs."""
    path = folder / "jobs.db"
    ids = iter(JOBS)
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: next(ids)) as engine:
        for number, job_id in enumerate(JOBS, start=1):
            engine.create(f"input {number}", idempotency_key=f"key {number}")
            if number % 3 != 1:
                engine.transition(job_id, JobStatus.RUNNING)
                result = f"result {number}"
                engine.transition(job_id, JobStatus.COMPLETED, result=result, by="us")
    database = Database(path, lambda path: file.connect(path, "rw"))
    ownership = Ownership(path)
    database.open(FINAL, {}, "running", ownership)
    assert len(database.remove_ended(None, 3, 100)) == 3
    database.close()
    ownership.release()
    return path


def findings(path: Path) -> list[str]:
    return [f"{where}: {problem}" for where, problem in checked(path).findings]


def written(path: Path, *statements: str) -> None:
    """Change the file as no engine would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0


def sealed(path: Path) -> None:
    """Make every checksum match its row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("checksum", -1, lambda *values: checksum(values))
        for table, columns in (
            ("jobs", JOB_COLUMNS),
            ("transitions", TRANSITION_COLUMNS),
            ("attempts", ATTEMPT_COLUMNS),
            ("audit", AUDIT_COLUMNS),
            ("throughput", THROUGHPUT_COLUMNS),
            ("engine", ("name", "value", "checksum")),
        ):
            values = ", ".join(columns[:-1])
            connection.execute(f"UPDATE {table} SET checksum = checksum({values})")  # noqa: S608 - our own names
