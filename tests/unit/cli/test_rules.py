"""The command that lists the rules of follow-ups, and removes one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from json import loads
from pathlib import Path

import pytest

from engine import (
    FollowUp,
    JobEngine,
    JobStatus,
    Outcome,
    OutcomeUnknownError,
    StorageError,
    SyncJobEngine,
)
from engine.cli.exits import Exit
from engine.domain.follow_up_rules import Rules
from engine.operating import this_operator
from engine.storage.audit import AuditLine
from engine.storage.places import place_at
from engine.testing.values import NOON
from tests.interventions import intruding
from tests.postgres import Databases
from tests.proxy import proxied
from tests.unit.cli.programs import Run

RULES = [
    FollowUp("settle", to={JobStatus.COMPLETED}, delay=timedelta(minutes=1)),
    FollowUp(
        "refund",
        to={JobStatus.FAILED},
        of=["translation", "report"],
        outcomes={Outcome.EXPIRED},
        started=True,
        labels={"region": "eu"},
    ),
]


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path, databases: Databases) -> Iterator[str]:
    """Return the place of an engine that was given the rules, and has closed."""
    url = databases.new() if request.param == "database" else str(tmp_path / "jobs.db")
    with SyncJobEngine(url, follow_ups=RULES):
        pass
    yield url
    if request.param == "database":
        databases.drop(url)


def test_rules_are_listed(place: str, here: Run) -> None:
    code, lines, notes = here("rules", "list", place)
    assert (code, notes) == (Exit.OK, [])
    assert [line.split("  ")[0] for line in lines] == ["KIND", "refund", "settle"]
    assert "report, translation" in lines[1]
    assert "started, expired, region=eu" in lines[1]
    assert lines[2].endswith("0:01:00")


def test_rules_are_listed_as_json(place: str, here: Run) -> None:
    _, [refund, settle], _ = here("rules", "list", place, "--json")
    assert loads(settle) == {"kind": "settle", "to": ["completed"], "delay_seconds": 60.0}
    assert loads(refund) == {
        "kind": "refund",
        "to": ["failed"],
        "of": ["report", "translation"],
        "outcomes": ["expired"],
        "started": True,
        "labels": {"region": "eu"},
    }


def test_a_rule_is_removed_once(place: str, here: Run) -> None:
    code, [line], _ = here("rules", "remove", place, "settle")
    assert (code, line.split(": ")[-1]) == (Exit.OK, "the rule settle is removed")
    with SyncJobEngine(place) as engine:
        assert [rule.kind for rule in engine.rules()] == ["refund"]
    code, lines, [note] = here("rules", "remove", place, "settle")
    assert (code, lines) == (Exit.NOT_FOUND, [])
    assert note == "engine: there is no rule 'settle'; those that are kept: refund"


def test_a_rule_is_disabled_and_enabled(place: str, here: Run) -> None:
    for action, said in (("disable", [True]), ("enable", [None])):
        code, [line], _ = here("rules", action, place, "settle")
        assert (code, line.split(": ")[-1]) == (Exit.OK, f"the rule settle is {action}d")
        with SyncJobEngine(place, follow_ups=RULES) as engine:
            assert [rule.disabled for rule in engine.rules() if rule.kind == "settle"] == said
    assert here("rules", "enable", place, "other")[0] is Exit.NOT_FOUND


def test_a_change_leaves_a_line_of_the_audit(place: str, here: Run) -> None:
    for words in (("disable", "settle", "--reason", "its endpoint is gone"), ("remove", "refund")):
        here("rules", words[0], place, *words[1:])
        here("rules", words[0], place, *words[1:])  # changes nothing
    with SyncJobEngine(place) as engine:
        remove, disable = engine.audit()
    assert (disable.action, disable.arguments) == ("disable rule", {"kind": "settle"})
    assert (disable.by, disable.reason) == (this_operator(), "its endpoint is gone")
    assert (remove.action, remove.arguments) == ("remove rule", {"kind": "refund"})
    assert (remove.by, remove.reason, remove.job_id) == (this_operator(), None, None)


def test_a_line_that_cannot_be_written_leaves_the_rules_as_they_are(place: str) -> None:
    wrong = AuditLine(NOON, "\udc80", "remove rule")  # no text of a database
    with pytest.raises((UnicodeEncodeError, StorageError)):
        place_at(place).change_rules(lambda rules: rules.without("settle"), [wrong])
    with SyncJobEngine(place) as engine:
        assert [rule.kind for rule in engine.rules()] == ["refund", "settle"]


@pytest.mark.thorough
@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_connection_leaves_it_unknown(postgres_url: str, *, applied: bool) -> None:
    with SyncJobEngine(postgres_url, follow_ups=RULES):
        pass

    def lose() -> None:
        with intruding(postgres_url) as intruder:
            lines = "SELECT count(*) FROM audit"
            intruder.until(lambda: intruder.value(lines) if applied else proxy.swallowed)
        proxy.cut()

    def change(rules: Rules) -> Rules:
        proxy.swallow_from(b"keep_rules_1") if applied else proxy.swallow_requests()
        return rules.without("settle")

    with proxied(postgres_url) as (proxy, url):
        losing = threading.Thread(target=lose)
        losing.start()
        with pytest.raises((OutcomeUnknownError, StorageError)) as caught:
            place_at(url).change_rules(change, [AuditLine(NOON, "us", "remove rule")])
        losing.join()
    assert caught.type is (OutcomeUnknownError if applied else StorageError)
    with SyncJobEngine(postgres_url) as engine:
        assert [rule.kind for rule in engine.rules()] == ["refund", "settle"][: 2 - applied]


def test_there_may_be_no_rules(tmp_path: Path, here: Run) -> None:
    path = tmp_path / "jobs.db"
    with SyncJobEngine(path):
        pass
    hint = "there are no rules: give an engine `follow_ups`"
    assert here("rules", "list", path) == (Exit.OK, [], [hint])
    assert here("rules", "list", path, "--json") == (Exit.OK, [], [])


def test_the_file_of_an_engine_is_left_alone(used: SyncJobEngine, path: Path, here: Run) -> None:
    code, lines, [note] = here("rules", "remove", path, "settle")
    assert (code, lines) == (Exit.UNREADABLE, [])
    assert "is in use by another engine" in note
    assert used.rules() == []


@pytest.mark.anyio
async def test_engines_of_a_database_forget_a_rule_at_once(databases: Databases, here: Run) -> None:
    url = databases.new()
    rule = FollowUp("settle", to={JobStatus.COMPLETED})
    async with JobEngine(url, follow_ups=[rule]) as engine:
        jobs = [await engine.create("a", start=True) for _ in range(2)]
        await engine.transition(jobs[0].job_id, JobStatus.COMPLETED)
        assert here("rules", "remove", url, "settle")[0] is Exit.OK
        await engine.transition(jobs[1].job_id, JobStatus.COMPLETED)
        assert [len(await engine.follow_ups(job.job_id)) for job in jobs] == [1, 0]
    databases.drop(url)


@pytest.mark.parametrize("change", [("remove", "other"), ("enable", "settle")])
def test_a_change_of_nothing_writes_nothing(
    databases: Databases, path: Path, here: Run, change: tuple[str, str]
) -> None:
    action, kind = change
    url = databases.new()
    for place in (url, path):
        with SyncJobEngine(place, follow_ups=RULES):
            pass
    before = path.read_bytes()
    with intruding(url) as intruder:
        number = "SELECT value FROM notes WHERE name = 'rules_number'"
        assert intruder.value(number) == "1"
        for place in (url, path):
            here("rules", action, place, kind)
        assert intruder.value(number) == "1"
    assert path.read_bytes() == before
    databases.drop(url)
