"""What `show` says beside a job's own fields, of a file and of a database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from json import loads
from pathlib import Path
from threading import Event

import pytest

from engine import (
    ORDER_LIFECYCLE,
    FollowUp,
    Job,
    JobStatus,
    NewJob,
    OrderStatus,
    SyncJobEngine,
    Worker,
)
from tests.unit.cli.programs import SECONDS_AGAINST_HANGS, Run, execute

IDS = ["0190aaaa-1", "0190aaaa-2", "0190bbbb-1", "0190bbbb-10"]


@pytest.fixture
def engine(place: str) -> Iterator[SyncJobEngine]:
    rules = [FollowUp("refund", to={JobStatus.FAILED}), FollowUp("mail", to={JobStatus.FAILED})]
    with SyncJobEngine(place, follow_ups=rules, new_id=iter(IDS).__next__) as engine:
        yield engine


def test_the_beginning_of_an_id_is_enough_if_one_job_has_it(
    engine: SyncJobEngine, place: str, here: Run
) -> None:
    engine.create_many([NewJob("input")] * 4)
    for text, job_id in (("0190aaaa-1", IDS[0]), ("0190aaaa-2", IDS[1]), (IDS[2], IDS[2])):
        code, lines, notes = here("show", place, text)
        assert (code, lines[0].split(), notes) == (0, ["job_id", job_id], [])
    code, lines, [note, *candidates] = here("show", place, "0190aa")
    assert (code, lines) == (2, [])
    assert note.endswith(" have an id that begins with '0190aa':")
    assert [each.strip() for each in candidates] == IDS[:2]
    for lost in ("0190a", "0190cccc", "0190aaaa-1%"):  # too short, or of no job
        code, lines, [note] = here("show", place, lost)
        assert (code, lines) == (4, [])
        assert f" has no job '{lost}'; to look for it: engine list " in note


def test_of_many_candidates_ten_are_told(place: str, here: Run) -> None:
    with SyncJobEngine(place, new_id=map("common-{:02}".format, range(20)).__next__) as engine:
        engine.create_many([NewJob("input")] * 12)
        _, _, notes = here("show", place, "common")
    assert [note.strip() for note in notes[1:-1]] == [f"common-{n:02}" for n in range(10)]
    assert notes[-1] == "  and others: give more of it"


def test_a_job_names_its_follow_ups_and_a_follow_up_its_parent(
    engine: SyncJobEngine, place: str, here: Run
) -> None:
    job = engine.create("input", start=True)
    engine.transition(job.job_id, JobStatus.FAILED, error="bad")
    by_kind = {each.kind: each for each in engine.follow_ups(job.job_id)}
    engine.transition(by_kind["mail"].job_id, JobStatus.FAILED, error="x" * 1_000)
    _, lines, _ = here("show", place, job.job_id)
    [head] = [number for number, line in enumerate(lines) if line.startswith("FOLLOW-UP")]
    rows = {line.split()[1]: line.split() for line in lines[head + 1 : head + 3]}
    assert rows["refund"][:3] == [by_kind["refund"].job_id, "refund", "running"]
    assert rows["mail"][2::2] == ["failed", "x" * 79 + "…"]
    _, [line], _ = here("show", place, job.job_id, "--json")
    shown = {each["kind"]: each for each in loads(line)["follow_ups"]}
    assert (shown["refund"]["status"], shown["mail"]["outcome"]) == ("running", "failed")
    _, lines, _ = here("show", place, by_kind["mail"].job_id)
    assert [line.split() for line in lines if line.startswith("parent_id ")] == [
        ["parent_id", job.job_id, "(failed)"]
    ]
    assert not any(line.startswith("FOLLOW-UP") for line in lines)


def test_times_that_are_awaited_count_down(place: str, here: Run) -> None:
    deadlines = {OrderStatus.AWAITING_PAYMENT: timedelta(hours=5, minutes=30)}
    with SyncJobEngine(place, lifecycle=ORDER_LIFECYCLE) as engine:
        job = engine.create("input", deadlines=deadlines, not_before=timedelta(days=2, hours=3))
        _, lines, _ = here("show", place, job.job_id)
        shown = {line.split()[0]: line for line in lines if line}
        assert re.search(r"Z \(in 5 h( \d+ min)?\)$", shown["deadline_at"])
        assert re.search(r"Z \(in 2 d( \d+ h)?\)$", shown["not_before"])
        engine.cancel(job.job_id)
        _, lines, _ = here("show", place, job.job_id)
        assert not any("(in " in line for line in lines)


@contextmanager
def at_work(place: str) -> Iterator[Job]:
    """Give a job whose handler works until the end of ``with``."""
    began, go_on = Event(), Event()

    def work() -> str:
        began.set()
        go_on.wait(SECONDS_AGAINST_HANGS)
        return "done"

    with SyncJobEngine(place) as engine, Worker(engine, work):
        job = engine.create("input", start=True)
        began.wait(SECONDS_AGAINST_HANGS)
        yield job
        go_on.set()
        assert engine.wait(job.job_id, timeout=SECONDS_AGAINST_HANGS).result == "done"


def test_a_job_at_work_says_who_has_it_and_how_far_it_is(postgres_url: str, here: Run) -> None:
    with at_work(postgres_url) as job:
        execute(
            postgres_url,
            "INSERT INTO engine.progress (job_id, engine_id, attempt, done, total, note) "
            "SELECT job_id, holder, attempt, 3, 8, 'pages' FROM engine.jobs",
        )
        _, lines, _ = here("show", postgres_url, job.job_id)
        _, [line], _ = here("show", postgres_url, job.job_id, "--json")
    shown = dict(line.split(maxsplit=1) for line in lines if line)
    assert shown["claimed_at"].endswith(" s ago)")
    assert str(os.getpid()) in shown["held_by"]
    assert shown["progress"] == "3 of 8, pages"
    fields = loads(line)
    assert (fields["progress"]["done"], fields["held_by"]) == (3, shown["held_by"])


def test_a_file_says_since_when_an_attempt_has_a_job(path: Path, here: Run) -> None:
    with at_work(str(path)) as job:
        _, lines, _ = here("show", path, job.job_id)
    shown = dict(line.split(maxsplit=1) for line in lines if line)
    assert shown["claimed_at"].endswith(" s ago)")
    assert "held_by" not in shown
