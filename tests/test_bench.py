"""The benchmark runs, on a small scale; its figures are not judged."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from tests.bench import peers, working, working_peers
from tests.bench.working_floors import PlainWork


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


@pytest.mark.thorough
def test_the_benchmark_prints_every_table() -> None:
    lines = _run()
    assert _titles(lines) == [
        "### A million live jobs",
        "### Awaited",
        "### Threads",
        "### Durable",
        "### Start on a large file",
        "### Jobs with a handler",
        "### One job at a time",
        "### Handlers in processes",
        "### Jobs that wait at a gate",
        "### Judging answers",
        "### Watching",
        "### What a get is made of",
    ]
    judged = 6 if find_spec("jsonschema") is None else 9
    assert len(_rows(lines)) == 5 + 7 + 8 + 8 + 6 + 9 + 9 + 10 + 4 + judged + 11 + 3


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_the_benchmark_has_peers_run_jobs() -> None:
    names = [name for name in working_peers.NAMES if peers.why_left_out(name) is None]
    if not names:
        pytest.skip("an optional part of the benchmark")
    lines = _run("--only", "working_peers")
    assert _titles(lines) == ["### Jobs with a handler, beside other packages"]
    assert len(_rows(lines)) == 1 + len(names)
    left_out = [line for line in lines if "is left out" in line]
    assert len(left_out) == len(working_peers.NAMES) - len(names)


@pytest.mark.parametrize("way", ["in bulks of 100", "at once, in bulks of 100"])
def test_the_floor_writes_the_rows_of_jobs_with_a_handler(tmp_path: Path, way: str) -> None:
    _, at_once = working.WAYS[way]
    anyio.run(working.run_jobs, way, tmp_path / "engine.db", working.BATCH)
    with closing(PlainWork(tmp_path / "floor.db")) as plain:
        (plain.live_running if at_once else plain.live)(working.BATCH)
    ours, theirs = (_shapes(tmp_path / name) for name in ("engine.db", "floor.db"))
    assert len(ours) == working.BATCH * (3 if at_once else 4)
    assert ours == theirs


def _shapes(path: Path) -> list[str]:
    """Return the rows of jobs and transitions; question marks for ids and times, no checksums."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE jobs SET checksum = 0")
        connection.execute("UPDATE transitions SET checksum = 0")
        jobs = connection.execute("SELECT * FROM jobs ORDER BY position").fetchall()
        lines = connection.execute("SELECT * FROM transitions ORDER BY sequence").fetchall()
    different = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z")
    return [different.sub("?", str(row)) for row in (*jobs, *lines)]
