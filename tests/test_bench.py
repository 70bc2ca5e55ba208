"""The benchmark runs: in small, and without looking at its figures."""

import subprocess
import sys


def test_the_benchmark_prints_every_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    titles = [line for line in lines if line.startswith("### ")]
    assert titles == [
        "### A million live jobs",
        "### Awaited",
        "### Threads",
        "### What a get is made of",
    ]
    # Each row has the figure, its floor, their ratio and the target.
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")]
    assert len(rows) == 3 + 7 + 8 + 8
    assert all(len(row) == 6 and all(cell.strip() for cell in row[:5]) for row in rows)
