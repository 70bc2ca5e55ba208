"""Promises 2 to 4 on a file: acknowledged changes outlive their engine.

The machine of `proof.comparison`, with two more rules. Close the engine, and open another one on
its file; or kill it: go on with a copy of its files, the log included, taken after the last answer
while the engine has them open.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from hypothesis.stateful import rule

from engine import AGENT_JOB_LIFECYCLE, SQLiteStorage, Storage
from tests.files import as_killed
from tests.tries import first_seed, report, rounds, thorough, tries

from .comparison import FACADES, Comparison, compare_with_the_model

EXAMPLES = 400
TO_BE_SEEN = ("restart", "kill", "replay", "DuplicateJobIdError", "held page", "followed")
SETTINGS = hypothesis.settings(deadline=None, database=None, stateful_step_count=40)


class DurableComparison(Comparison):
    """A comparison in which engines come and go."""

    def new_storage(self) -> Storage:
        self.folder = Path(tempfile.mkdtemp())
        return self.storage()

    def storage(self) -> Storage:
        return SQLiteStorage(self.folder / "jobs.db")

    def another(self) -> Storage:
        return self.storage()

    @rule()
    def restart(self) -> None:
        self.close()
        self.open(self.storage())
        self.seen["restart"] += 1

    @rule()
    def kill(self) -> None:
        killed, self.folder = self.folder, Path(tempfile.mkdtemp())
        as_killed(killed / "jobs.db", self.folder)
        self.close()
        shutil.rmtree(killed)
        self.open(self.storage())
        self.seen["kill"] += 1

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class ForgetsTheLog(DurableComparison):
    """A machine whose kills lose the log."""

    def storage(self) -> Storage:
        (self.folder / "jobs.db-wal").unlink(missing_ok=True)
        return super().storage()


@pytest.mark.parametrize("facade", [*FACADES[:1], *thorough(*FACADES[1:])])
def test_engines_on_one_file_answer_as_the_model_does(facade: str) -> None:
    settings = hypothesis.settings(SETTINGS, max_examples=tries(EXAMPLES))
    seen = Counter[str]()
    for number in rounds():
        seen += compare_with_the_model(
            facade, AGENT_JOB_LIFECYCLE, settings, DurableComparison, number
        )
        report(f"{facade}, first seed {first_seed()}: {dict(seen)}")
        if min(seen[event] for event in TO_BE_SEEN) >= 3:
            break


@pytest.mark.thorough
def test_a_lost_log_is_found() -> None:
    generate = [hypothesis.Phase.generate]  # without making the example smaller
    settings = hypothesis.settings(
        SETTINGS, max_examples=100, phases=generate, report_multiple_bugs=False
    )
    with pytest.raises(AssertionError):
        compare_with_the_model("threads", AGENT_JOB_LIFECYCLE, settings, ForgetsTheLog)
