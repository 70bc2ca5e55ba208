"""Files: an engine's file, opened for a command."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from engine.domain.exceptions import StorageDamagedError
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader, definitions, new_database
from engine.storage.sqlite.paths import check_usable


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that sees one state of the file.

    Raises:
        StorageError: The file can't be read, or is no engine's, or its tables are not.
    """
    check_is_file(path)
    with closing(connect_reader(path)) as connection, translate_sqlite_errors(path):
        connection.execute("BEGIN")
        _check_tables(path, connection)
        yield connection


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Check that the tables are an engine's: others may hold anything, and be endless views.

    Raises:
        StorageDamagedError: One is missing or different.
    """
    with new_database() as model:
        expected = definitions(model).items()
    for table, definition in expected - definitions(connection).items():
        if table.startswith("table "):
            raise StorageDamagedError(f"{path}: {table} is missing or has changed: {definition}")


def check_is_file(path: Path) -> None:
    """Check that a path is no other thing than a file before it is opened: a pipe would block.

    Raises:
        StorageError: It is another thing; or it has two names, and one has the newest jobs.
    """
    with translate_os_errors(f"{path} can't be read"):
        exists = path.exists()
    if exists:
        check_usable(path)
