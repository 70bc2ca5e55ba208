"""The filters of `list`, of a file and of a database; and the width of its lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from json import loads
from pathlib import Path

import pytest

from engine import FollowUp, JobStatus, SQLiteStorage, SyncJobEngine
from tests.examples.programs import Terminal
from tests.unit.cli.programs import PROGRAM, Run, damage, execute, run


def ids(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[1:]]


FOUND = [
    (["--kind", "report", "--kind", "default"], "156"),
    (["--kind", "mail", "--kind", "report"], "12346"),
    (["--kind", "mail", "--kind", "report", "--newest"], "64321"),
    (["--kind", "report", "--status", "running", "--status", "failed"], "6"),
    (["--status", "failed", "--status", "awaiting_payment"], "1234"),
    (["--no-follow-ups"], "123456"),
    (["--no-follow-ups", "--status", "running"], "56"),
    (["--key", "key"], "1"),
    (["--key", "other"], ""),
    (["--payment", "payment"], "1"),
    (["--payment", "payment", "--key", "key", "--kind", "report"], "1"),
    (["--payment", "payment", "--kind", "mail"], ""),
    (["--payment", "payment", "--status", "failed"], ""),
    (["--payment", "payment", "--key", "other"], ""),
    (["--payment", "mock_bc_job-2"], "2"),
    (["--payment", "mock_bc_job-1"], ""),  # that job has another one
    (["--input-hash", "input", "--kind", "mail"], "234"),
    (["--input-hash", "inpu"], ""),
    (["--since", "1h", "--no-follow-ups"], "123456"),
    (["--since", "2999-01-01"], ""),
    (["--stuck", "1h"], ""),
    (["--stuck", "0s", "--no-follow-ups"], "56"),
    (["--stuck", "0s", "--status", "failed"], ""),
    (["--due"], ""),
]
"""The numbers of the jobs for which all filters hold."""


@pytest.fixture
def filled(place: str) -> Iterator[SyncJobEngine]:
    """Open an engine with job-1 to job-6, and the refunds of job-3 and job-4."""
    with SyncJobEngine(
        place,
        follow_ups=[FollowUp("refund", to={JobStatus.FAILED})],
        new_id=map("job-{}".format, range(1, 9)).__next__,
    ) as engine:
        engine.create("input", kind="report", idempotency_key="key", payment_id="payment")
        engine.create("input", kind="mail")
        for _ in range(2):
            job = engine.create("input", kind="mail", start=True)
            engine.transition(job.job_id, JobStatus.FAILED, error="bad")
        engine.create("input", start=True)
        engine.create("input", kind="report", start=True)
        yield engine


def test_list_gives_the_jobs_for_which_all_filters_hold(
    filled: SyncJobEngine, place: str, here: Run
) -> None:
    assert filled.count() == 8
    for arguments, found in FOUND:
        code, lines, notes = here("list", place, *arguments)
        assert (code, ids(lines)) == (0, [f"job-{each}" for each in found]), arguments
        assert len(notes) == (not found), arguments


def test_list_goes_on_with_the_same_filters(filled: SyncJobEngine, place: str, here: Run) -> None:
    assert filled.count() == 8
    given = ["--status", "failed", "--status", "running", "--kind", "mail", "--kind", "report"]
    given += ["--since", "1h", "--no-follow-ups", "--input-hash", "input"]
    seen, rest = [], ["list", place, *given, "--limit", "1"]
    while rest:
        _, lines, notes = here(*rest)
        seen += ids(lines)
        rest = notes[0].split()[4:] if notes else []
    assert seen == ["job-3", "job-4", "job-6"]
    _, _, [note] = here("list", place, "--key", "key", "--after", "1", "--stuck", "1h", "--due")
    assert note == "no jobs with the key 'key' stuck for 1h due now after 1"


def test_a_place_that_knows_no_lifecycle_has_no_stuck_jobs(
    filled: SyncJobEngine, place: str, here: Run
) -> None:
    filled.close()
    if place.startswith("postgresql:"):
        execute(place, "DELETE FROM engine.notes WHERE name = 'lifecycle'")
    else:
        damage(Path(place), "DELETE FROM engine WHERE name = 'lifecycle'")
    code, lines, [note] = here("list", place, "--stuck", "1h")
    assert (code, lines) == (3, [])
    assert note.endswith("open it with an engine once, or list without --stuck and --due")


@pytest.mark.parametrize("name", ["--stuck", "--since"])
def test_other_texts_than_times_are_refused(path: Path, here: Run, name: str) -> None:
    code, _, notes = here("list", path, name, "soon")
    assert code == 2
    assert f"argument {name}: must be a" in notes[-1]


def test_jobs_are_due_from_their_deadline_and_their_next_attempt_on(place: str, here: Run) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    with SyncJobEngine(place, new_id=iter("abcde").__next__, clock=lambda: past) as engine:
        for later in (timedelta(minutes=30), timedelta(hours=2)):
            engine.create("input", deadlines={JobStatus.RUNNING: later}, start=True)
        for later in (timedelta(minutes=30), timedelta(hours=2)):
            engine.create("input", not_before=later, start=True)
        engine.create("input")
        assert ids(here("list", place, "--due")[1]) == ["a", "c"]
        assert ids(here("list", place, "--stuck", "40min")[1]) == ["a", "b"]
        assert ids(here("list", place, "--stuck", "20min")[1]) == ["a", "b", "c"]
        assert ids(here("list", place, "--stuck", "2h")[1]) == []


def test_kinds_are_shown_if_there_are_others_than_the_default(
    filled: SyncJobEngine, place: str, here: Run
) -> None:
    assert filled.count() == 8
    _, lines, _ = here("list", place, "--limit", "2")
    assert lines[0].split()[:3] == ["JOB", "ID", "STATUS"]
    assert [line.split()[2] for line in lines] == ["STATUS", "report", "mail"]
    _, lines, _ = here("list", place, "--kind", "default")
    assert "KIND" not in lines[0]


@pytest.mark.thorough
def test_a_line_is_bounded_in_a_pipe_and_on_a_terminal(path: Path) -> None:
    with SyncJobEngine(SQLiteStorage(path), new_id=lambda: "job-1") as engine:
        engine.create("input", start=True)
        engine.transition("job-1", JobStatus.COMPLETED, result="\x1b" * 900_000)
    code, lines, _ = run("list", path)
    assert (code, max(map(len, lines)) < 200, lines[1][-1]) == (0, True, "…")
    with Terminal([*PROGRAM, "list", str(path)], path.parent) as terminal:
        assert terminal.finish() == (0, "")
    assert max(map(len, terminal.output.splitlines())) <= 80
    code, [line], _ = run("list", path, "--json")
    assert (code, len(loads(line)["result"])) == (0, 900_000)
