"""The command that shows who has acted."""

from __future__ import annotations

from datetime import timedelta
from json import loads
from pathlib import Path
from unittest.mock import ANY

import pytest

from engine import (
    ORDER_LIFECYCLE,
    AuditEntry,
    FollowUp,
    JobStatus,
    OrderStatus,
    StorageDamagedError,
    SyncJobEngine,
)
from engine.cli.exits import Exit
from engine.operating import this_operator
from engine.testing.values import NOON
from tests.examples.programs import Terminal
from tests.tries import thorough
from tests.unit.cli.programs import PROGRAM, Run, damage, execute


@pytest.fixture(params=["path", *thorough("postgres_url")])
def acted(request: pytest.FixtureRequest) -> str:
    """Return a place where two people have acted, an hour apart, and an engine has closed."""
    place = str(request.getfixturevalue(request.param))
    times, ids = [NOON], iter(["job-1", "job-2"])
    with SyncJobEngine(place, clock=lambda: times[-1], new_id=lambda: next(ids)) as engine:
        for _ in range(2):
            engine.create("hash")
        engine.start("job-1", by="ann", reason="paid\x1b[31m")
        times.append(NOON + timedelta(hours=1))
        engine.transition("job-1", JobStatus.COMPLETED, result="secret", by="bob")
        engine.start("job-2", by="ann", payment_id="p", reason="r" * 4_096)
    return place


def test_acts_are_shown_the_newest_first(acted: str, here: Run) -> None:
    code, lines, notes = here("audit", acted)
    assert (code, notes) == (Exit.OK, [])
    assert lines[0].split() == ["AT", "BY", "ACTION", "JOB", "ID", "REASON", "ARGUMENTS"]
    assert [line.split()[1:4] for line in lines[1:]] == [
        ["ann", "start", "job-2"],
        ["bob", "move", "job-1"],
        ["ann", "start", "job-1"],
    ]
    assert lines[1].endswith("payment_id=p")
    assert "rrr…" in lines[1]
    assert len(lines[1]) < 200
    assert lines[2].endswith("status=completed")
    assert "paid\\x1b[31m" in lines[3]
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    ("by", "found"),
    [
        *((who, True) for who in ("ann", "user", "user ann (uid 7, pid 9)", "eve", "eve of ops")),
        *((who, False) for who in ("an", "ev", "for", "of ops", "user eve")),
    ],
)
def test_who_acts_for_another_is_found_by_either_name(
    path: Path, here: Run, by: str, *, found: bool
) -> None:
    with SyncJobEngine(path) as engine:
        engine.start(engine.create("hash").job_id, by="user ann (uid 7, pid 9) for eve of ops")
    assert bool(here("audit", path, "--by", by)[1]) is found


def test_a_terminal_says_first_for_whom_a_program_has_acted(path: Path) -> None:
    with SyncJobEngine(path) as engine:
        engine.start(engine.create("hash").job_id, by="user shop (uid 1000, pid 41711) for eve")
    with Terminal([*PROGRAM, "audit", path.name], path.parent) as terminal:
        code, _ = terminal.finish()
    assert code == Exit.OK
    assert " eve (said by shop) " in terminal.output


def test_acts_are_chosen(acted: str, here: Run) -> None:
    def chosen(*arguments: object) -> list[str]:
        _, lines, _ = here("audit", acted, *arguments)
        return [line.split()[3] for line in lines[1:]]

    assert chosen("--by", "ann") == ["job-2", "job-1"]
    assert chosen("--job", "job-1") == ["job-1", "job-1"]
    assert chosen("--job", "job-1", "--by", "bob") == ["job-1"]
    later = NOON + timedelta(hours=1)
    assert chosen("--since", later.isoformat()) == ["job-2", "job-1"]
    assert chosen("--since", later.isoformat(), "--by", "bob") == ["job-1"]
    assert chosen("--since", (later + timedelta(seconds=1)).isoformat()) == []
    assert chosen("--by", "eve") == []
    code, lines, notes = here("audit", acted, "--limit", 2)
    assert (code, len(lines)) == (Exit.OK, 3)
    assert notes == ["there are older ones: --limit 4 shows more"]
    code, lines, [note] = here("audit", acted, "--job", "unheard of")
    assert (code, lines) == (Exit.OK, [])
    assert note.startswith("nobody has acted so")
    for wrong in (("--limit", 0), ("--since", "?"), ("--by", ""), ("--job", "")):
        assert here("audit", acted, *wrong)[0] == Exit.USAGE


@pytest.mark.parametrize(
    ("who", "found"),
    [
        ("ann", ["ann", "user ann (uid 1000, pid 7)", "ann of the night shift"]),
        ("user ann", ["user ann (uid 1000, pid 7)"]),
        ("user ann (uid 1000, pid 7)", ["user ann (uid 1000, pid 7)"]),
        ("user", ["user ann (uid 1000, pid 7)", "user anna (uid 1001, pid 8)"]),
        ("an", []),
        ("shift", []),
    ],
)
def test_a_name_is_that_of_the_systems_user_too(
    path: Path, here: Run, who: str, found: list[str]
) -> None:
    with SyncJobEngine(path) as engine:
        for by in (
            *("ann", "user ann (uid 1000, pid 7)", "user anna (uid 1001, pid 8)"),
            "ann of the night shift",
        ):
            engine.start(engine.create("hash").job_id, by=by)
    code, lines, _ = here("audit", path, "--by", who, "--json")
    assert (code, [loads(line)["by"] for line in reversed(lines)]) == (Exit.OK, found)


def test_json_has_the_fields_of_an_entry(acted: str, here: Run) -> None:
    _, lines, _ = here("audit", acted, "--json")
    with SyncJobEngine(acted) as engine:
        assert [AuditEntry.model_validate(loads(line)) for line in lines] == engine.audit()
    assert loads(lines[1])["arguments"] == {"status": "completed"}
    assert loads(lines[2])["arguments"] == {}


def test_a_damaged_line_hides_no_other(acted: str, here: Run) -> None:
    if acted.startswith("postgresql"):
        execute(acted, "UPDATE engine.audit SET arguments = '[]' WHERE number = 2")
        problem = "its arguments can't be '[]'"
    else:
        damage(Path(acted), "UPDATE audit SET by = 'bob!' WHERE number = 2")
        problem = "its checksum"
    code, lines, [note] = here("audit", acted, "--limit", 9)
    assert (code, len(lines)) == (Exit.DAMAGED, 4)
    assert [line.split()[3] for line in (lines[1], lines[3])] == ["job-2", "job-1"]
    assert "(damaged)" in lines[2]
    assert f"line 2 of the audit is damaged: {problem}" in lines[2]
    assert note == f"damaged lines: 1; to learn more: engine check {acted}"
    code, lines, _ = here("audit", acted, "--by", "ann", "--json")
    assert code == Exit.DAMAGED
    assert [loads(line)["number"] for line in lines] == [3, 2, 1]
    assert loads(lines[1])["damaged"].startswith(problem)
    with SyncJobEngine(acted) as engine:
        with pytest.raises(StorageDamagedError, match=r"line 2 .* with before=2$"):
            engine.audit()
        assert [entry.number for entry in engine.audit(limit=1)] == [3]
        assert [entry.number for entry in engine.audit(before=2)] == [1]


def test_an_empty_reason_is_none(path: Path, here: Run) -> None:
    """As of a script whose variable is empty; by each sort of command."""
    rule = FollowUp("settle", to={OrderStatus.COMPLETED})
    with SyncJobEngine(path, lifecycle=ORDER_LIFECYCLE, follow_ups=[rule]) as engine:
        job_id = engine.create("hash").job_id
    for words in (
        *(["start", path, job_id], ["cancel", path, job_id], ["prune", path, "--keep", 0, "--yes"]),
        *(["pause", path, "report"], ["resume", path, "report"]),
        *(["rules", "disable", path, "settle"], ["backup", path, path.with_name("copy.db")]),
    ):
        assert here(*words, "--reason", "") == (Exit.OK, ANY, []), words
    with SyncJobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        assert here("drain", path, "--reason", "")[0] == Exit.OK
        entries = engine.audit()
        assert {each.by for each in entries} == {this_operator()}
    assert [each.action for each in entries[::-1]] == [
        *("start", "cancel", "prune", "pause", "resume", "disable rule", "backup", "drain")
    ]
    assert {each.reason for each in entries} == {None}
