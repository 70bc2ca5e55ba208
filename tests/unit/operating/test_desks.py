"""Desks at places that no engine has: what acts change, and that nothing else changes."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from engine import (
    ORDER_LIFECYCLE,
    PAID_JOB_LIFECYCLE,
    EngineUnavailableError,
    FollowUp,
    JobEngine,
    JobNotFoundError,
    JobStatus,
    SQLiteStorage,
    StorageDamagedError,
    StorageError,
    StorageInUseError,
    StorageReadOnlyError,
)
from engine import OrderStatus as S
from engine.control.client import SocketDesk
from engine.domain.lifecycle import description
from engine.operating import desk_at, this_operator
from engine.storage.places import place_at
from engine.storage.record import Record
from tests.tries import thorough
from tests.unit.claiming import claimed

pytestmark = pytest.mark.anyio

PAST = datetime(2026, 1, 1, tzinfo=UTC)
REFUND: FollowUp[Any] = FollowUp("refund", to={S.FAILED, S.CANCELLED})
_TABLES = ("jobs", "transitions", "epochs", "engine", "labels", "attempts")
_KEPT = ("jobs", "transitions", "epochs", "notes")


@pytest.fixture(params=["file", *thorough("database")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "jobs.db")
    return str(request.getfixturevalue("postgres_url"))


async def _make(place: str, **how: Any) -> list[str]:  # noqa: ANN401 - of an engine
    """Make jobs that the timers of an engine would change at once: late ones, and an orphan."""
    async with JobEngine(
        place, lifecycle=ORDER_LIFECYCLE, follow_ups=[REFUND], clock=lambda: PAST, **how
    ) as engine:
        hour = timedelta(hours=1)
        waiting = await engine.create("late", deadlines={S.AWAITING_PAYMENT: hour})
        stuck = await engine.create("stuck", start=True)
        await engine.transition(stuck.job_id, S.NEEDS_ATTENTION)
        at_work = await engine.create("at work", start=True)
        await claimed(engine)
        failed = await engine.create("failed", start=True, kind="report")
        await engine.transition(failed.job_id, S.FAILED, error="bad")
    return [waiting.job_id, stuck.job_id, at_work.job_id, failed.job_id]


def _contents(place: str) -> dict[str, list[Any]]:
    """Return all rows of a place."""
    if place.startswith("postgresql"):
        with psycopg.connect(place) as connection:
            return {
                table: connection.execute(f"TABLE engine.{table}".encode()).fetchall()
                for table in _KEPT
            }
    with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as reader:
        query = "SELECT * FROM {} ORDER BY 1, 2"
        return {table: reader.execute(query.format(table)).fetchall() for table in _TABLES}


async def _do(place: str, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    async with desk_at(place_at(place)) as desk:
        return await desk.do(operation, arguments, by="ann")


async def test_an_open_desk_that_is_asked_for_nothing_changes_nothing(place: str) -> None:
    [late, *_] = await _make(place)
    before = _contents(place)
    async with desk_at(place_at(place)) as desk:
        assert (await desk.do("job", {"job_id": late}))["job"]["status"] == "awaiting_payment"
        with pytest.raises(JobNotFoundError):
            await desk.do("cancel", {"job_id": "nobody"}, by="ann")
    assert _contents(place) == before


async def test_an_act_changes_its_job_alone(place: str) -> None:
    [_, stuck, *_] = await _make(place)
    before = _contents(place)
    retried = await _do(place, "retry", job_id=stuck, reason="the printer is back")
    assert retried["status"] == "running"
    after = _contents(place)
    changed = [row for row in after["jobs"] if row not in before["jobs"]]
    assert len(changed) == 1
    assert stuck in changed[0]
    [line] = [row for row in after["transitions"] if row not in before["transitions"]]
    assert {"ann", "the printer is back"} < {*line}
    assert after["epochs"] == before["epochs"]


async def test_acts_decide_by_the_lifecycle_and_the_rules_that_are_kept(place: str) -> None:
    [_, stuck, _, failed] = await _make(place)
    cancelled = await _do(place, "cancel", job_id=stuck, reason="gone")
    assert (cancelled["status"], cancelled["outcome"]) == ("cancelled", "cancelled")
    told = await _do(place, "job", job_id=stuck)
    assert [each["kind"] for each in told["follow_ups"]] == ["refund"]
    assert (await _do(place, "repeat", job_id=failed))["kind"] == "report"
    assert json.loads(description(ORDER_LIFECYCLE)) == await _do(place, "lifecycle")


async def test_a_cancelled_job_counts_as_cancelled_where_no_status_says_so(place: str) -> None:
    async with JobEngine(place) as engine:
        job = await engine.create("hash", start=True)
    done = await _do(place, "cancel", job_id=job.job_id)
    assert (done["status"], done["outcome"]) == ("failed", "cancelled")


async def test_renamed_statuses_are_not_renamed_again(place: str) -> None:
    async with JobEngine(place, lifecycle=_renaming()) as engine:
        await engine.create("hash")
    before = _contents(place)
    async with desk_at(place_at(place)):
        pass
    assert _contents(place) == before


def _renaming() -> Any:  # noqa: ANN401 - a lifecycle
    given = cast("Any", PAID_JOB_LIFECYCLE).__reduce__()[1]
    return type(PAID_JOB_LIFECYCLE)(
        given[0], given[1], **{**given[2], "renamed": {"old": JobStatus.RUNNING}}
    )


async def test_the_dead_attempts_of_a_file_are_there_for_the_next_engine(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    [_, _, at_work, _] = await _make(path)
    before = _job(path, at_work)
    await _do(path, "extend", job_id=at_work, deadline=60)
    after = _job(path, at_work)
    assert after.execution.token == before.execution.token is not None
    assert after.execution.deadlines != before.execution.deadlines
    async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
        assert engine.core.state.ready_queue.orphans.has(after)


def _job(path: str, job_id: str) -> Record:
    with place_at(path).reading() as view:
        job = view.job(job_id)
    assert job is not None
    return job


async def test_the_engine_that_has_a_file_is_asked_to_act(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path) as engine:
        job = await engine.create("hash")
        await _do(str(path), "start", job_id=job.job_id)
        assert (await engine.get(job.job_id)).status == JobStatus.RUNNING
        [line] = await engine.audit()
        assert (line.action, line.by) == ("start", f"{this_operator()} for ann")


async def test_a_file_whose_engine_does_not_listen_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path, control=False):
        with pytest.raises(StorageInUseError, match=f"process {os.getpid()}"):
            await _do(str(path), "statistics")


async def test_an_engine_that_has_too_many_clients_is_not_said_to_be_in_the_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.db"
    async with JobEngine(path), AsyncExitStack() as clients:
        for _ in range(16):
            client = await clients.enter_async_context(SocketDesk(path))
            await client.do("about", {})
        with pytest.raises(EngineUnavailableError, match="has 16 clients"):
            await _do(str(path), "statistics")


async def test_engines_of_a_database_go_on_beside_a_desk(postgres_url: str) -> None:
    async with JobEngine(postgres_url) as engine:
        job = await engine.create("hash")
        await _do(postgres_url, "start", job_id=job.job_id)
        assert (await engine.get(job.job_id)).status == JobStatus.RUNNING
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT * FROM engine.engines").fetchall() == []


async def test_a_copy_begins_an_epoch_before_it_is_written(tmp_path: Path) -> None:
    path, copy = tmp_path / "jobs.db", tmp_path / "copy.db"
    async with JobEngine(path) as engine:
        job = await engine.create("hash", start=True)
        await engine.backup(copy)
        await engine.cancel(job.job_id)
        [*_, newest] = await engine.history(job.job_id)
    await _do(str(copy), "cancel", job_id=job.job_id)
    assert len(_contents(str(copy))["epochs"]) == len(_contents(str(path))["epochs"]) + 1
    async with JobEngine(copy) as engine:
        history = await engine.history(job.job_id)
        assert newest.epoch not in {line.epoch for line in history[1:]}


async def test_a_place_without_a_lifecycle_that_can_be_used_says_so(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    storage = SQLiteStorage(path)
    await storage.open(PAID_JOB_LIFECYCLE.status_outcomes, {}, "running")
    try:
        await storage.keep_lifecycle("{}")
    finally:
        await storage.aclose()
    with pytest.raises(StorageDamagedError, match="lifecycle that is kept there can't be used"):
        await _do(str(path), "statistics")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM engine WHERE name = 'lifecycle'")
    with pytest.raises(StorageError, match="open it with an engine once"):
        await _do(str(path), "statistics")


async def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with pytest.raises(StorageError, match="No such file"):
        await _do(str(path), "statistics")
    assert [*tmp_path.iterdir()] == []
    storage = place_at(str(path)).guest()
    with pytest.raises(StorageError, match="No such file"):
        await storage.open({}, {}, "running")
    await storage.aclose()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write every file")
async def test_a_file_that_may_only_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await _make(str(path))
    path.chmod(0o400)
    with pytest.raises(StorageReadOnlyError):
        await _do(str(path), "statistics")


def test_the_operator_is_the_user_of_the_system() -> None:
    who = this_operator()
    assert who.startswith("user ")
    assert who.endswith(f" (uid {os.geteuid()}, pid {os.getpid()})")
