"""The check finds every flipped bit of a file that changes an answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from engine import JobEngine, StorageError
from engine.storage import JobFilter, Names
from engine.storage.sqlite import audit, file, listing, notes, reading, throughput
from tests.tries import report, seeded, tries
from tests.unit.claiming import claimed_one, release
from tests.unit.storage.sqlite.checking import JOBS, checked, make_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = make_file(tmp_path)
    anyio.run(_fail, path)
    return path


async def _fail(path: Path) -> None:
    """Let some attempts of a new job fail."""
    async with JobEngine(path, new_id=lambda: FAILING) as engine:
        await engine.create("hash", start=True)
        for _ in range(10):
            _, token = await claimed_one(engine)
            await release(engine, FAILING, token, failed=True)


def answers(path: Path) -> list[object]:
    """Return all answers about a file."""
    return list(_answers(path))


FAILING = "fails"
EVER = datetime.min.replace(tzinfo=UTC)
NUMBERED = (("sequence", "transitions"), ("position", "jobs"))


def _answers(path: Path) -> Iterator[object]:
    with closing(file.connect_reader(path)) as connection:
        counts = reading.counts(connection)
        yield counts
        yield [notes.newest_number(connection, *each) for each in NUMBERED]
        for status in [None, *counts]:
            yield listing.page(connection, JobFilter(status), 0, 100)
        yield reading.checkout(
            connection, Names(JOBS, [f"key {number}" for number in range(1, 11)])
        )
        for job_id in JOBS:
            yield reading.history(connection, job_id)
        yield reading.attempts(connection, FAILING)
        yield audit.read_lines(connection, None, 100, None)
        yield audit.read_lines(connection, None, 100, "job-2")
        yield throughput.read_throughput(connection, EVER)
        yield throughput.see_throughput(connection, EVER)


def changes_an_answer(path: Path, right: list[object]) -> bool:
    try:
        return answers(path) != right
    except Exception:  # noqa: BLE001 - whatever it is, it is not the right answer
        return True


def is_found(path: Path) -> bool:
    try:
        return checked(path).problems > 0
    except StorageError:
        return True


def integrity_check_finds(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    except (sqlite3.Error, UnicodeDecodeError):
        return True


def test_a_bit_that_changes_an_answer_is_found(path: Path) -> None:
    random = seeded("check: flips")
    right, sound = answers(path), path.read_bytes()
    assert answers(path) == right
    # Most of a small file is empty: take the used bytes, and those beside them.
    used = [at for at in range(len(sound)) if any(sound[max(at - 1, 0) : at + 2])]
    changed = missed_by_sqlite = 0
    for _ in range(tries(5_000)):
        at, bit = random.choice(used), random.randrange(8)
        damaged = bytearray(sound)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        if changes_an_answer(path, right):
            changed += 1
            assert is_found(path), f"byte {at}, bit {bit}"
            missed_by_sqlite += not integrity_check_finds(path)
    report(f"{changed} flips changed an answer; integrity_check alone missed {missed_by_sqlite}")
    assert changed > tries(5_000) / 5
    assert missed_by_sqlite > changed / 5
