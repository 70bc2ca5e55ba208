"""Row 22: a million jobs through one process with one file.

Old jobs are removed by a rule, while new ones come and go. When they are through, the process has
no more memory, open files, threads and tasks than after the first of them, and the file is no
larger.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tries import report, tries

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]

FULL_JOBS = 500_000
"""On each backend."""
FEW_JOBS = 20_000


def soak(path: Path, jobs: int, backend: str, kind: str) -> Any:  # noqa: ANN401 - of JSON
    """Return what has grown."""
    program = [sys.executable, "-m", "tests.reliability.programs.soak"]
    done = subprocess.run(
        [*program, str(path), str(jobs), backend, kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    report(done.stderr)
    assert done.returncode == 0
    return json.loads(done.stdout)


async def test_a_soaked_process_comes_back_to_its_base_line(
    anyio_backend: str, tmp_path: Path
) -> None:
    jobs = FULL_JOBS if tries(10) == 10 else FEW_JOBS
    assert soak(tmp_path / "jobs.db", jobs, anyio_backend, "rule") == []


async def test_a_storage_that_keeps_too_much_is_caught(anyio_backend: str, tmp_path: Path) -> None:
    grown = soak(tmp_path / "jobs.db", FEW_JOBS // 2, anyio_backend, "leak")
    assert grown == ["memory", "the file", "open_files", "open_files after the end"]
