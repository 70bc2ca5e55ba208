"""Kills between counts: whatever is killed, each transition is counted once, also a removed one.

A process creates, ends, removes and counts jobs until it is killed. What it has left is read by
SQLite alone: all transitions that there ever were are counted, or are there and not counted yet.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.files import as_killed
from tests.reliability.programs.zygote import zygote
from tests.systems import needs_fork
from tests.tries import report, rounds, seeded, tries

pytestmark = needs_fork

KILLS = 500
MOST_SECONDS = 0.1
_SUMS = """
    SELECT (SELECT coalesce(sum(transitions), 0) FROM throughput),
        (SELECT count(*) FROM transitions WHERE sequence > counted.value),
        (SELECT count(*) FROM transitions WHERE sequence <= counted.value),
        max(removed.value, (SELECT coalesce(max(sequence), 0) FROM transitions))
    FROM engine AS counted, engine AS removed
    WHERE counted.name = 'counted' AND removed.name = 'last_sequence'
"""


def _kill(folder: Path, kills: int, storage: str) -> Counter[str]:
    """Kill so many processes, one after the other; return what was seen, wrong sums too."""
    folder.mkdir()
    path, seen = folder / "jobs.db", Counter[str]()
    random = seeded(f"kill between counts, {storage}")
    with zygote("counting") as lane:
        for number in range(kills):
            order = {"path": str(path), "name": f"{folder.name} {number}", "storage": storage}
            seconds = random.uniform(0, MOST_SECONDS)
            life = lane.child(order, seconds, counted_from=["open"])
            assert life.status == -9, life
            seen += _sums(as_killed(path, folder / "image"))
    report(f"{kills} kills, {storage}: {dict(sorted(seen.items()))}")
    return seen


def _sums(image: Path) -> Counter[str]:
    with closing(sqlite3.connect(image)) as connection:
        counted, left, there, ever = connection.execute(_SUMS).fetchone()
    return Counter(
        {
            "wrong": counted + left != ever,
            "some are left": left > 0,
            "some are removed": left + there < ever,
            "all are counted": left == 0,
        }
    )


def test_each_transition_is_counted_once(tmp_path: Path) -> None:
    for number in rounds():
        kills = tries(KILLS, least=10)
        seen = _kill(tmp_path / f"round {number}", kills, "sound")
        assert not seen["wrong"]
        if seen["some are left"] and seen["some are removed"]:
            break


@pytest.mark.thorough
def test_a_storage_that_counts_in_two_commits_is_caught(tmp_path: Path) -> None:
    for number in rounds():
        if _kill(tmp_path / f"round {number}", tries(KILLS), "split")["wrong"]:
            break
