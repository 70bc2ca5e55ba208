"""Row 43: the power fails at any moment; no follow-up is lost, and none is invented.

An engine works on a recorded disk. SQLite alone reads each image of that disk: every transition
into a status of a rule has its follow-up, and every follow-up has the transition that it follows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

import anyio
import pytest

from engine import ORDER_LIFECYCLE, EngineError, FollowUp, JobEngine, SQLiteStorage, Worker
from engine import OrderStatus as S
from engine.domain.follow_up_rule import follow_up_id
from engine.storage import Change
from engine.storage.audit import AuditLine
from tests.reliability.disk.recording import POWER_LOSSES, Recording
from tests.reliability.disk.stored import DATABASE
from tests.reliability.disk.vfs import Disk, recorded
from tests.tries import report, seeded, tries

pytestmark = pytest.mark.anyio

FULL_IMAGES = 5_000
"""On each backend."""
IMAGES_OF_A_RUN = 100
CALLERS = 4
ORDERS_OF_A_CALLER = 6
COMMITS_IN_THE_LOG = 10
SECONDS_AGAINST_HANGS = 60
ENDS = {S.FAILED, S.CANCELLED, S.EXPIRED}
RULES = [
    FollowUp("settle", to={S.COMPLETED}),
    FollowUp("refund", to=ENDS, started=True),
    FollowUp("close", to=ENDS, started=False),
    FollowUp("remind", to={S.AWAITING_INPUT}),
    FollowUp("thank", of={"settle", "refund"}, to={S.COMPLETED}),
    FollowUp("trace", of="thank", to={S.RUNNING}),
]


class RecordedStorage(SQLiteStorage):
    """The SQLite storage on a recorded disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.recording.folder / DATABASE)
        self._disk = disk

    def connect(self, path: Path) -> sqlite3.Connection:
        return self._disk.connect(path)

    async def commit_in_parts(self, lines: Sequence[AuditLine], *parts: Sequence[Change]) -> None:
        for part in parts:
            if part:
                await super().commit(part, lines)


class FollowUpsLater(RecordedStorage):
    """Its bug: it commits follow-ups after what they follow."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await self.commit_in_parts(lines, *parted(changes))


class FollowUpsFirst(RecordedStorage):
    """Its bug: it commits follow-ups before what they follow."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await self.commit_in_parts(lines, *reversed(parted(changes)))


def parted(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """Return the changes of orders, and those of follow-ups."""
    follow_ups = [each for each in changes if each.record.parent_id is not None]
    return [each for each in changes if each.record.parent_id is None], follow_ups


async def work(disk: Disk, kind: type[RecordedStorage], random: Random) -> None:
    """Sell orders on a recorded disk; let all follow-ups be done."""
    with anyio.fail_after(SECONDS_AGAINST_HANGS):
        async with (
            JobEngine(kind(disk), lifecycle=ORDER_LIFECYCLE) as engine,
            Worker(engine, dict.fromkeys([rule.kind for rule in RULES], follow)),
            anyio.create_task_group() as callers,
        ):
            for _ in range(CALLERS):
                callers.start_soon(sell, engine, Random(random.random()))


async def follow() -> str:
    return "done"


async def sell(engine: JobEngine[S], random: Random) -> None:
    """Take orders through all sorts of lives."""
    for _ in range(ORDERS_OF_A_CALLER):
        job_id = (await engine.create(kind="order", start=random.random() < 0.6)).job_id
        if random.random() < 0.3:
            with suppress(EngineError):
                await engine.transition(job_id, S.AWAITING_INPUT)
        async with anyio.create_task_group() as race:
            for _ in range(2):
                race.start_soon(end, engine, job_id, random.choice([S.COMPLETED, *sorted(ENDS)]))


async def end(engine: JobEngine[S], job_id: str, status: S) -> None:
    with suppress(EngineError):  # there is no such move, or the other one was first
        await engine.transition(job_id, status)


@dataclass
class Stored:
    """A job in an image, and the statuses it has had."""

    job_id: str
    kind: str
    parent_id: str | None
    parent_version: int | None
    statuses: list[str]


def read(folder: Path) -> dict[str, Stored]:
    """Return the jobs of an image by their ids; SQLite is the first to use it after the failure."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        statuses: dict[int, list[str]] = defaultdict(list)
        for position, status in connection.execute(
            "SELECT position, to_status FROM transitions ORDER BY sequence"
        ):
            statuses[position].append(status)
        rows = connection.execute(
            "SELECT position, job_id, coalesce(kind, 'default'), parent_id, parent_version"
            " FROM jobs"
        )
        return {
            job_id: Stored(job_id, kind, parent_id, version, statuses[position])
            for position, job_id, kind, parent_id, version in rows
        }


def owed(jobs: dict[str, Stored]) -> dict[str, str]:
    """Return the ids of the follow-ups that should be there, each with what it follows."""
    return {
        follow_up_id(job.job_id, version, rule.kind): f"{job.kind} at {version} ({status})"
        for job in jobs.values()
        for version, status in enumerate(job.statuses, start=1)
        for rule in RULES
        if follows(rule, job, version)
    }


def follows(rule: FollowUp[S], job: Stored, version: int) -> bool:
    """Return whether a job's transition has a follow-up by a rule, told from its history alone."""
    kinds = {rule.of} if isinstance(rule.of, str) else set(rule.of or ())
    is_about = job.parent_id is None if rule.of is None else job.kind in kinds
    has_started = S.RUNNING in job.statuses[:version]
    return (
        is_about
        and job.statuses[version - 1] in rule.to
        and (rule.started is None or rule.started is has_started)
    )


def problems_of(jobs: dict[str, Stored]) -> Iterator[str]:
    """Compare the follow-ups that are there with those that should be."""
    should_be = owed(jobs)
    there = {job.job_id: job for job in jobs.values() if job.parent_id is not None}
    for job_id in should_be.keys() - there.keys():
        yield f"lost: the follow-up of {should_be[job_id]}"
    for job_id in there.keys() - should_be.keys():
        yield f"invented: {there[job_id]}"
    for job_id in there.keys() & should_be.keys():
        parent = jobs[str(there[job_id].parent_id)]
        if not should_be[job_id].startswith(f"{parent.kind} at {there[job_id].parent_version} "):
            yield f"linked wrongly: {there[job_id]}"


async def lose_power(
    folder: Path, what: str, count: int, kind: type[RecordedStorage] = RecordedStorage
) -> tuple[list[str], Counter[str]]:
    """Run engines, and check so many images of their disks."""
    random, found, seen = seeded(f"{what}, {kind.__name__}"), list[str](), Counter[str]()
    while seen["images"] < count:
        run = folder / f"run {seen['runs']}"
        run.mkdir()
        seen["runs"] += 1
        async with JobEngine(run / DATABASE, lifecycle=ORDER_LIFECYCLE, follow_ups=RULES):
            pass
        few = patch("engine.storage.sqlite.database._LOG_COMMITS", COMMITS_IN_THE_LOG)
        with recorded(run) as disk, few:
            await work(disk, kind, random)
        image = folder / f"image {seen['runs']}"
        image.mkdir()
        for _ in range(min(IMAGES_OF_A_RUN, count - seen["images"])):
            found += check_image(image, disk.recording, random, seen)
    report(f"{what}, {kind.__name__}: {dict(sorted(seen.items()))}")
    return found, seen


def check_image(
    folder: Path, recording: Recording, random: Random, seen: Counter[str]
) -> Iterator[str]:
    """Check one image of a recording."""
    loss, moment = random.choice(POWER_LOSSES), random.randrange(recording.moment + 1)
    for path in folder.iterdir():
        path.unlink()
    for name, content in recording.image(moment, loss, random).items():
        (folder / name).write_bytes(content)
    jobs = read(folder)
    seen["images"] += 1
    seen["jobs"] += len(jobs)
    seen["follow-ups"] += sum(job.parent_id is not None for job in jobs.values())
    yield from (f"{problem} (moment {moment}, {loss.name})" for problem in problems_of(jobs))


async def test_no_follow_up_is_lost_or_invented_by_a_power_loss(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    count = tries(FULL_IMAGES)
    found, seen = await lose_power(tmp_path, f"follow-ups, {anyio_backend_name}", count)
    assert found[:5] == []
    assert seen["images"] == count
    assert seen["follow-ups"] > count * 5


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "problem"), [(FollowUpsLater, "lost"), (FollowUpsFirst, "invented")]
)
async def test_a_storage_that_commits_follow_ups_apart_is_caught(
    kind: type[RecordedStorage], problem: str, tmp_path: Path
) -> None:
    found, _ = await lose_power(tmp_path, "follow-ups", 100, kind)
    caught = sum(each.startswith(problem) for each in found)
    report(f"{problem}: {caught} times")
    assert caught > 0
