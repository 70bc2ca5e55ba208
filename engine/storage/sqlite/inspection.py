"""Inspection: an engine's file, for a program that is no engine; only a new one is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from engine.domain.exceptions import StorageDamagedError
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.storage.audit import AuditLine
from engine.storage.copying import Counts
from engine.storage.findings import Report
from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.connection import WritingConnection
from engine.storage.sqlite.copying import FileContents, FileDraft, make_file
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect, connect_reader, definitions, new_database
from engine.storage.sqlite.guest import GuestFile
from engine.storage.sqlite.notes import read_rules
from engine.storage.sqlite.ownership import Ownership
from engine.storage.sqlite.paths import check_usable
from engine.storage.sqlite.view import FileView
from engine.storage.sqlite.writing import write_told


class FilePlace:
    """An engine's file; an `engine.storage.inspection.Place`.

    Args:
        path: The file.

    Attributes:
        path: The same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def file(self) -> Path:
        """The path."""
        return self.path

    @contextmanager
    def reading(self) -> Iterator[FileView]:
        """Give one state of the file.

        Raises:
            StorageError: The file can't be read, or is no engine's, or its tables are not.
        """
        with self._connection() as connection:
            self._begin(connection)
            yield FileView(connection)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        check_is_file(self.path)
        with closing(connect_reader(self.path)) as connection, translate_sqlite_errors(self.path):
            yield connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Let a connection see one state of the file.

        Raises:
            StorageDamagedError: The tables are not an engine's.
        """
        connection.execute("BEGIN")
        check_tables(self.path, connection)

    def check(self, progress: ProgressCallback) -> Report:
        """Verify all of the file; see `check_file`."""
        check_is_file(self.path)
        return check_file(self.path, progress)

    @contextmanager
    def contents(self) -> Iterator[FileContents]:
        """Give all that the file has. No engine can open it meanwhile.

        Raises:
            StorageInUseError: An engine has it.
            StorageError: It can't be read, or is no engine's; or its lock can't be written.
        """
        with self._connection() as connection:
            ownership = Ownership(self.path)
            try:
                self._begin(connection)
                yield FileContents(self.path, connection)
            finally:
                ownership.release()

    def guest(self) -> GuestFile:
        """Return the storage of a guest."""
        return GuestFile(self.path)

    def change_rules(self, change: Callable[[Rules], Rules], lines: Sequence[AuditLine]) -> Rules:
        """Keep other rules of follow-ups. No engine can open the file meanwhile.

        Raises:
            StorageInUseError: An engine has it: use its `remove_rule`.
            StorageError: It can't be read or written, or is no engine's.
            CommitUnknownError: It failed during the commit.
        """
        with self._writing() as connection:
            before = Rules.read(StoredRules(text=read_rules(connection.sqlite)))
            after = change(before).text
            if after != before.text:
                connection.transaction(lambda writer: write_told(writer, "rules", after, lines))
        return before

    @contextmanager
    def _writing(self) -> Iterator[WritingConnection]:
        """Give a connection that writes to the file, which no engine has meanwhile.

        Raises:
            StorageInUseError: An engine has it.
            StorageError: It can't be read or written, or is no engine's.
        """
        with self._connection() as reader:
            self._begin(reader)
        ownership = Ownership(self.path)
        try:
            with translate_sqlite_errors(self.path):
                connection = WritingConnection(self.path, lambda path: connect(path, "rw"))
                try:
                    yield connection
                finally:
                    connection.close()
        finally:
            ownership.release()

    def make(self, write: Callable[[FileDraft], Counts]) -> Counts:
        """Make the file; see `make_file`."""
        return make_file(self.path, write)


def check_tables(path: Path, connection: sqlite3.Connection) -> None:
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
