"""Row 22: a million jobs through one process with one file.

Old jobs are removed by a rule, while new ones come and go. When they are through, the process has
no more memory, open files, threads and tasks than after the first of them, and the file is no
larger.

In the smaller tiers it is 10,000 or 20,000 jobs, far less than their part: these take seconds on
each backend, and show it if a kilobyte or two are kept of each job.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.systems import needs_proc
from tests.tries import report, tier

pytestmark = [
    pytest.mark.anyio,
    needs_proc,
]

JOBS = {"quick": 10_000, "thorough": 20_000, "full": 1_000_000}
"""In each tier, on each backend."""
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


@pytest.mark.thorough
async def test_a_soaked_process_comes_back_to_its_base_line(
    anyio_backend: str, tmp_path: Path
) -> None:
    assert soak(tmp_path / "jobs.db", JOBS[tier()], anyio_backend, "rule") == []


@pytest.mark.thorough
async def test_a_storage_that_keeps_too_much_is_caught(anyio_backend: str, tmp_path: Path) -> None:
    grown = soak(tmp_path / "jobs.db", JOBS["quick"], anyio_backend, "leak")
    assert grown == ["memory", "the file", "open_files", "open_files after the end"]
