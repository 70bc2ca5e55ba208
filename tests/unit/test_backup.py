"""Backup: a copy of what was acknowledged, made while others write, and whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    CallTimeoutError,
    EngineClosedError,
    EngineNotStartedError,
    InvalidValueError,
    JobEngine,
    NewJob,
    StorageError,
    SyncJobEngine,
)
from tests.unit.both_engines import FACADES, finished, opened

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("form", [str, Path])
async def test_a_copy_is_an_engines_file(
    facade: type[Any], form: type[Any], tmp_path: Path
) -> None:
    async with opened(facade, tmp_path / "jobs.db") as engine:
        job, live = await finished(engine), await engine.create("hash", idempotency_key="key")
        await engine.backup(form(tmp_path / "copy.db"))
        await engine.create("later")
        history = await engine.history(job.job_id)
    async with opened(facade, tmp_path / "copy.db") as copy:
        assert (await copy.list_jobs()).jobs == (job, live)
        assert await copy.history(job.job_id) == history
        assert await copy.create("hash", idempotency_key="key") == live


async def test_a_copy_is_of_one_moment_though_others_write(tmp_path: Path) -> None:
    async with JobEngine(tmp_path / "jobs.db") as engine:
        await engine.create_many([NewJob("x" * 256) for _ in range(5_000)])
        acknowledged, copied = 0, anyio.Event()

        async def write() -> None:
            nonlocal acknowledged
            while not copied.is_set():
                await engine.create_many([NewJob("hash")] * 10)
                acknowledged += 10

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(write)
            while acknowledged < 100:
                await anyio.lowlevel.checkpoint()
            before = acknowledged
            await engine.backup(tmp_path / "copy.db")
            after = acknowledged
            copied.set()
    async with JobEngine(tmp_path / "copy.db") as copy:
        jobs = await copy.count() - 5_000
        assert jobs % 10 == 0
        assert before <= jobs <= after + 20
        assert (await copy.statistics()).last_sequence == 5_000 + jobs


@pytest.mark.parametrize("facade", FACADES)
async def test_what_is_there_is_never_written_over(facade: type[Any], tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    async with opened(facade, tmp_path / "jobs.db") as engine:
        for target, problem in {
            tmp_path / "copy.db": "is there already",
            tmp_path / "jobs.db": "is there already",
            tmp_path / "missing" / "copy.db": "unable to open",
        }.items():
            with pytest.raises(StorageError, match=problem):
                await engine.backup(target)
        for wrong in (None, "", 7, b"copy.db"):
            with pytest.raises(InvalidValueError, match="path"):
                await engine.backup(wrong)
        await engine.create("hash")
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_a_cancelled_backup_leaves_no_file(tmp_path: Path) -> None:
    async with JobEngine(tmp_path / "jobs.db") as engine:
        await engine.create_many([NewJob("x" * 256) for _ in range(10_000)])
        with anyio.move_on_after(0) as scope:
            await engine.backup(tmp_path / "copy.db")
        assert scope.cancelled_caught
        assert {path.name for path in tmp_path.iterdir()} == {
            f"jobs.db{suffix}" for suffix in ("", "-wal", "-shm", "-lock")
        }


def test_a_backup_that_takes_too_long_leaves_no_file(tmp_path: Path) -> None:
    with SyncJobEngine(tmp_path / "jobs.db") as engine:
        engine.create_many([NewJob("x" * 256) for _ in range(10_000)])
        with pytest.raises(CallTimeoutError):
            engine.backup(tmp_path / "copy.db", timeout=0)
        engine.backup(tmp_path / "copy.db", timeout=100)
    with SyncJobEngine(tmp_path / "copy.db") as copy:
        assert copy.count() == 10_000


async def test_only_a_started_engine_is_copied(tmp_path: Path) -> None:
    engine = JobEngine(tmp_path / "jobs.db")
    with pytest.raises(EngineNotStartedError):
        await engine.backup(tmp_path / "copy.db")
    async with engine:
        pass
    with pytest.raises(EngineClosedError):
        await engine.backup(tmp_path / "copy.db")
