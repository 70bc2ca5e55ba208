"""`stats` counts the jobs of a file and of a database."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from json import loads
from pathlib import Path
from threading import Event

import pytest

from engine import Gate, JobStatus, SyncJobEngine, Worker
from engine.cli.commands import stats
from engine.storage.postgres import live
from engine.storage.postgres import throughput as postgres_throughput
from engine.storage.sqlite import kinds
from engine.storage.sqlite import throughput as sqlite_throughput
from tests.unit.cli.programs import SECONDS_AGAINST_HANGS, Run, damage, execute


def fill(engine: SyncJobEngine) -> None:
    """Make jobs of the kinds ``default`` and ``mail``: ready, waiting and ended."""
    for _ in range(2):
        engine.create("input")
    for _ in range(3):
        engine.create("input", start=True)
    engine.create("input", kind="mail", start=True, not_before=timedelta(hours=1))
    job = engine.create("input", kind="mail", start=True)
    engine.transition(job.job_id, JobStatus.COMPLETED, result="done")


def test_stats_counts_jobs_by_status_and_by_kind(place: str, here: Run) -> None:
    past = datetime.now(UTC) - timedelta(hours=3, minutes=30)
    with SyncJobEngine(place, clock=lambda: past) as engine:
        fill(engine)
        engine.create("input", kind="mail", start=True, not_before=timedelta(hours=2))
        code, lines, notes = here("stats", place)
        _, [line], _ = here("stats", place, "--json")
    assert (code, notes) == (0, [])
    assert [line.split() for line in lines[:5]] == [
        ["STATUS", "JOBS"],
        ["awaiting_payment", "2"],
        ["running", "5"],
        ["completed", "1"],
        ["failed", "0"],
    ]
    assert lines[5:7] == ["", "KIND     READY  RUNNING  WAITING  OLDEST READY"]
    default, mail = (each.split(maxsplit=4) for each in lines[7:9])
    assert (default[:4], default[4][:4]) == (["default", "3", "0", "2"], "3 h ")
    assert (mail[:4], mail[4][:4]) == (["mail", "2", "0", "0"], "2 h ")  # since it may run
    fields = loads(line)
    assert (fields["jobs"]["running"], fields["all_kinds_counted"]) == (5, True)
    assert [each["ready"] for each in fields["kinds"]] == [3, 2]


def test_jobs_that_an_attempt_has_are_running(place: str, here: Run) -> None:
    began, go_on = Event(), Event()

    def work() -> str:
        began.set()
        go_on.wait(SECONDS_AGAINST_HANGS)
        return "done"

    with SyncJobEngine(place) as engine:
        fill(engine)
        with Worker(engine, {"mail": work}), Gate(engine, lambda _: [], name="payments"):
            job = engine.create("input", kind="mail", start=True)
            began.wait(SECONDS_AGAINST_HANGS)
            _, [line], _ = here("stats", place, "--json")
            _, lines, _ = here("stats", place)
            go_on.set()
            engine.wait(job.job_id, timeout=SECONDS_AGAINST_HANGS)
    fields = loads(line)
    [_, mail] = fields["kinds"]
    assert mail == {"kind": "mail", "ready": 0, "running": 1, "waiting": 1, "oldest_ready": None}
    if not place.startswith("postgresql:"):
        assert "engines" not in fields
        return
    [engine_row] = fields["engines"]
    assert (engine_row["is_dead"], engine_row["jobs"]) == (False, 1)
    assert engine_row["gates"] == ["payments"]
    assert lines[-2].split() == ["ENGINE", "NAME", "STATE", "JOBS", "GATES", "KINDS"]
    assert lines[-1].split()[3:6] == ["alive", "1", "payments"]  # its kinds come with its next beat
    assert str(os.getpid()) in lines[-1]


def test_the_count_by_kind_ends_somewhere(
    place: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SyncJobEngine(place) as engine:
        fill(engine)
    monkeypatch.setattr(stats, "COUNTED_JOBS", 3)
    monkeypatch.setattr(live, "COUNTED_JOBS", 3)
    monkeypatch.setattr(kinds, "COUNTED_JOBS", 3)
    code, lines, notes = here("stats", place)
    assert (code, notes) == (0, ["kinds: of each status, the oldest 3 jobs alone"])
    assert [line.split()[:4] for line in lines[7:8]] == [["default", "3", "0", "2"]]
    _, [line], _ = here("stats", place, "--json")
    assert loads(line)["all_kinds_counted"] is False


def test_without_a_lifecycle_kinds_are_not_counted(place: str, here: Run) -> None:
    with SyncJobEngine(place) as engine:
        fill(engine)
    if place.startswith("postgresql:"):
        execute(place, "DELETE FROM engine.notes WHERE name = 'lifecycle'")
    else:
        damage(Path(place), "DELETE FROM engine WHERE name = 'lifecycle'")
    code, lines, notes = here("stats", place)
    assert (code, len(lines)) == (0, 4)
    assert notes == ["kinds are not counted: no engine has kept its lifecycle here"]


def test_statuses_that_are_no_texts_are_counted_too(path: Path, here: Run) -> None:
    with SyncJobEngine(str(path)) as engine:
        engine.create("input")
        engine.create("input")
    damage(path, "UPDATE jobs SET status = x'00', token = x'ff' WHERE position = 1")
    damage(path, "UPDATE jobs SET updated_at = 'noon', status = 'running' WHERE position = 2")
    code, lines, _ = here("stats", path)
    assert (code, lines[5].split()) == (0, ["b'\\x00'", "1"])
    assert lines[8].split() == ["default", "1", "0", "0", "-"]


def test_the_last_hour_is_counted(place: str, here: Run) -> None:
    now = datetime.now(UTC)
    for at in (now - timedelta(hours=2), now - timedelta(minutes=10)):
        with SyncJobEngine(place, clock=partial(max, at, at)) as engine:
            fill(engine)
            failed = engine.create("input", start=True)
            engine.transition(failed.job_id, JobStatus.FAILED, error="bad")
    code, lines, notes = here("stats", place)
    begin = lines.index("LAST HOUR  JOBS")
    assert (code, notes, lines[begin - 1]) == (0, [], "")
    assert [line.rsplit(maxsplit=1) for line in lines[begin + 1 : begin + 5]] == [
        *(["created", "8"], ["succeeded", "1"], ["failed", "1"], ["given up", "0"])
    ]
    _, [line], _ = here("stats", place, "--json")
    counts = {"created": 8, "succeeded": 1, "failed": 1, "given_up": 0}
    assert loads(line)["last_hour"] == {**counts, "all_counted": True}


def test_the_count_of_an_hour_ends_somewhere(
    place: str, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_throughput, postgres_throughput):
        monkeypatch.setattr(module, "SEEN_TRANSITIONS", 2)
    with SyncJobEngine(place) as engine:
        fill(engine)
    _, lines, _ = here("stats", place)
    assert "created    at least 2" in lines
    _, [line], _ = here("stats", place, "--json")
    assert loads(line)["last_hour"]["all_counted"] is False
