"""Small commits and reads on the event loop: when, and that the owner sees no difference."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import (
    CommitCrashedError,
    InvalidValueError,
    JobEngine,
    JobStatus,
    NewJob,
    SQLiteStorage,
    StorageError,
)
from engine.storage.sqlite import pace
from engine.storage.sqlite.pace import SHORT_IN_A_ROW, SHORT_SECONDS, Pace
from engine.testing.facades import FACADES, opened_engine
from tests.inline import InlineStorage
from tests.unit.finishing import finished

SECONDS = 60
MANY = 40


class Traced(SQLiteStorage):
    """Records the thread of each COMMIT and of each SELECT."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.threads: dict[str, list[int]] = {"COMMIT": [], "SELECT": []}

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = super().connect(path)
        connection.set_trace_callback(self._trace)
        return connection

    def _trace(self, sql: str) -> None:
        if (threads := self.threads.get(sql.split(maxsplit=1)[0])) is not None:
            threads.append(threading.get_ident())


class TracedInline(Traced, InlineStorage):
    """Records the threads of inline calls."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.mark.anyio
async def test_small_commits_and_reads_are_made_on_the_event_loop(path: Path) -> None:
    storage = TracedInline(path)
    async with JobEngine(storage) as engine:
        job = await finished(engine, "r" * 100_000)  # too large to be kept among the recent ones
        for threads in storage.threads.values():
            threads.clear()
        await engine.create("hash")
        assert await engine.get(job.job_id) == job
        here = [threading.get_ident()]
        assert storage.threads == {"COMMIT": here, "SELECT": here}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "jobs", [[NewJob("hash")] * MANY, [NewJob("hash", input="i" * 200_000)]], ids=["many", "long"]
)
async def test_a_large_commit_is_made_on_the_storage_s_thread(
    jobs: list[NewJob], path: Path
) -> None:
    storage = TracedInline(path)
    async with JobEngine(storage) as engine:
        storage.threads["COMMIT"].clear()
        await engine.create_many(jobs)
        [thread] = storage.threads["COMMIT"]
        assert thread != threading.get_ident()


@pytest.mark.anyio
async def test_a_read_of_several_ended_jobs_is_made_on_the_storage_s_thread(path: Path) -> None:
    storage = TracedInline(path)
    async with JobEngine(storage) as engine:
        ids = [(await finished(engine, "r" * 100_000)).job_id for _ in range(2)]
        storage.threads["SELECT"].clear()
        await engine.get_many(ids)
        assert storage.threads["SELECT"]
        assert threading.get_ident() not in storage.threads["SELECT"]


class _Interrupting:
    """A lock that is interrupted before or after it is taken, or before it is given back."""

    def __init__(self, lock: Any, moment: str) -> None:  # noqa: ANN401 - has no public type
        self._lock = lock
        self._moment = moment

    def _interrupt(self, moment: str) -> None:
        if self._moment == moment:
            self._moment = ""
            raise SystemExit(moment)

    def acquire(self, *args: Any, **options: Any) -> bool:  # noqa: ANN401 - passed on
        is_inline = options.get("blocking") is False
        if is_inline:
            self._interrupt("before it is taken")
        taken: bool = self._lock.acquire(*args, **options)
        if is_inline:
            self._interrupt("after it is taken")
        return taken

    def release(self) -> None:
        self._interrupt("before it is given back")
        self._lock.release()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "moment", ["before it is taken", "after it is taken", "before it is given back"]
)
async def test_an_interrupt_in_the_way_of_an_inline_commit_leaves_the_file_to_its_thread(
    moment: str, path: Path
) -> None:
    class Interrupted(InlineStorage):
        def plant(self) -> None:
            lock: Any = self._thread._lock  # noqa: SLF001 - no signal comes there for sure
            lock._lock = _Interrupting(lock._lock, moment)  # noqa: SLF001 - as above

    storage = Interrupted(path)
    with anyio.fail_after(SECONDS), pytest.raises(SystemExit, match=moment):
        async with JobEngine(storage) as engine:
            await engine.create("hash")
            storage.plant()
            with pytest.raises(CommitCrashedError):
                await engine.create("hash")
            await anyio.sleep_forever()
    async with JobEngine(path) as engine:
        assert await engine.count() >= 1


@pytest.mark.anyio
async def test_while_the_thread_is_busy_a_small_commit_waits_for_it_and_the_loop_does_not(
    path: Path,
) -> None:
    begun, let_go = threading.Event(), threading.Event()

    class Checkpointing(TracedInline):
        def keep_busy(self) -> None:
            self._thread.start(self._wait)

        def _wait(self) -> None:
            begun.set()
            let_go.wait(SECONDS)

    storage = Checkpointing(path)
    async with JobEngine(storage) as engine, anyio.create_task_group() as tasks:
        storage.keep_busy()
        assert await anyio.to_thread.run_sync(begun.wait, SECONDS)
        storage.threads["COMMIT"].clear()
        tasks.start_soon(engine.create, "hash")
        await anyio.wait_all_tasks_blocked()  # the loop goes on
        assert storage.threads["COMMIT"] == []
        let_go.set()
    [thread] = storage.threads["COMMIT"]
    assert thread != threading.get_ident()


@pytest.mark.anyio
async def test_a_failed_inline_commit_is_refused_and_the_next_one_goes_on(path: Path) -> None:
    storage = InlineStorage(path)
    async with JobEngine(storage) as engine:
        job = await engine.create("hash")
        lock = storage.path.with_name("jobs.db-lock")
        moved = lock.rename(path.with_name("moved"))
        with pytest.raises(StorageError, match="was deleted or replaced"):
            await engine.create("hash")
        moved.rename(lock)
        assert (await engine.transition(job.job_id, JobStatus.RUNNING)).version == 2


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("wanted", [None, False, True])
@pytest.mark.anyio
async def test_by_default_only_a_blocking_engine_commits_inline(
    facade: type[Any],
    wanted: bool | None,  # noqa: FBT001 - a parameter
    path: Path,
) -> None:
    class Asked(SQLiteStorage):
        @property
        def is_inline(self) -> bool:
            return self._is_inline

    storage = Asked(path, inline_commits=wanted)
    async with opened_engine(facade, storage) as engine:
        await engine.create("hash")
        is_blocking = facade is not JobEngine
        assert storage.is_inline is (is_blocking if wanted is None else wanted)


def test_another_value_is_refused(path: Path) -> None:
    with pytest.raises(InvalidValueError, match="inline_commits"):
        SQLiteStorage(path, inline_commits="yes")  # type: ignore[arg-type]


def test_a_disk_is_fast_after_a_row_of_short_calls_and_slow_after_one_long_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times: Iterator[float] = iter(())

    def is_fast_after(seconds: float) -> bool:
        nonlocal times
        times = iter([5.0, 5.0 + seconds])
        assert disk.measure(str, 3) == "3"
        return disk.is_fast

    monkeypatch.setattr(pace, "perf_counter", lambda: next(times))
    disk = Pace()
    short, long = SHORT_SECONDS / 2, SHORT_SECONDS * 2
    row = [*[False] * (SHORT_IN_A_ROW - 1), True, True]
    for _ in range(2):
        assert [is_fast_after(short) for _ in row] == row
        assert not is_fast_after(long)
        assert not is_fast_after(short)
        assert not is_fast_after(long)  # so the row begins anew


def test_after_a_call_that_failed_the_next_ones_go_to_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "perf_counter", lambda: 5.0)
    disk = Pace()
    for _ in range(SHORT_IN_A_ROW):
        disk.measure(int, "1")
    was_fast = disk.is_fast
    with pytest.raises(ValueError, match="invalid"):
        disk.measure(int, "no number")
    assert (was_fast, disk.is_fast) == (True, False)
