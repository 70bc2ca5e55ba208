"""The throughput in a file: what is damaged, and what a program sees that counts nothing."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from engine import JobStatus, NewJob, SQLiteStorage, StorageDamagedError, SyncJobEngine
from engine.storage.places import place_at
from engine.storage.sqlite import file, throughput
from engine.storage.throughput import MinuteCount, SeenThroughput
from engine.testing.values import NOON
from tests.unit.storage.sqlite.checking import FINAL, findings, sealed, written

DAY = timedelta(days=1)
OUTCOMES = {"awaiting_payment": None, "running": None, **FINAL}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with three jobs, one a minute, of which two are counted."""
    path, now = tmp_path / "jobs.db", NOON
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: now) as engine:
        for number in range(2):
            now = NOON + timedelta(minutes=number)
            engine.create()
    counted(path)
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: now) as engine:
        now = NOON + timedelta(minutes=2)
        engine.create()
    return path


def counted(path: Path) -> list[MinuteCount]:
    """Count all that a file has, and return the counts."""

    async def count() -> list[MinuteCount]:
        storage = SQLiteStorage(path)
        try:
            await storage.open(OUTCOMES, {}, "running")
            while await storage.count_throughput():
                pass
            return [*await storage.throughput(NOON - DAY)]
        finally:
            await storage.aclose()

    return anyio.run(count)


def seen(path: Path, since: datetime = NOON - DAY) -> SeenThroughput:
    with place_at(str(path)).reading() as view:
        return view.throughput(since)


def kept(path: Path) -> list[MinuteCount]:
    with closing(file.connect_reader(path)) as connection:
        return throughput.read_throughput(connection, NOON - DAY)


def born(minute: int) -> MinuteCount:
    return MinuteCount(NOON + timedelta(minutes=minute), "awaiting_payment", True, 1)  # noqa: FBT003


def test_a_program_sees_also_what_is_not_counted_and_counts_nothing(path: Path) -> None:
    before = path.read_bytes()
    assert seen(path) == SeenThroughput([born(0), born(1), born(2)], are_all=True)
    assert seen(path, NOON + timedelta(minutes=1, seconds=30)).counts == [born(2)]
    assert seen(path, NOON + DAY) == SeenThroughput([], are_all=True)
    assert kept(path) == [born(0), born(1)]
    assert path.read_bytes() == before
    assert counted(path) == seen(path).counts


def test_a_program_says_when_it_does_not_count_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "SEEN_TRANSITIONS", 2)
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: NOON) as engine:
        engine.create_many(NewJob() for _ in range(2))
    counts, are_all = seen(path)
    assert (sum(each.transitions for each in counts), are_all) == (4, False)


def test_a_file_without_jobs_has_no_throughput(tmp_path: Path) -> None:
    with SyncJobEngine(tmp_path / "jobs.db"):
        pass
    assert seen(tmp_path / "jobs.db") == SeenThroughput([], are_all=True)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE throughput SET transitions = transitions + 1", "its checksum is "),
        ("UPDATE throughput SET status = CAST(x'ff' AS TEXT)", "its checksum can't be computed"),
        ("UPDATE throughput SET minute = 'noon'", "its checksum is "),
    ],
)
def test_a_damaged_count_is_found_and_taken_for_none(
    path: Path, statement: str, problem: str
) -> None:
    written(path, f"{statement} WHERE minute LIKE '%12:00:00%'")
    [finding] = findings(path)
    assert finding.startswith("the throughput of ")
    assert problem in finding
    assert seen(path).counts == [born(1), born(2)]
    assert counted(path) == [born(1), born(2)]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("SET is_created = 2", "a value can't be: "),
        ("SET transitions = -1", "a value can't be: "),
        ("SET minute = '2026-03-01T12:00:01.000000Z'", "its time is not that of a minute"),
        ("SET minute = '2026-03-01T12:00:00.000000+01:00'", "a time is not in UTC"),
    ],
)
def test_counts_that_no_engine_writes_are_found(path: Path, statement: str, problem: str) -> None:
    written(path, f"UPDATE throughput {statement} WHERE minute LIKE '%12:00:00%'")
    sealed(path)
    [finding] = findings(path)
    assert problem in finding


@pytest.mark.parametrize(
    "damage",
    [
        "at = 'noon'",
        "at = '2026-03-01T12:9'",
        "at = x'00'",
        "at = 7",
        "to_status = x'00'",
        "to_status = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_damaged_transition_counts_nothing(path: Path, damage: str) -> None:
    """The third one is damaged, and another one follows."""
    written(path, f"UPDATE transitions SET {damage} WHERE sequence = 3")  # noqa: S608 - our own
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: NOON + timedelta(minutes=3)) as engine:
        engine.create()
    assert counted(path) == seen(path).counts == [born(0), born(1), born(3)]


@pytest.mark.parametrize("at", ["noon", "2036-03-01T12:02:00.000000Z"])
def test_a_damaged_newest_transition_leaves_the_counts_before_it(path: Path, at: str) -> None:
    written(path, f"UPDATE transitions SET at = '{at}' WHERE sequence = 3")  # noqa: S608 - our own
    assert counted(path) == seen(path).counts == [born(0), born(1)]


def test_times_that_are_all_damaged_count_nothing(path: Path) -> None:
    written(path, "UPDATE transitions SET at = 'noon'")
    with pytest.raises(StorageDamagedError, match="the times of the newest transitions are damag"):
        counted(path)
    assert seen(path).counts == kept(path) == [born(0), born(1)]


@pytest.mark.parametrize("change", ["UPDATE engine SET value = 1", "DELETE FROM engine"])
def test_a_damaged_note_lets_all_be_counted_anew(path: Path, change: str) -> None:
    written(path, f"{change} WHERE name = 'counted'")
    [finding] = findings(path)
    assert "counted" in finding
    assert seen(path) == SeenThroughput([born(0), born(1), born(2)], are_all=True)
    assert counted(path) == kept(path) == [born(0), born(1), born(2)]
    assert findings(path) == []


def test_a_damaged_note_keeps_no_job_from_being_removed(path: Path) -> None:
    written(path, "UPDATE engine SET value = 1 WHERE name = 'counted'")
    now = NOON + timedelta(minutes=3)
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: now) as engine:
        job = engine.list_jobs(newest_first=True).jobs[0]
        engine.start(job.job_id)
        engine.transition(job.job_id, JobStatus.FAILED)
        assert engine.prune(keep=0) == 1
    assert [*counted(path)][:3] == [born(0), born(1), born(2)]


def test_a_note_that_is_ahead_of_all_transitions_is_found(path: Path) -> None:
    written(path, "UPDATE engine SET value = 4 WHERE name = 'counted'")
    sealed(path)
    assert findings(path) == ["note counted: it is 4, and the newest transition is 3"]


def test_a_count_long_ago_is_found_by_few_reads(path: Path) -> None:
    reads = list[str]()
    later = NOON + 9 * DAY
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: NOON + timedelta(hours=1)) as engine:
        engine.create_many(NewJob() for _ in range(5_000))
    with SyncJobEngine(SQLiteStorage(path), clock=lambda: later) as engine:
        engine.create()
    with closing(file.connect(path, "rw")) as connection:
        connection.set_trace_callback(reads.append)
        throughput.count_some(connection)
    with closing(file.connect_reader(path)) as connection:
        [count] = throughput.read_throughput(connection, NOON)
    assert (count.minute, count.transitions) == (later, 1)
    assert len(reads) < 40


def test_nothing_is_written_where_nothing_is_new(path: Path) -> None:
    counted(path)
    before = path.read_bytes()
    counted(path)
    assert path.read_bytes() == before
    assert seen(path, datetime(2026, 1, 1, tzinfo=UTC)).counts == kept(path)
