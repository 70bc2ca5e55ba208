"""Rows of a composite type come to the server as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from engine.domain.ids import new_job_id
from engine.storage.postgres.arrays import register
from engine.storage.postgres.batches import MOVED_JOB, TYPES
from engine.storage.postgres.columns import type_of
from engine.storage.postgres.rows import RowTypes, batch_rows
from engine.storage.postgres.statements import Statements
from engine.storage.record import MAX_NUMBER, Change, Record

_NOW = datetime(2026, 11, 29, 9, 30, 0, 123456, tzinfo=UTC)
_VALUES: dict[str, list[Any]] = {
    "bigint": [0, -1, MAX_NUMBER, -MAX_NUMBER],
    "text": ["", "a", "é\n😀", "x" * 10_000],
    "timestamptz": [_NOW, _NOW + timedelta(microseconds=1), datetime(1970, 1, 1, tzinfo=UTC)],
    "boolean": [True, False],
}


def _row(number: int) -> tuple[Any, ...]:
    """Return a row whose columns have, one here and one there, another value or none."""
    values = (_VALUES[type_of(column)] for column in MOVED_JOB.columns)
    return tuple(
        None if (number + place) % 5 == 4 else its[number * (place % 3) % len(its)]
        for place, its in enumerate(values)
    )


@pytest.mark.parametrize("count", [0, 1, 2, 11])
def test_rows_come_as_they_are(postgres_url: str, count: int) -> None:
    rows = [_row(number) for number in range(count)]
    with psycopg.connect(postgres_url) as connection:
        register(connection)
        connection.execute("SET TIME ZONE 'UTC'")
        cursor = connection.cursor(binary=True)
        types = RowTypes(*cursor.execute(Statements("engine").row_types).fetchone() or ())
        sent = MOVED_JOB.rows(types.moved_job, rows)
        found = cursor.execute("SELECT * FROM unnest(%b::engine.moved_job_1[])", (sent,))
        assert found.fetchall() == rows


def test_a_move_sends_nothing_that_it_cannot_change() -> None:
    long = "x" * 100_000
    record = Record(new_job_id(), "running", "hash", None, _NOW, _NOW, 7, 2, input=long)
    types = RowTypes(*range(1, 1 + len(TYPES)))

    def octets(revision: int) -> int:
        change = Change(1, "new", replace(record, revision=revision))
        return sum(map(len, batch_rows([change], [], "running", 1, (), types).arrays))

    assert octets(revision=0) > len(long)
    assert octets(revision=1) < 1_000 + 8 * len(MOVED_JOB.columns)
