"""The table behaves like a dictionary."""

import gc
from datetime import UTC, datetime
from random import Random

import pytest

from engine.storage.record import Record
from engine.storage.table import Table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _record(number: int, version: int) -> Record:
    key = f"key {number}" if number % 3 == 0 else None
    job_id = f"job {number}"
    return Record(
        *(job_id, "new", "hash", "bc", NOW, NOW, number + 1, version), idempotency_key=key
    )


def _check(table: Table, expected: dict[str, Record], jobs: int) -> None:
    """Look for every possible job, by its id and by its key."""
    for number in range(jobs):
        job_id, key = f"job {number}", f"key {number}"
        record = expected.get(job_id)
        assert table.find(job_id) == record
        assert table.find_by_key(key) == (record if record and record.idempotency_key else None)
    assert table.find_all(expected) == list(expected.values())
    assert table.find_all([*expected, "unheard of"]) is None


def test_an_empty_table_finds_nothing() -> None:
    assert Table().find("job 1") is None
    assert Table().find_by_key("key 1") is None
    assert Table().find_all(["job 1"]) is None
    assert Table().find_all([]) == []


def test_a_table_is_made_of_records() -> None:
    records = [_record(number, 1) for number in range(3_000)]
    _check(Table(records), {record.job_id: record for record in records}, 3_010)


@pytest.mark.thorough
def test_a_table_is_as_good_as_a_dictionary() -> None:
    random, jobs = Random(1), 6_000
    table, expected = Table(), dict[str, Record]()
    for round_ in range(40):
        batch = {
            record.job_id: record
            for record in (_record(random.randrange(jobs), round_ + 1) for _ in range(500))
        }
        table.update(batch)
        expected |= batch
        for job_id in random.sample(sorted(expected), 50):
            table.remove(expected.pop(job_id))
        if round_ % 4 == 0:
            gc.collect()
        if round_ % 8 == 0:
            _check(table, expected, jobs)
    _check(table, expected, jobs)
