"""`watch` shows the transitions of a file and of a database as they come."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from json import loads
from pathlib import Path

import pytest

from engine import JobStatus, NewJob, SyncJobEngine, Transition
from engine.cli import polling
from engine.cli.commands import watch
from engine.cli.exits import Exit
from tests.systems import needs_interrupts
from tests.unit.cli.programs import ENVIRONMENT, PROGRAM, SECONDS_AGAINST_HANGS, Run, damage


@pytest.fixture
def engine(place: str) -> Iterator[SyncJobEngine]:
    """Open an engine with job-1, which has ended, and job-2, which runs."""
    with SyncJobEngine(place, new_id=map("job-{}".format, range(1, 2_000)).__next__) as engine:
        for _ in range(2):
            engine.create("input", start=True, by="us", reason="\x1b[31mpaid")
        engine.transition("job-1", JobStatus.COMPLETED, result="done")
        yield engine


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*PROGRAM, "watch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def next_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().rstrip("\n")


def test_a_job_is_shown_up_to_its_end(engine: SyncJobEngine, place: str, here: Run) -> None:
    first, second = engine.history("job-1")
    times = [f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ}" for line in (first, second)]
    shown = [
        f"{first.cursor}  {times[0]}  job-1  - -> running  by us  \\x1b[31mpaid",
        f"{second.cursor}  {times[1]}  job-1  running -> completed",
    ]
    assert here("watch", place, "job-1") == (0, shown, [])
    assert here("watch", place, "job-1", "--after", first.cursor) == (0, shown[1:], [])
    assert here("watch", place, "job-1", "--after", second.cursor) == (0, [], [])
    _, lines, _ = here("watch", place, "job-1", "--json")
    assert [Transition.model_validate(loads(line)) for line in lines] == [first, second]
    assert here("watch", place, "lost")[0] == 4


def test_what_comes_is_shown_at_once_and_the_job_ends_it(engine: SyncJobEngine, place: str) -> None:
    with watching(place, "job-2") as program:
        assert next_line(program).endswith("  job-2  - -> running  by us  \\x1b[31mpaid")
        engine.transition("job-2", JobStatus.FAILED, error="bad")
        assert next_line(program).endswith("  job-2  running -> failed")
        assert program.wait(SECONDS_AGAINST_HANGS) == 0


@needs_interrupts
@pytest.mark.thorough
def test_a_place_is_watched_from_a_cursor_on_until_an_interrupt(
    engine: SyncJobEngine, place: str
) -> None:
    cursor = engine.history("job-2")[0].cursor
    with watching(place, "--after", cursor) as program:
        seen = [next_line(program)]
        engine.create("input")
        seen.append(next_line(program))
        program.send_signal(signal.SIGINT)
        assert program.wait(SECONDS_AGAINST_HANGS) == Exit.INTERRUPTED
    assert [line.split()[2:6] for line in seen] == [
        ["job-1", "running", "->", "completed"],
        ["job-3", "-", "->", "awaiting_payment"],
    ]
    with watching(place, "--after", seen[0].split()[0]) as program:
        assert next_line(program) == seen[1]


def test_without_a_cursor_a_place_is_watched_from_now_on(
    engine: SyncJobEngine, place: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter(range(2))

    def come(_: float) -> None:
        if next(pauses):
            raise KeyboardInterrupt
        engine.create_many([NewJob("input")] * 25)

    monkeypatch.setattr(polling, "sleep", come)
    monkeypatch.setattr(watch, "_PAGE_LINES", 10)
    code, lines, notes = here("watch", place)
    assert (code, notes) == (Exit.INTERRUPTED, [])
    assert [line.split()[2] for line in lines] == [f"job-{number}" for number in range(3, 28)]


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


def test_a_cursor_of_another_history_is_refused(
    engine: SyncJobEngine, place: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "sleep", interrupt)
    newest = engine.history("job-1")[-1]
    for cursor in (f"{newest.epoch}-99", "99", "00000000-1"):
        told = f"engine: {place} has no transition {cursor}: its newest is {newest.cursor}"
        assert here("watch", place, "--after", cursor) == (4, [], [told])
    code, _, notes = here("watch", place, "--after", "first")
    assert code == 2
    assert "argument --after: must be a sequence number or a " in notes[-1]


def test_transitions_that_are_gone_are_told_of(
    path: Path, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SyncJobEngine(str(path), new_id=map("job-{}".format, range(1, 9)).__next__) as engine:
        for _ in range(3):
            engine.create("input")
    damage(path, "DELETE FROM transitions WHERE sequence = 2")

    monkeypatch.setattr(polling, "sleep", interrupt)
    code, lines, notes = here("watch", path, "--after", "0")
    assert (code, [line.split()[2] for line in lines]) == (130, ["job-1", "job-3"])
    assert notes == ["removed with their jobs, up to 3: 1 transition"]
