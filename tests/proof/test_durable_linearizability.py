"""Promises 2 and 3 on a file: histories across several engines are linearizable.

The engine under load is closed in the middle, or crashes in a commit, before or after it is done. A
new engine on the same file is then read, as a part of the same history. `reliability.test_kill`
kills processes instead.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine import (
    EngineCrashedError,
    JobDamagedError,
    JobEngine,
    SQLiteStorage,
    Storage,
    SyncJobEngine,
)
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.tries import first_seed, repeatable, report, rounds, seeds

from .linearizability import REFUSED, UNKNOWN
from .scenario import Load, make_engine
from .storages import Yielding
from .test_linearizability import CALLS, THREADS, load_of_threads

SLOWNESS = 30
FULL_RUNS = 200
"""On each backend."""


class YieldingFile(Yielding, SQLiteStorage):
    """A file whose commits let others run."""

    def __init__(self, path: Path, seed: int) -> None:
        SQLiteStorage.__init__(self, path)
        self._random = random.Random(seed)


class PlantedError(Exception):
    """A bug, as the engine sees it."""


class CrashingFile(YieldingFile):
    """Crashes the engine in one commit, before or after it is done, or reports a crash."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, seed)
        self.until_crash = self._random.randrange(1, 12)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.until_crash -= 1
        if self.until_crash != 0:
            return await super().commit(changes, lines)
        if self._random.random() < 0.5:
            await super().commit(changes, lines)
        return self.crash()

    def crash(self) -> None:
        raise PlantedError


class LosesOneCommit(CrashingFile):
    """Reports every commit as done, even one that is not."""

    def crash(self) -> None:
        return None


class Crashing(JobEngine[Any]):
    """Does not raise its crash at the end: every caller has got it."""

    async def __aexit__(self, *how: Any) -> bool | None:  # noqa: ANN401, PYI036 - handed on
        with suppress(EngineCrashedError):
            return await super().__aexit__(*how)
        return None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [YieldingFile, CrashingFile])
async def test_the_history_of_tasks_is_linearizable(
    anyio_backend: str, kind: type[YieldingFile], tmp_path: Path
) -> None:
    unknown = answered = 0
    wanted = len(seeds(FULL_RUNS))
    for number in rounds():
        for seed in seeds(FULL_RUNS, number):
            load = Load(seed, anyio_backend, 20, 8, SLOWNESS, crashes=kind is CrashingFile)
            with repeatable(seed, anyio_backend):
                await load.run(
                    kind(tmp_path / f"{seed}.db", seed), lambda each: make_engine(each, Crashing)
                )
            cut_off, refused = load.recorder.count(UNKNOWN), load.recorder.count(REFUSED)
            unknown += cut_off
            answered += len(load.recorder.operations) - cut_off - refused
        report(f"{anyio_backend}, {kind.__name__}, to seed {seed}: {answered=}, {unknown=}")
        if answered > 50 * wanted and unknown > wanted:
            break


def test_the_history_of_threads_is_linearizable(tmp_path: Path) -> None:
    answered = 0
    runs = seeds(100)
    for seed in runs:
        with repeatable(seed, f"{THREADS} threads"):
            recorder = load_of_threads(seed, SQLiteStorage(tmp_path / f"{seed}.db"), SyncJobEngine)
            recorder.check()
        answered += len(recorder.operations) - recorder.count(UNKNOWN)
    report(f"{THREADS} threads, {runs}: {answered} answered")
    assert answered > 0.8 * THREADS * CALLS * len(runs)


LOSS = re.compile("no order explains this history|lost|its history is not complete")
LOADS_UNTIL_FOUND = 200


async def _found_by(load: Load, storage: Storage) -> str | None:
    """Return the loss that a load finds; all its other errors are raised."""
    try:
        await load.run(storage)
    except (AssertionError, JobDamagedError) as error:
        if not LOSS.search(str(error)):
            raise
        return str(error)
    return None


@pytest.mark.thorough
@pytest.mark.anyio
async def test_a_commit_that_is_lost_is_found(anyio_backend: str, tmp_path: Path) -> None:
    found = None
    for seed in range(first_seed(), first_seed() + LOADS_UNTIL_FOUND):
        load = Load(seed, anyio_backend, 20, 8, SLOWNESS)
        found = await _found_by(load, LosesOneCommit(tmp_path / f"{seed}.db", seed))
        if found is not None:
            report(f"{anyio_backend}: a lost commit was found with seed {seed}: {found[:80]}")
            break
    assert found is not None
