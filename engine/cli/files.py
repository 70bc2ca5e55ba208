"""Files: an engine's file, opened for a command."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.paths import check_usable


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that sees one state of the file.

    Raises:
        StorageError: The file can't be read, or is no engine's.
    """
    check_is_file(path)
    with closing(connect_reader(path)) as connection, translate_sqlite_errors(path):
        connection.execute("BEGIN")
        yield connection


def check_is_file(path: Path) -> None:
    """Check that a path is no other thing than a file before it is opened: a pipe would block.

    Raises:
        StorageError: It is another thing; or it has two names, and one has the newest jobs.
    """
    with translate_os_errors(f"{path} can't be read"):
        exists = path.exists()
    if exists:
        check_usable(path)
