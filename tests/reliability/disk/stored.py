"""The contents of a database file, read by SQLite alone, and their contradictions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from engine import Job, JobStatus

DATABASE = "jobs.db"


@dataclass
class StoredJob:
    """A row of the table of jobs, with its rows of the table of transitions."""

    job_id: str
    status: str
    result: str | None
    error: str | None
    version: int
    idempotency_key: str | None
    moves: list[tuple[str | None, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"version {self.version} ({self.status}) after {self.moves}"

    def has_been(self, status: JobStatus, version: int) -> bool:
        """Return whether the job got this status with this version."""
        return len(self.moves) >= version and self.moves[version - 1][1] == status

    def agrees_with(self, job: Job) -> bool:
        """Return whether the job is, or once was, as in the snapshot."""
        if self.version == job.version:
            return (
                self.job_id == job.job_id
                and self.status == job.status
                and (self.result, self.error) == (job.result, job.error)
                and self.idempotency_key == job.idempotency_key
            )
        return self.job_id == job.job_id and self.has_been(job.status, job.version)

    def problems(self) -> Iterator[str]:
        """Return the contradictions of the row to its history."""
        if len(self.moves) != self.version:
            yield f"{self.job_id}: version {self.version}, but {len(self.moves)} transitions"
        befores = [None, *(to_status for _, to_status in self.moves)]
        if [from_status for from_status, _ in self.moves] != befores[:-1]:
            yield f"{self.job_id}: {self.moves} is no chain"
        if befores[-1] != self.status:
            yield f"{self.job_id}: {self.status}, but {self.moves}"


def read(folder: Path) -> tuple[dict[str, StoredJob], list[str]]:
    """Return the jobs of the database in a folder, by input hash, and its faults.

    This reader is the first to use the file after a failure, so it applies the log. Without a file
    there are no jobs.
    """
    if not (folder / DATABASE).exists():
        return {}, []
    try:
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # the images need not last
            return _read(connection)
    except sqlite3.Error as error:
        return {}, [f"not readable: {error}"]


def _read(connection: sqlite3.Connection) -> tuple[dict[str, StoredJob], list[str]]:
    problems = [line for (line,) in connection.execute("PRAGMA quick_check") if line != "ok"]
    jobs: dict[int, StoredJob] = {}
    hashes: dict[str, StoredJob] = {}
    for position, input_hash, *fields in connection.execute(
        "SELECT position, input_hash, job_id, status, result, error, version, idempotency_key"
        " FROM jobs"
    ):
        hashes[input_hash] = jobs[position] = StoredJob(*fields)
    if len(hashes) != len(jobs):
        problems.append("two jobs have the same input hash")
    for count, (sequence, position, *move) in enumerate(
        connection.execute(
            "SELECT sequence, position, from_status, to_status FROM transitions ORDER BY sequence"
        ),
        start=1,
    ):
        if sequence != count:
            problems.append(f"transition {count} has the number {sequence}")
        jobs[position].moves.append((move[0], move[1]))
    problems.extend(problem for job in jobs.values() for problem in job.problems())
    return hashes, problems
