"""Statuses with what a terminal obeys: no act writes them as they are."""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from engine import ORDER_LIFECYCLE, FollowUp, Lifecycle, OrderStatus, SyncJobEngine
from tests.unit.cli.programs import Run

HOSTILE = "\x1b[31m\x1b]0;title\x07\u202e\r\n"
_new_enum: Any = StrEnum  # as a value: mypy reads the members of a literal call alone
Hostile = _new_enum("Hostile", {each.name: f"{each.value}{HOSTILE}" for each in OrderStatus})


def _hostile(status: OrderStatus | None) -> Any:  # noqa: ANN401 - a member of a generated enum
    return None if status is None else Hostile[status.name]


_ORDER = ORDER_LIFECYCLE
LIFECYCLE: Lifecycle[Any] = Lifecycle(
    Hostile,
    {_hostile(status): {*map(_hostile, to)} for status, to in _ORDER.moves.items()},
    initial=_hostile(_ORDER.initial),
    running=_hostile(_ORDER.running),
    success={*map(_hostile, _ORDER.success)},
    failure={*map(_hostile, _ORDER.failure)},
    awaiting_input=_hostile(_ORDER.awaiting_input),
    fails_to=_hostile(_ORDER.fails_to),
    exhausted_to=_hostile(_ORDER.exhausted_to),
    expires_to={_hostile(status): _hostile(to) for status, to in _ORDER.expires_to.items()},
    cancels_to={_hostile(status): _hostile(to) for status, to in _ORDER.cancels_to.items()},
)
STUCK, DONE, RUNNING = Hostile.NEEDS_ATTENTION, Hostile.COMPLETED, Hostile.RUNNING


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a job that waits, a stuck one, a done one and one that is ready."""
    path = tmp_path_factory.mktemp("made") / "jobs.db"
    rule: FollowUp[Any] = FollowUp("refund", to={Hostile.FAILED})
    ids = map("job-{}".format, range(1, 9)).__next__
    with SyncJobEngine(path, lifecycle=LIFECYCLE, follow_ups=[rule], new_id=ids) as engine:
        engine.create()
        for status in (STUCK, DONE):
            engine.transition(engine.create(start=True).job_id, status)
        engine.create(start=True)
    return path


@pytest.fixture
def place(made: Path, path: Path) -> str:
    """Return a copy of it."""
    return str(shutil.copy(made, path))


@pytest.mark.parametrize(
    "words",
    [
        ["retry", "--status", DONE],
        ["retry", "--status", STUCK],
        ["retry", "--status", STUCK, "--dry-run"],
        ["retry", "--stuck", "0s", "--status", STUCK],
        ["retry", "job-3"],
        ["retry", "job-2"],
        ["cancel", "--status", DONE],
        ["cancel", "job-1", "job-3"],
        ["start", "job-3", "--payment", HOSTILE],
        ["start", "--payment", HOSTILE],
        ["answer", "job-2", "--value", "1"],
        ["answer", "job-2", "--value", "1", "--dry-run"],
        ["move", "job-2", f"nowhere{HOSTILE}"],
        ["move", "job-2", DONE, "--error", "x"],
        ["move", "job-1", DONE],
        ["move", "--status", DONE, RUNNING],
        ["extend", "job-3", "+2h"],
        ["extend", "job-1", "+2h", "--status", DONE],
        ["extend", "--status", DONE, "+2h"],
        ["repeat", "job-2"],
        ["repeat", "job-3"],
        ["repeat", "--status", STUCK],
        ["follow-up", "job-3", "refund"],
        ["follow-up", "job-2", "refund"],
        ["follow-up", "--status", STUCK, "refund"],
    ],
    ids=lambda words: words[0],
)
def test_no_act_writes_what_a_terminal_obeys(place: str, here: Run, words: list[str]) -> None:
    _, lines, notes = here(words[0], place, *words[1:])
    assert lines + notes
    assert all(map(str.isprintable, lines + notes))


def test_json_has_the_status_as_it_is(place: str, here: Run) -> None:
    code, [line], _ = here("retry", place, "job-2", "--json")
    assert (code, json.loads(line)["job"]["status"]) == (0, RUNNING.value)
    assert line.isprintable()
