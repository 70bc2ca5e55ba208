"""Row 22: a million jobs through one process with one file.

Old jobs are removed by a rule, while new ones come and go. When they are through, the process has
no more memory, open files, threads and tasks than after the first of them, and the file is no
larger.

By default it is 20,000 jobs, which is less than a tenth: they take three seconds on each backend
instead of fifteen, in every run of the tests, and show it if a kilobyte is kept of each job.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.systems import needs_proc
from tests.tries import is_full, report

pytestmark = [
    pytest.mark.anyio,
    needs_proc,
]

FULL_JOBS = 1_000_000
"""On each backend."""
FEW_JOBS = 20_000
SECONDS_AGAINST_HANGS = 1_800


def soak(path: Path, jobs: int, backend: str, kind: str) -> Any:  # noqa: ANN401 - of JSON
    """Return what has grown."""
    program = [sys.executable, "-m", "tests.reliability.programs.soak"]
    done = subprocess.run(
        [*program, str(path), str(jobs), backend, kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_AGAINST_HANGS,
        check=False,
    )
    report(done.stderr)
    assert done.returncode == 0
    return json.loads(done.stdout)


async def test_a_soaked_process_comes_back_to_its_base_line(
    anyio_backend: str, tmp_path: Path
) -> None:
    jobs = FULL_JOBS if is_full() else FEW_JOBS
    assert soak(tmp_path / "jobs.db", jobs, anyio_backend, "rule") == []


async def test_a_storage_that_keeps_too_much_is_caught(anyio_backend: str, tmp_path: Path) -> None:
    grown = soak(tmp_path / "jobs.db", FEW_JOBS // 2, anyio_backend, "leak")
    assert grown == ["memory", "the file", "open_files", "open_files after the end"]
