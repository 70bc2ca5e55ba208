"""`wait` ends with its job, of a file and of a database, whoever moves it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from json import loads
from pathlib import Path

import pytest

from engine import ORDER_LIFECYCLE, NewJob, OrderStatus, Outcome, SyncJobEngine
from engine.cli import polling
from engine.cli.commands.wait import CODES
from engine.cli.exits import Exit
from tests.unit.cli.programs import (
    ENVIRONMENT,
    PROGRAM,
    SECONDS_AGAINST_HANGS,
    Run,
    damage,
    execute,
)


@pytest.fixture
def engine(place: str) -> Iterator[SyncJobEngine[OrderStatus]]:
    """Open an engine with job-1 to job-5, which run."""
    names = map("job-{}".format, range(1, 9))
    with SyncJobEngine(place, lifecycle=ORDER_LIFECYCLE, new_id=names.__next__) as engine:
        engine.create_many([NewJob("input", start=True)] * 5)
        yield engine


def test_the_exit_code_is_the_outcome(
    engine: SyncJobEngine[OrderStatus], place: str, here: Run
) -> None:
    engine.transition("job-1", OrderStatus.COMPLETED, result="done")
    engine.transition("job-2", OrderStatus.FAILED, error="b\na" + "d" * 100)
    engine.cancel("job-3")
    engine.transition("job-4", OrderStatus.EXPIRED)
    assert here("wait", place, "job-1") == (0, ["job-1 completed (succeeded)"], [])
    failed = f"job-2 failed (failed): b\\na{'d' * 76}…"
    assert here("wait", place, "job-2") == (10, [failed], [])
    assert here("wait", place, "job-3")[0] == Exit.JOB_CANCELLED
    assert here("wait", place, "job-4")[0] == Exit.JOB_EXPIRED
    code, [line], _ = here("wait", place, "job-2", "--json")
    assert (code, len(loads(line)["error"])) == (10, 103)
    assert here("wait", place, "lost")[0] == 4


def test_each_outcome_has_its_own_code() -> None:
    assert {*CODES} == {*Outcome}
    assert len({*CODES.values()}) == len(CODES)


def test_the_time_may_be_up_before(
    engine: SyncJobEngine[OrderStatus], place: str, here: Run
) -> None:
    told = ["engine: 'job-5' is 'running' after 0s"]
    assert here("wait", place, "job-5", "--timeout", "0s") == (124, [], told)
    engine.transition("job-5", OrderStatus.COMPLETED, result="done")
    assert here("wait", place, "job-5", "--timeout", "0s")[0] == 0


def test_it_waits_for_the_end(
    engine: SyncJobEngine[OrderStatus], place: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter(range(9))

    def pause(_: float) -> None:
        if next(pauses) == 2:
            engine.transition("job-5", OrderStatus.COMPLETED, result="done")

    monkeypatch.setattr(polling, "sleep", pause)
    assert here("wait", place, "job-5") == (0, ["job-5 completed (succeeded)"], [])
    assert next(pauses) == 3


def test_a_job_may_be_removed_meanwhile(
    postgres_url: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SyncJobEngine(postgres_url, new_id=lambda: "job-5") as engine:
        engine.create("input", start=True)

    def remove(_: float) -> None:
        execute(postgres_url, "DELETE FROM engine.jobs WHERE job_id = 'job-5'")

    monkeypatch.setattr(polling, "sleep", remove)
    told = ["engine: 'job-5' was removed; it was 'running' before"]
    assert here("wait", postgres_url, "job-5") == (4, [], told)


@pytest.mark.thorough
def test_another_process_ends_the_job(engine: SyncJobEngine[OrderStatus], place: str) -> None:
    with subprocess.Popen(
        [*PROGRAM, "wait", place, "job-5"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=ENVIRONMENT,
    ) as program:
        engine.transition("job-5", OrderStatus.COMPLETED, result="done")
        out, _ = program.communicate(timeout=SECONDS_AGAINST_HANGS)
    assert (program.returncode, out) == (0, "job-5 completed (succeeded)\n")


def test_a_damaged_job_has_no_end(
    engine: SyncJobEngine[OrderStatus], place: str, here: Run
) -> None:
    engine.close()
    if place.startswith("postgresql:"):
        execute(place, "UPDATE engine.jobs SET labels = '{' WHERE job_id = 'job-1'")
    else:
        damage(Path(place), "UPDATE jobs SET result = 'well' WHERE job_id = 'job-1'")
    code, lines, [note] = here("wait", place, "job-1")
    assert (code, lines) == (1, [])
    assert note.startswith("engine: job 'job-1' is damaged: ")
