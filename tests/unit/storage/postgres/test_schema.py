"""The tables of a shared database: made once, by whoever comes first."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from engine.domain.exceptions import StorageFormatError
from engine.storage.postgres.arrivals import ARRIVAL_COLUMNS
from engine.storage.postgres.columns import JOB_COLUMNS, type_of
from engine.storage.postgres.schema import prepare
from engine.storage.sqlite import rows
from tests.postgres import SCHEMA, Databases

_OF_POSTGRES_ALONE = {"revision", "holder", "ready", "due_at"}


def test_a_job_has_the_columns_that_it_has_in_a_file() -> None:
    assert {*JOB_COLUMNS} - _OF_POSTGRES_ALONE == {*rows.JOB_COLUMNS} - {"checksum"}


@pytest.mark.parametrize(
    ("table", "columns"), [("jobs", JOB_COLUMNS), ("arrivals", ("position", *ARRIVAL_COLUMNS))]
)
def test_a_table_of_jobs_has_the_columns_that_are_written(
    postgres_url: str, table: str, columns: Sequence[str]
) -> None:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            (f"engine.{table}",),
        ).fetchall()
    long = {"timestamptz": "timestamp with time zone"}
    expected = [(name, long.get(type_of(name), type_of(name))) for name in columns]
    assert sorted(found) == sorted(expected)


def test_any_number_may_make_the_schema_at_once(databases: Databases) -> None:
    url = databases.new(empty=True)

    def open_it(_: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            prepare(connection, 'odd "name"; --')

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_it, range(8)))
    with psycopg.connect(url) as connection:
        assert connection.execute('SELECT * FROM "odd ""name""; --".epochs').rowcount == 1
    databases.drop(url)


@pytest.mark.parametrize(
    ("note", "value"),
    [("protocols", "2 3"), ("protocols", ""), ("schema", "of somebody else")],
)
def test_a_schema_that_this_version_cannot_use_is_refused_and_left_as_it_is(
    postgres_url: str, note: str, value: str
) -> None:
    change = "UPDATE engine.notes SET value = %s WHERE name = %s"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(change, (value, note))
        before = connection.execute("SELECT * FROM engine.notes").fetchall()
        with pytest.raises(StorageFormatError):
            prepare(connection, SCHEMA)
        assert connection.execute("SELECT * FROM engine.notes").fetchall() == before


def test_a_schema_of_a_newer_version_is_used_if_it_has_the_functions(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE engine.notes SET value = '1000' WHERE name = 'schema'")
        connection.execute("UPDATE engine.notes SET value = '1 2' WHERE name = 'protocols'")
        prepare(connection, SCHEMA)


def test_a_schema_of_somebody_else_is_refused_and_left_as_it_is(databases: Databases) -> None:
    url = databases.new(empty=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA engine")
        connection.execute("CREATE TABLE engine.notes (note text)")
        with pytest.raises(StorageFormatError, match="no engine made the table"):
            prepare(connection, SCHEMA)
        found = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'engine'")
        assert found.rowcount == 1
    databases.drop(url)
