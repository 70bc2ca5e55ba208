"""Acts on many jobs: in pages, killed in the middle, and done again."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from engine import ORDER_LIFECYCLE, NewJob, SyncJobEngine
from engine import OrderStatus as S
from engine.cli.acting import chosen
from tests.tries import thorough
from tests.unit.cli.programs import ENVIRONMENT, PROGRAM, Run

_JOBS = 450
_CANCEL = ("cancel", "--kind", "report", "--reason", "all of them", "--yes")


@pytest.fixture(params=["file", *thorough("database")])
def place(request: pytest.FixtureRequest, path: Path) -> str:
    """Return a place with many jobs of the kind report, and one of another."""
    file = request.param == "file"
    name = str(path if file else request.getfixturevalue("postgres_url"))
    with _opened(name) as engine:
        engine.create_many([NewJob("input", kind="report") for _ in range(_JOBS)])
        engine.create("input", kind="mail")
    return name


def _opened(place: str) -> SyncJobEngine[S]:
    return SyncJobEngine(place, lifecycle=ORDER_LIFECYCLE)


def _statuses(place: str) -> Counter[tuple[str, str]]:
    """Count the jobs of each kind and status."""
    with _opened(place) as engine:
        return Counter((job.kind, job.status.value) for job in engine.list_jobs(limit=1_000).jobs)


def test_an_act_that_is_killed_in_the_middle_is_done_again(place: str, here: Run) -> None:
    command, *rest = _CANCEL
    with subprocess.Popen(
        [*PROGRAM, command, place, *rest, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.kill()  # it can't be at its end: the pipe has no room for so many lines
    assert first["job"]["status"] == "cancelled"
    done_before = _statuses(place)["report", "cancelled"]
    assert 0 < done_before < _JOBS
    code, lines, notes = here(command, place, *rest)
    assert (code, notes) == (0, [])
    assert lines == [f"cancelled: {_JOBS - done_before} jobs"]
    assert _statuses(place) == {("report", "cancelled"): _JOBS, ("mail", "awaiting_payment"): 1}
    with _opened(place) as engine:
        for job in engine.list_jobs(S.CANCELLED, limit=1_000).jobs:
            assert [line.to_status for line in engine.history(job.job_id)[1:]] == ["cancelled"]
    code, lines, [note] = here(command, place, *rest)
    assert (code, lines, note) == (0, [], "no job of the kind report can be cancelled now")


@pytest.mark.thorough
def test_a_reader_that_leaves_ends_the_act(path: Path) -> None:
    with _opened(str(path)) as engine:
        engine.create_many([NewJob("input", kind="report") for _ in range(_JOBS)])
    command, *rest = _CANCEL
    with subprocess.Popen(
        [*PROGRAM, command, path, *rest, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        notes = process.stderr.read().splitlines()
    done = _statuses(str(path))["report", "cancelled"]
    assert process.returncode == 141
    assert 0 < done < _JOBS
    assert notes[0].startswith("cancelled: ")
    assert notes[-1] == f"not tried: {_JOBS - done} jobs"


def test_more_jobs_than_one_command_takes_are_left_for_the_next(
    path: Path, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _opened(str(path)) as engine:
        engine.create_many([NewJob("input", kind="report") for _ in range(5)])
    monkeypatch.setattr(chosen, "MOST_JOBS", 3)
    command, *rest = _CANCEL
    code, lines, [note] = here(command, path, *rest)
    assert (code, lines) == (0, ["cancelled: 3 jobs"])
    assert note.endswith("for the others, run it again afterwards")
    assert here(command, path, *rest) == (0, ["cancelled: 2 jobs"], [])


def test_jobs_that_refuse_are_told_of_up_to_some(path: Path, here: Run) -> None:
    with _opened(str(path)) as engine:
        jobs = engine.create_many([NewJob("input") for _ in range(12)])
    code, lines, _ = here("retry", path, *(job.job_id for job in jobs))
    assert (code, lines[:2], lines[-1]) == (
        5,
        ["retried: 0 jobs", "passed over: 12 jobs"],
        "  … and 2 more",
    )
    assert len(lines) == 13
