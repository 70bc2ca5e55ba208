"""The memory storage by itself, as the owner calls it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.domain.record import JOB_ID, Change, Entry, Record, moved
from engine.domain.table import Table
from engine.storage import MemoryStorage

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC)
LATER = NOW + timedelta(microseconds=1)
FINAL = frozenset({"done", "lost"})


def _record(position: int) -> Record:
    job_id = f"job {position}"
    return (job_id, "new", "hash", "bc", NOW, NOW, None, None, 1, position, f"key {position}")


async def _commit(storage: MemoryStorage, table: Table, changes: list[Change]) -> None:
    """Do what the owner does with a batch: commit, then publish."""
    await storage.commit(changes)
    table.update({record[JOB_ID]: record for _, _, record in changes})


async def _filled() -> MemoryStorage:
    """Return a storage with five jobs; the second has ended."""
    storage = MemoryStorage()
    table = (await storage.open(FINAL)).table
    created: list[Change] = [(position, None, _record(position)) for position in range(1, 6)]
    await _commit(storage, table, created)
    running = moved(_record(2), "busy", LATER, None, None)
    await _commit(storage, table, [(6, "new", running)])
    await _commit(storage, table, [(7, "busy", moved(running, "done", LATER, "result", None))])
    return storage


async def test_a_new_storage_is_empty() -> None:
    storage = MemoryStorage()
    opened = await storage.open(FINAL)
    assert (opened.last_sequence, opened.last_position) == (0, 0)
    assert opened.table.find("job 1") is None
    assert await storage.count(None) == 0
    assert await storage.count("new") == 0
    assert list(await storage.page(None, 0, 10)) == []
    assert list(await storage.page("new", 0, 10)) == []
    assert await storage.history("job 1") is None


async def test_it_counts_by_status() -> None:
    storage = await _filled()
    statuses: list[Any] = [None, "new", "busy", "done", "lost", "unheard of"]
    assert [await storage.count(status) for status in statuses] == [5, 4, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("status", "after", "limit", "positions"),
    [
        (None, 0, 10, [1, 2, 3, 4, 5]),
        (None, 0, 2, [1, 2]),
        (None, 3, 10, [4, 5]),
        (None, 5, 10, []),
        (None, 2**63 - 1, 10, []),
        ("new", 0, 10, [1, 3, 4, 5]),
        ("new", 1, 2, [3, 4]),
        ("new", 5, 2, []),
        ("new", 2**63 - 1, 10, []),
        ("done", 0, 10, [2]),
        ("done", 2, 10, []),
        ("busy", 0, 10, []),
    ],
)
async def test_pages(status: str | None, after: int, limit: int, positions: list[int]) -> None:
    page = await (await _filled()).page(status, after, limit)
    assert list(page) == [f"job {position}" for position in positions]


async def test_histories() -> None:
    storage = await _filled()
    assert await storage.history("job 1") == [Entry(1, None, "new", NOW)]
    assert await storage.history("job 2") == [
        Entry(2, None, "new", NOW),
        Entry(6, "new", "busy", LATER),
        Entry(7, "busy", "done", LATER),
    ]
    assert await storage.history("job 9") is None


@pytest.mark.parametrize(
    "at",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=str,
)
async def test_a_time_is_kept_to_the_microsecond(at: datetime) -> None:
    storage = MemoryStorage()
    table = (await storage.open(FINAL)).table
    record = _record(1)
    await _commit(storage, table, [(1, None, (*record[:4], at, at, *record[6:]))])
    assert await storage.history("job 1") == [Entry(1, None, "new", at)]


async def test_it_can_be_opened_again() -> None:
    storage = await _filled()
    await storage.aclose()
    opened = await storage.open(FINAL)
    assert (opened.last_sequence, opened.last_position) == (7, 5)
    assert opened.table.find("job 1") == _record(1)
    by_key = opened.table.find_by_key("key 2")
    assert by_key is not None
    assert by_key[:2] == ("job 2", "done")
