"""Row 31: statuses are renamed and retired while jobs are in them.

Every job goes on in its new status, with its deadlines, and every history and resumed watch is
read. A live job whose status becomes a final one has ended, and retention removes it. A
kill at any statement of the renaming leaves a file in which all of it or nothing is done.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing, closing
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine import (
    InvalidStateTransitionError,
    Job,
    JobEngine,
    Lifecycle,
    LifecycleError,
    MemoryStorage,
    PastStatus,
    Retention,
    SQLiteStorage,
)
from engine.owner.commands.remove import RemoveEnded
from engine.storage.sqlite import database, statuses
from engine.storage.sqlite.check import check_file
from tests.files import as_killed
from tests.tries import repeatable, report, seeds

pytestmark = pytest.mark.anyio

FULL_SEEDS = 200
JOBS = 20
FULL_FILES = 100


class Old(StrEnum):
    DRAFT = "draft"
    IDLE = "idle"
    IN_REVIEW = "in_review"
    PROOF = "proof"
    SHELVED = "shelved"
    PRINTING = "printing"
    DONE = "done"
    LOST = "lost"
    BURNT = "burnt"


class New(StrEnum):
    DRAFT = "draft"
    REVIEWED = "reviewed"
    PROOF = "proof"
    PRESSING = "pressing"
    PRINTED = "printed"
    LOST = "lost"


RENAMED = {
    "in_review": New.REVIEWED,
    "printing": New.PRESSING,
    "done": New.PRINTED,
    "burnt": New.LOST,
    "shelved": New.LOST,
}
MOVES: dict[Old, set[Old]] = {
    Old.DRAFT: {Old.IDLE, Old.IN_REVIEW},
    Old.IDLE: {Old.DRAFT, Old.IN_REVIEW},
    Old.IN_REVIEW: {Old.PROOF, Old.SHELVED, Old.PRINTING, Old.LOST},
    Old.PROOF: {Old.PRINTING, Old.LOST},
    Old.SHELVED: {Old.IN_REVIEW, Old.LOST},
    Old.PRINTING: {Old.IN_REVIEW, Old.DONE, Old.BURNT},
    **{status: set() for status in (Old.DONE, Old.LOST, Old.BURNT)},
}
OLD = Lifecycle(
    Old,
    MOVES,
    initial=Old.DRAFT,
    running=Old.PRINTING,
    success={Old.DONE},
    failure={Old.LOST, Old.BURNT},
    expires_to={Old.IN_REVIEW: Old.LOST, Old.SHELVED: Old.LOST},
)
NEW_TABLES: dict[str, Any] = {
    "statuses": New,
    "moves": {
        New.DRAFT: {New.REVIEWED},
        New.REVIEWED: {New.PRESSING, New.LOST},
        New.PROOF: {New.PRESSING, New.LOST},
        New.PRESSING: {New.REVIEWED, New.PRINTED, New.LOST},
        New.PRINTED: set(),
        New.LOST: set(),
    },
    "initial": New.DRAFT,
    "running": New.PRESSING,
    "success": {New.PRINTED},
    "failure": {New.LOST},
    "retired": {New.PROOF},
}
NEW = Lifecycle(**NEW_TABLES, renamed=RENAMED)
WAY = {New.DRAFT: New.REVIEWED, New.REVIEWED: New.PRESSING, New.PRESSING: New.PRINTED}


def shown(status: Any) -> Any:  # noqa: ANN401 - of the old lifecycle, or None
    """Return a past status as the new lifecycle shows it."""
    if status is None:
        return None
    if status is Old.IDLE:
        return PastStatus("idle")
    return RENAMED.get(status.value) or New(status.value)


async def fill(place: Any, random: Random) -> tuple[list[Job[Old]], list[Any]]:  # noqa: ANN401 - a location
    """Let jobs walk at random; return them, with all transitions."""
    async with JobEngine(place, lifecycle=OLD) as engine:
        for _ in range(JOBS):
            deadlines = {Old.IN_REVIEW: timedelta(days=1), Old.SHELVED: timedelta(days=2)}
            job = await engine.create(
                "hash", deadlines=deadlines if random.random() < 0.5 else None
            )
            for _ in range(random.randrange(8)):
                if ways := sorted(MOVES[job.status]):
                    way = random.choice(ways)
                    job = await engine.transition(job.job_id, way, expected_version=job.version)
            if job.status is Old.IDLE:
                await engine.transition(job.job_id, Old.IN_REVIEW)
        jobs = list((await engine.list_jobs()).jobs)
        histories = [await engine.history(job.job_id) for job in jobs]
        lines = sorted((line for lines in histories for line in lines), key=lambda e: e.sequence)
        return jobs, lines


async def check(place: Any, jobs: list[Job[Old]], lines: list[Any], random: Random) -> None:  # noqa: ANN401
    """Open it with the new lifecycle, compare everything, and let all jobs go on to their ends."""
    async with JobEngine(place, lifecycle=NEW) as engine:
        fields = [job.model_dump() | _change_of(job) for job in jobs]
        assert [job.model_dump() for job in (await engine.list_jobs()).jobs] == fields
        counts = Counter(shown(job.status) for job in jobs)
        assert (await engine.statistics()).jobs == {status: counts[status] for status in New}
        after = random.randrange(len(lines))
        async with aclosing(engine.watch(after=after)) as watch:
            told = [await anext(watch) for _ in lines[after:]]
        for line, before in zip(told, lines[after:], strict=True):
            names = {"from_status": shown(before.from_status), "to_status": shown(before.to_status)}
            assert line.model_dump() == before.model_dump() | names
        for job in jobs:
            await _go_on(engine, await engine.get(job.job_id))


def _change_of(job: Job[Old]) -> dict[str, Any]:
    """Return the fields that the new lifecycle changes."""
    status = shown(job.status)
    has_ended = NEW.is_final(status)
    return {
        "status": status,
        "deadline_at": None if has_ended else job.deadline_at,
        "deadlines": {shown(Old(each)).value: time for each, time in job.deadlines.items()},
        "outcome": job.outcome or ("failed" if has_ended else None),
    }


async def _remove_all(place: Any) -> None:  # noqa: ANN401 - a location
    """Let retention remove all jobs, each of which has ended."""
    async with JobEngine(place, lifecycle=NEW) as engine:
        await engine.core.ask(RemoveEnded(Retention(max_jobs=0), 2 * JOBS))
        assert await engine.count() == 0


async def _go_on(engine: JobEngine[New], job: Job[New]) -> None:
    assert [line.to_status for line in await engine.history(job.job_id)][-1] is job.status
    has_deadlines = job.deadline_at is not None
    if job.status is New.PROOF:
        job = await engine.transition(job.job_id, New.PRESSING, expected_version=job.version)
    while not NEW.is_final(job.status):
        with pytest.raises(InvalidStateTransitionError):
            await engine.transition(job.job_id, New.PROOF)
        job = await engine.transition(job.job_id, WAY[job.status], expected_version=job.version)
        assert (job.deadline_at is not None) <= (job.status is New.REVIEWED)
    assert not has_deadlines or job.deadline_at is None


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
async def test_jobs_go_on_in_their_new_statuses(tmp_path: Path, *, in_memory: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds(FULL_SEEDS, least=4):
        random = Random(seed)
        place: Any = MemoryStorage() if in_memory else tmp_path / f"{seed}.db"
        with repeatable(seed, "renamed"):
            jobs, lines = await fill(place, random)
            await check(place, jobs, lines, random)
            if not in_memory:
                assert check_file(place, lambda _done, _of: None).problems == 0
            await _remove_all(place)
        seen += Counter(str(job.status) for job in jobs)
        seen["past"] += sum(line.to_status is Old.IDLE for line in lines)
    report(f"renamed: {len(seeds(FULL_SEEDS, least=4))} seeds, {dict(seen)}")
    assert set(seen) == {status.value for status in Old if status is not Old.IDLE} | {"past"}


async def test_a_deadline_of_a_renamed_status_is_kept() -> None:
    storage = MemoryStorage()
    async with JobEngine(storage, lifecycle=OLD) as engine:
        job = await engine.create("hash", deadlines={Old.IN_REVIEW: timedelta(days=1)})
    async with JobEngine(storage, lifecycle=NEW) as again:
        reviewed = await again.transition(job.job_id, New.REVIEWED)
        assert reviewed.deadline_at == reviewed.updated_at + timedelta(days=1)


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
async def test_a_status_that_is_neither_renamed_nor_there_is_told_of(
    tmp_path: Path, *, in_memory: bool
) -> None:
    place: Any = MemoryStorage() if in_memory else tmp_path / "jobs.db"
    async with JobEngine(place, lifecycle=OLD) as engine:
        job = await engine.create("hash")
        await engine.transition(job.job_id, Old.IN_REVIEW)
    with pytest.raises(LifecycleError, match=r"'in_review'.*`renamed`.*`retired`"):
        async with JobEngine(place, lifecycle=Lifecycle(**NEW_TABLES)):
            pass
    async with JobEngine(place, lifecycle=NEW) as again:
        assert (await again.get(job.job_id)).status is New.REVIEWED
    async with JobEngine(place, lifecycle=Lifecycle(**NEW_TABLES)) as again:  # it is done for good
        assert (await again.get(job.job_id)).status is New.REVIEWED


class Photographed(SQLiteStorage):
    """Copies its files at each statement of the renaming, as a kill would leave them."""

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = super().connect(path)
        self.images: list[Path] = []

        def look(statement: str) -> None:
            if statement.startswith(("UPDATE", "COMMIT")):
                folder = path.parent / f"image {len(self.images)}"
                self.images.append(as_killed(path, folder))

        connection.set_trace_callback(look)
        return connection


def _names(path: Path) -> set[str]:
    """Return the names of all statuses in a file."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            name
            for (name,) in connection.execute(
                "SELECT status FROM jobs UNION SELECT to_status FROM transitions "
                "UNION SELECT from_status FROM transitions WHERE from_status IS NOT NULL"
            )
        }


async def _halves(tmp_path: Path, files: Iterable[int]) -> Counter[str]:
    """Rename, and return the numbers of images with all old names, all new names, and both."""
    seen: Counter[str] = Counter()
    for seed in files:
        path = tmp_path / str(seed) / "jobs.db"
        path.parent.mkdir()
        jobs, lines = await fill(path, Random(seed))
        storage = Photographed(path)
        async with JobEngine(storage, lifecycle=NEW):
            pass
        for image in storage.images:
            names = _names(image)
            old, new = names & RENAMED.keys(), names & {*RENAMED.values()} - {New.LOST}
            seen["both" if old and new else "old" if old else "new"] += 1
        if not seen["both"]:
            await check(Random(seed).choice(storage.images), jobs, lines, Random(seed))
        shutil.rmtree(path.parent)
    return seen


async def test_a_kill_while_statuses_are_renamed_leaves_all_or_nothing(tmp_path: Path) -> None:
    seen = await _halves(tmp_path, seeds(FULL_FILES))
    report(f"images of renaming: {dict(seen)}")
    assert seen["old"] > 2 * len(seeds(FULL_FILES))
    assert seen["both"] == 0


@pytest.mark.thorough
async def test_renaming_in_two_transactions_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug."""

    def rename(connection: sqlite3.Connection, renamed: Any, *rest: Any) -> None:  # noqa: ANN401 - as they come
        for old, new in renamed.items():
            whole(connection, {old: new}, *rest)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")

    whole = statuses.rename_statuses
    monkeypatch.setattr(database, "rename_statuses", rename)
    assert (await _halves(tmp_path, [1]))["both"] > 0
