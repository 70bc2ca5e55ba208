"""Exports: whole jobs as lines of JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine import SyncJobEngine
from tests.unit.cli.programs import ENVIRONMENT, Run, damage

pytestmark = pytest.mark.usefixtures("used")


def test_each_job_is_a_line_with_its_history(path: Path, here: Run) -> None:
    code, lines, notes = here("export", path)
    jobs = [*map(json.loads, lines)]
    assert (code, notes, [job["job_id"] for job in jobs]) == (0, [], ["job-1", "job-2", "job-3"])
    assert jobs[1]["result"] == "done\n\x1b[31mred"
    _, [shown], _ = here("show", path, "job-2", "--json")
    assert jobs[1] == json.loads(shown)
    _, [line], _ = here("export", path, "--status", "failed", "--to", "-")
    assert json.loads(line)["job_id"] == "job-3"


def test_a_file_is_made_as_a_whole_or_not_at_all(path: Path, here: Run) -> None:
    to = path.with_name("jobs.jsonl")
    assert here("export", path, "--to", to) == (0, [f"{to}: 3 jobs of {path}"], [])
    _, lines, _ = here("export", path)
    assert to.read_text(encoding="ascii").splitlines() == lines
    assert to.stat().st_mode & 0o777 == 0o600
    to.write_text("mine", encoding="ascii")
    code, _, [note] = here("export", path, "--to", to)
    assert (code, to.read_text(encoding="ascii")) == (3, "mine")
    assert "is there already" in note
    assert not [*path.parent.glob("*-partial-*")]


_KILLED_BEFORE_THE_END = """
import os, signal, sys
from engine.cli.program import main

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
main(["export", sys.argv[1], "--to", sys.argv[2]])
"""


def test_what_a_killed_export_left_is_removed_by_the_next(path: Path, here: Run) -> None:
    to = path.with_name("jobs.jsonl")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_BEFORE_THE_END, path, to], env=ENVIRONMENT, check=False
    )
    assert (killed.returncode, to.exists()) == (-signal.SIGKILL, False)
    [left] = path.parent.glob("jobs.jsonl-partial-*")
    assert left.stat().st_size
    other = path.with_name("other.jsonl")
    assert here("export", path, "--to", other) == (0, [f"{other}: 3 jobs of {path}"], [])
    assert not [*path.parent.glob("*-partial-*")]


def test_damaged_jobs_are_told_of(path: Path, used: SyncJobEngine, here: Run) -> None:
    used.close()
    damage(path, "UPDATE jobs SET input_hash = 'other' WHERE job_id = 'job-1'")
    damage(path, "UPDATE transitions SET to_status = 'other' WHERE sequence = 2")
    code, lines, [note] = here("export", path)
    assert (code, ["damaged" in json.loads(line) for line in lines]) == (1, [True, True, False])
    assert note.startswith("damaged jobs: 2")
