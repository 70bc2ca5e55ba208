"""Open a file with an engine of a newer version, whose migration is slow.

For `tests.reliability.programs.zygote`. An order has the ``path``, and whether the steps are
``halved``. The lines: "opening" and "open".
"""

from __future__ import annotations

import logging

import pytest

from engine import SyncJobEngine
from engine.storage.sqlite.schema import STEPS, Step
from tests.reliability.programs.zygote import Order, say

NOTES_OF_A_JOB = 4
_NOTES = """
    WITH RECURSIVE numbers (number) AS
        (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {most})
    INSERT INTO notes SELECT position, number, hex(randomblob(300)) FROM jobs, numbers
"""
SLOW_STEP = (
    "ALTER TABLE jobs ADD COLUMN weight INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE notes (position INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL)",
    "UPDATE jobs SET weight = position % 7",
    _NOTES.format(most=NOTES_OF_A_JOB),
    "CREATE UNIQUE INDEX notes_by_job ON notes (position, number)",
    "CREATE INDEX notes_by_text ON notes (text)",
)
NEWER_STEPS = (*STEPS, SLOW_STEP)
_HALF = len(SLOW_STEP) // 2
HALVED_STEPS = (*STEPS, (*SLOW_STEP[:_HALF], "COMMIT", "BEGIN EXCLUSIVE", *SLOW_STEP[_HALF:]))
"""A planted bug: two transactions."""


def become_newer(patch: pytest.MonkeyPatch, steps: tuple[Step, ...] = NEWER_STEPS) -> None:
    """Make the engines of this process ones of the newer version."""
    patch.setattr("engine.storage.sqlite.storage.STEPS", steps)


def warm() -> None:
    """Switch to the newer version, without warnings about older files."""
    logging.getLogger("engine").addHandler(logging.NullHandler())
    become_newer(pytest.MonkeyPatch())


def run(order: Order) -> None:
    """Open the file and close it again."""
    if order["halved"]:
        become_newer(pytest.MonkeyPatch(), HALVED_STEPS)
    say("opening")
    with SyncJobEngine(order["path"]):
        say("open")
