"""The command that removes ended jobs by their age, or all but the newest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import ORDER_LIFECYCLE, FollowUp, SyncJobEngine
from engine import OrderStatus as S
from engine.cli.commands import prune
from engine.cli.exits import Exit
from engine.operating import this_operator
from tests.examples.programs import Terminal
from tests.tries import thorough
from tests.unit.cli.programs import PROGRAM, Run

REFUND: FollowUp[Any] = FollowUp("refund", to={S.FAILED})
DAY = timedelta(days=1)


class Past:
    """A clock that a test sets back from now."""

    def __init__(self) -> None:
        self.days_ago = 0

    def __call__(self) -> datetime:
        return datetime.now(UTC) - self.days_ago * DAY - timedelta(hours=1)


@pytest.fixture
def each_place(request: pytest.FixtureRequest, path: Path) -> str:
    """Return a place with a job that ended on each of eight days; two have follow-ups.

    One of these has ended, three days after its job, and one has not: 9 of 11 jobs have ended, and
    8 of these may go.
    """
    name = str(path) if request.param == "file" else str(request.getfixturevalue("postgres_url"))
    clock, ids = Past(), map("job-{}".format, range(1, 99))
    with SyncJobEngine(
        name,
        lifecycle=ORDER_LIFECYCLE,
        follow_ups=[REFUND],
        clock=clock,
        new_id=ids.__next__,
    ) as engine:
        for clock.days_ago in range(8, 0, -1):
            job = engine.create("hash", start=True)
            follows = clock.days_ago in {8, 6}
            engine.transition(job.job_id, S.FAILED if follows else S.COMPLETED)
            if clock.days_ago == 5:
                [refund] = engine.follow_ups("job-1")
                engine.transition(refund.job_id, S.COMPLETED)
        engine.create("waits")
    return name


PLACES = pytest.mark.parametrize("each_place", ["file", *thorough("database")], indirect=True)
FILE = pytest.mark.parametrize("each_place", ["file"], indirect=True)


def ids_in(place: str) -> list[str]:
    with SyncJobEngine(place, lifecycle=ORDER_LIFECYCLE) as engine:
        return sorted(job.job_id for job in engine.list_jobs(limit=100).jobs)


@PLACES
@pytest.mark.parametrize("most", [1, 1_000])
def test_it_removes_as_many_as_it_says(
    each_place: str, here: Run, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "_STEP_JOBS", most)
    left = len(ids_in(each_place))
    rules = [
        (("--older-than", "8d"), 0, "that ended more than 8d ago"),
        (("--older-than", "7d", "--keep", 8), 3, "that ended more than 7d ago or that ended "),
        (("--keep", 7), 0, "that ended before the newest 7"),
        (("--keep", 5), 1, "that ended before the newest 5"),
        (("--older-than", "3d", "--keep", 99), 2, "that ended more than 3d ago or that ended "),
        (("--older-than", "0s"), 2, "that ended more than 0s ago"),
        (("--keep", 0), 0, "that ended before the newest 0"),
    ]
    for options, jobs, which in rules:
        said = f"prune {jobs} job{'' if jobs == 1 else 's'} {which}"
        code, [line], notes = here("prune", each_place, *options, "--dry-run")
        assert (code, notes) == (Exit.OK, [])
        assert line.startswith(f"would {said}")
        assert len(ids_in(each_place)) == left
        code, lines, notes = here("prune", each_place, *options, "--yes", "--reason", "old")
        told = [f"pruned: {jobs} job{'' if jobs == 1 else 's'}"] if jobs else []
        assert (code, lines, len(notes)) == (Exit.OK, told, not jobs)
        left -= jobs
        assert len(ids_in(each_place)) == left
    with SyncJobEngine(each_place, lifecycle=ORDER_LIFECYCLE) as engine:
        entries = engine.audit()
    assert sum(entry.arguments["removed"] for entry in entries) == 8
    assert {(entry.action, entry.by, entry.reason) for entry in entries} == {
        ("prune", this_operator(), "old")
    }
    assert entries[-1].arguments["older_than"] == 7 * DAY.total_seconds()


@PLACES
def test_programs_are_told_how_many_were_to_go_and_have_gone(each_place: str, here: Run) -> None:
    for options, jobs, removed in (
        (("--keep", "7", "--dry-run"), 2, 0),
        (("--keep", "7"), 2, 2),
        (("--keep", "7"), 0, 0),
    ):
        code, [line], notes = here("prune", each_place, *options, "--yes", "--json")
        assert (code, json.loads(line), notes) == (0, {"jobs": jobs, "removed": removed}, [])


@FILE
def test_it_says_what_is_missing(each_place: str, here: Run) -> None:
    code, lines, [note] = here("prune", each_place, "--yes")
    assert (code, lines, note.split(":")[1]) == (Exit.USAGE, [], " say which ended jobs")
    code, lines, [note] = here("prune", each_place, "--keep", 3)
    assert (code, lines) == (Exit.USAGE, [])
    assert note.endswith(f"say so by --yes: engine prune --yes {each_place} --keep 3")
    for wrong in (("--keep", "-1"), ("--older-than", "soon"), ("--older-than", "2026-01-01")):
        assert here("prune", each_place, *wrong)[0] == Exit.USAGE
    assert len(ids_in(each_place)) == 11


@FILE
def test_a_file_whose_engine_does_not_listen_is_refused(each_place: str, here: Run) -> None:
    with SyncJobEngine(each_place, lifecycle=ORDER_LIFECYCLE, control=False):
        code, lines, [note] = here("prune", each_place, "--keep", 3, "--yes")
    assert (code, lines) == (Exit.UNREADABLE, [])
    assert "is in use by another engine" in note


@FILE
@pytest.mark.parametrize("typed", ["y\n", *thorough("n\n", "\x04")])
def test_it_asks_with_the_number(each_place: str, path: Path, typed: str) -> None:
    command = [*PROGRAM, "prune", each_place, "--keep", "7"]
    with Terminal(command, path.parent, asks=True) as terminal:
        terminal.read_until("? [y/N] ")
        assert "prune 2 jobs that ended before the newest 7, with all that is kept" in (
            terminal.output
        )
        terminal.type(typed)
        code, _ = terminal.finish()
    assert code == (Exit.OK if typed == "y\n" else Exit.REFUSED)
    assert len(ids_in(each_place)) == (9 if typed == "y\n" else 11)
