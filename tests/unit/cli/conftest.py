"""A file with jobs, and the command line in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import JobStatus, SQLiteStorage, SyncJobEngine
from engine.cli.program import main
from tests.tries import thorough
from tests.unit.cli.programs import Outcome, Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture(params=["file", *thorough("database")])
def place(request: pytest.FixtureRequest) -> str:
    """Return a place without jobs; `test_databases` has some over a database in the quick tier."""
    name = "path" if request.param == "file" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def used(path: Path) -> Iterator[SyncJobEngine]:
    """Open an engine on the file, with a job in each of three statuses."""
    ids = iter(["job-1", "job-2", "job-3"])
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: next(ids)) as used:
        for number in (1, 2, 3):
            used.create(f"input {number}", idempotency_key=f"key {number}")
        for job_id in ("job-2", "job-3"):
            used.transition(job_id, JobStatus.RUNNING, by="us", reason="\x1b[31mpaid")
        used.transition("job-2", JobStatus.COMPLETED, result="done\n\x1b[31mred")
        used.transition("job-3", JobStatus.FAILED, error="bad")
        yield used


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line in this process, which is faster."""

    def run_here(*arguments: object) -> Outcome:
        try:
            code = main([*map(str, arguments)])
        except SystemExit as ended:
            code = int(str(ended.code))
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run_here
