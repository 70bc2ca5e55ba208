"""The commands that pause and resume kinds and gates, and drain engines; `stats` and `top` tell."""

from __future__ import annotations

from json import loads
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from engine import CallTimeoutError, Gate, JobEngine, JobStatus, SyncJobEngine
from engine.cli.exits import Exit
from engine.domain.pauses import MAX_PAUSES
from engine.operating import this_operator
from tests.interventions import Intruder
from tests.unit.cli.programs import SECONDS_AGAINST_HANGS, Run, damage, execute


def test_a_kind_is_paused_and_resumed(place: str, here: Run) -> None:
    with SyncJobEngine(place) as engine:
        engine.create("hash", kind="report", start=True)
    code, [line], notes = here("pause", place, "report", "--reason", "fire")
    assert (code, line.split(": ")[-1], notes) == (Exit.OK, "the kind report is paused", [])
    with SyncJobEngine(place) as engine:
        [paused] = engine.paused()
        assert (paused.kind, paused.by, paused.reason) == ("report", this_operator(), "fire")
    code, [line], _ = here("pause", place, "report", "--reason", "flood")
    assert (code, "report was paused already, at 2" in line) == (Exit.OK, True)
    assert line.endswith(f"by {this_operator()}: fire")
    code, [line], _ = here("resume", place, "report")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the kind report is resumed")
    code, [line], _ = here("resume", place, "report")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the kind report was not paused")
    with SyncJobEngine(place) as engine:
        assert engine.paused() == []


def test_a_gate_is_paused_and_resumed(place: str, here: Run) -> None:
    with SyncJobEngine(place):
        pass
    code, [line], notes = here("pause", place, "--gate", "Bank 7", "--reason", "it lies")
    assert (code, line.split(": ")[-1], notes) == (Exit.OK, "the gate Bank 7 is paused", [])
    code, [line], _ = here("pause", place, "Bank 7", "--gate")
    assert (code, line.endswith(f"by {this_operator()}: it lies")) == (Exit.OK, True)
    with SyncJobEngine(place) as engine:
        [paused] = engine.paused()
        assert (paused.kind, paused.gate, paused.by) == (None, "Bank 7", this_operator())
        [entry] = engine.audit()
        assert (entry.action, entry.arguments) == ("pause", {"gate": "Bank 7"})
    code, [line], _ = here("resume", place, "--gate", "Bank 7")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the gate Bank 7 is resumed")
    code, [line], _ = here("resume", place, "--gate", "Bank 7")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the gate Bank 7 was not paused")
    with SyncJobEngine(place) as engine:
        assert engine.paused() == []


def test_stats_and_top_tell_of_what_is_paused(place: str, here: Run) -> None:
    with SyncJobEngine(place) as engine:
        for kind in ("report", "report", "mail"):
            engine.create("hash", kind=kind, start=True)
        engine.pause("report", by="ann\x1b[31m", reason="fire")
        engine.pause("unheard-of")
        engine.pause(gate="Bank 7", reason="it lies")
    _, lines, _ = here("stats", place)
    mail, report = lines[7:9]
    assert (mail.split()[:3], report.split()[:4]) == (
        ["mail", "1", "0"],
        ["report", "2", "paused", "0"],
    )
    head, first, second, gate = lines[-4:]
    assert head.split() == ["PAUSED", "NAME", "SINCE", "BY", "REASON"]
    assert first.split()[:2] == ["kind", "report"]
    assert first.endswith("ann\\x1b[31m  fire")
    assert second.split()[:2] == ["kind", "unheard-of"]
    assert gate.split()[:3] == ["gate", "Bank", "7"]
    assert gate.endswith("it lies")
    _, [line], _ = here("stats", place, "--json")
    [told, _, gate] = loads(line)["paused"]
    assert (told["kind"], told["by"], told["reason"]) == ("report", "ann\x1b[31m", "fire")
    assert (gate["kind"], gate["gate"]) == (None, "Bank 7")
    _, lines, _ = here("top", place, "--once")
    [report] = [line for line in lines if line.startswith("report")]
    assert "2 paused" in report


def test_the_engine_that_has_a_file_is_told(used: SyncJobEngine, path: Path, here: Run) -> None:
    code, [line], _ = here("pause", path, "mail", "--reason", "fire")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the kind mail is paused")
    [paused] = used.paused()
    assert (paused.kind, paused.by, paused.reason) == ("mail", this_operator(), "fire")
    code, [line], _ = here("drain", path, "--reason", "a new release")
    assert (code, line.split(": ")[-2]) == (Exit.OK, "its engine is drained")
    assert used.statistics().draining
    assert here("drain", path, "--undo")[0] == here("resume", path, "mail")[0] == Exit.OK
    assert (used.paused(), used.statistics().draining) == ([], False)
    acts = [(each.action, each.by, each.reason) for each in used.audit()]
    assert acts[:2] == [("resume", this_operator(), None), ("undo drain", this_operator(), None)]
    assert acts[2] == ("drain", this_operator(), "a new release")
    code, _, [note] = here("drain", path, 1)
    assert (code, "only the engines of a database have numbers" in note) == (Exit.USAGE, True)


def test_the_gate_of_the_engine_that_has_a_file_stops(path: Path, here: Run) -> None:
    with (
        SyncJobEngine(path) as engine,
        Gate(engine, lambda jobs: jobs, name="payments", interval_seconds=0.01),
    ):
        assert here("pause", path, "--gate", "payments")[0] is Exit.OK
        job = engine.create("hash")
        with pytest.raises(CallTimeoutError):
            engine.wait(job.job_id, until=[JobStatus.RUNNING], timeout=0.05)
        assert here("resume", path, "--gate", "payments")[0] is Exit.OK
        engine.wait(job.job_id, until=[JobStatus.RUNNING], timeout=SECONDS_AGAINST_HANGS)
        acts = [(each.action, each.by, each.arguments) for each in engine.audit()]
    assert acts == [(each, this_operator(), {"gate": "payments"}) for each in ("resume", "pause")]


def test_a_change_of_nothing_writes_nothing(path: Path, here: Run) -> None:
    with SyncJobEngine(path) as engine:
        engine.pause("a")
    before = path.read_bytes()
    here("pause", path, "a")
    here("resume", path, "b")
    assert path.read_bytes() == before


def test_too_many_paused_kinds_are_refused(path: Path, here: Run) -> None:
    with SyncJobEngine(path) as engine:
        for number in range(MAX_PAUSES):
            engine.pause(f"kind-{number}")
    code, lines, [note] = here("pause", path, "another")
    assert (code, lines) == (Exit.USAGE, [])
    assert note.endswith("resume others first")


@pytest.mark.parametrize(
    "arguments",
    [
        ["A"],
        [],
        ["--gate"],
        ["--gate", ""],
        ["--gate", 257 * "x"],
        ["a", "--reason", "\ud800"],
        ["a", "--reason", 5_000 * "x"],
    ],
    ids=lambda arguments: f"{arguments}"[:30],
)
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_wrong_usage_is_refused(path: Path, here: Run, command: str, arguments: list[str]) -> None:
    assert here(command, path, *arguments)[0] == Exit.USAGE
    assert not path.exists()


def test_what_is_no_kind_is_told(path: Path, here: Run) -> None:
    for command in ("pause", "resume"):
        _, lines, [note] = here(command, path, "Bank 7")
        assert (lines, note.startswith("engine: Bank 7 must be 1 to 64 of a-z")) == ([], True)


def test_damaged_pauses_are_told(place: str, here: Run) -> None:
    with SyncJobEngine(place):
        pass
    if place.startswith("postgresql:"):
        execute(place, "UPDATE engine.notes SET value = '{}' WHERE name = 'pauses'")
    else:
        damage(Path(place), "UPDATE engine SET value = '{}' WHERE name = 'pauses'")
    for command in ("pause", "resume"):
        assert here(command, place, "a")[0] is Exit.DAMAGED
    code, lines, _ = here("check", place)
    assert code is Exit.DAMAGED
    assert any("note pauses" in line for line in lines)


def test_pauses_are_part_of_a_copy(tmp_path: Path, postgres_url: str, here: Run) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    with SyncJobEngine(one) as engine:
        engine.create("hash", kind="a", start=True)
        engine.pause("a", reason="ß")
        engine.pause(gate="a", by="ann")
        before = engine.paused()
    for source, target in ((one, postgres_url), (postgres_url, other)):
        assert here("copy", source, target)[0] is Exit.OK
        with SyncJobEngine(target) as engine:
            assert engine.paused() == before


# Draining.


def test_no_engine_of_a_closed_file_can_be_drained(path: Path, here: Run) -> None:
    with SyncJobEngine(path):
        pass
    code, _, [note] = here("drain", path)
    assert (code, "no engine listens" in note) == (Exit.UNREADABLE, True)


def test_the_engine_of_a_database_has_to_be_there(postgres_url: str, here: Run) -> None:
    with SyncJobEngine(postgres_url):
        code, _, [note] = here("drain", postgres_url)
        assert (code, "must be the number of an engine" in note) == (Exit.USAGE, True)
        code, _, [note] = here("drain", postgres_url, 2**40)
        assert code is Exit.USAGE
        assert f"{2**40} is the number of no living engine" in note
        assert "; those that live: 1 (" in note


@pytest.mark.anyio
async def test_an_engine_of_a_database_follows(
    postgres_url: str, intruder: Intruder, here: Run
) -> None:
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with JobEngine(postgres_url) as engine:
            await engine.create("hash", kind="a", start=True)
            assert (await to_thread.run_sync(here, "pause", postgres_url, "a"))[0] is Exit.OK
            while not (await engine.statistics()).paused:
                await checkpoint()
            number = intruder.value("SELECT engine_id FROM engines")
            code, [line], _ = await to_thread.run_sync(here, "drain", postgres_url, number)
            assert code is Exit.OK
            assert f"engine {number} is drained" in line
            while not (await engine.statistics()).draining:
                await checkpoint()
            _, lines, _ = await to_thread.run_sync(here, "stats", postgres_url)
            assert "  draining  " in lines[-1]
            for words in (("drain", postgres_url, number, "--undo"), ("resume", postgres_url, "a")):
                assert (await to_thread.run_sync(here, *words))[0] is Exit.OK
            while (now := await engine.statistics()).draining or now.paused:
                await checkpoint()
