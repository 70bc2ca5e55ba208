"""The benchmark runs: in small, and without looking at its figures."""

import subprocess
import sys
from pathlib import Path

import pytest


def _run(*arguments: str) -> list[str]:
    """Return the lines that the benchmark prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def _titles(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("### ")]


def _rows(lines: list[str]) -> list[list[str]]:
    """Return the cells of each row, heads included: work, figure, floor, ratio, target, verdict."""
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")]
    assert all(len(row) == 6 and all(cell.strip() for cell in row[:5]) for row in rows)
    return rows


def test_the_benchmark_prints_every_table() -> None:
    lines = _run()
    assert _titles(lines) == [
        "### A million live jobs",
        "### Awaited",
        "### Threads",
        "### Durable",
        "### Start on a large file",
        "### What a get is made of",
    ]
    assert len(_rows(lines)) == 5 + 7 + 8 + 8 + 6 + 3


def test_the_benchmark_draws_the_durable_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an optional part of the benchmark")
    picture = tmp_path / "durable.svg"
    lines = _run("--only", "durable", "--picture", str(picture))
    assert _titles(lines) == ["### Durable"]
    drawn = picture.read_text(encoding="utf-8")
    assert "concurrent callers</text>" in drawn
    assert "<dc:date>" not in drawn


def test_the_benchmark_measures_peers_that_are_installed() -> None:
    for name in ("huey", "dbos"):
        pytest.importorskip(name, reason="an optional part of the benchmark")
    lines = _run("--only", "peers")
    assert _titles(lines) == ["### Durable, beside other packages"]
    assert len(_rows(lines)) == 1 + 4
