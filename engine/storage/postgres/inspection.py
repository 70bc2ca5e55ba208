"""Inspection: a shared database, for a program that is no engine.

All that is read is of one moment, by one transaction that can't write. It needs the right to read
the tables, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel

from engine.domain.exceptions import (
    OutcomeUnknownError,
    StorageDamagedError,
    StorageError,
    StorageFormatError,
    StorageInUseError,
)
from engine.domain.follow_up_rules import Rules, StoredRules
from engine.storage.audit import AuditLine
from engine.storage.copying import Counts
from engine.storage.findings import Report
from engine.storage.postgres import reading
from engine.storage.postgres.batches import AUDIT_LINE
from engine.storage.postgres.check import check_database
from engine.storage.postgres.connection import connect, use_utc
from engine.storage.postgres.copying import (
    DatabaseContents,
    DatabaseDraft,
    check_unused,
    make_database,
    wait_for_other_place,
)
from engine.storage.postgres.errors import is_definite, translated_errors
from engine.storage.postgres.guest import GuestDatabase
from engine.storage.postgres.location import Location
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.rows import RowTypes
from engine.storage.postgres.schema import STEPS, try_lock_opening, version_of
from engine.storage.postgres.statements import Statements
from engine.storage.postgres.view import DatabaseView
from engine.storage.protocol import ProgressCallback


class DatabasePlace:
    """A shared database; an `engine.storage.inspection.Place`.

    Args:
        url: Its URL; see `engine.storage.postgres.PostgresStorage`.

    Raises:
        InvalidValueError: It is no URL of one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._location = Location(url)
        self._schema = self._location.schema
        self._statements = Statements(self._schema)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._location.name

    @property
    def file(self) -> None:
        """None: it is no file."""
        return

    @contextmanager
    def reading(self) -> Iterator[DatabaseView]:
        """Give one state of the database.

        Raises:
            StorageError: It can't be read, or no engine has made its tables.
        """
        with self._transaction() as cursor:
            self._check_version(cursor)
            yield DatabaseView(cursor, self._statements)

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        with (
            translated_values(str(self._location)),
            connect(self._location, None) as connection,
        ):
            use_utc(connection, self._location)
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Reader]:
        with self._connection() as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                # Not a query yet: the first one determines which state is seen.
                connection.execute("SET LOCAL statement_timeout = 0")
                yield connection.cursor(binary=True)

    def _check_version(self, cursor: Reader) -> None:
        """Check that engines of this version have made the tables.

        Raises:
            StorageFormatError: They are missing, or older ones.
        """
        version = version_of(cursor.connection, self._schema)
        if version < len(STEPS):
            has = f"version {version} of the tables" if version else "no tables of engines"
            raise StorageFormatError(
                f"{self.name}: the schema {self._schema} has {has}: open it with an engine first, "
                "which makes or migrates them"
            )

    def check(self, progress: ProgressCallback) -> Report:
        """Verify all of the database; see `check_database`."""
        with self._transaction() as cursor:
            self._check_version(cursor)
            return check_database(cursor, self._schema, progress)

    @contextmanager
    def contents(self) -> Iterator[DatabaseContents]:
        """Give all that the database has. No engine can open it meanwhile.

        Raises:
            StorageInUseError: An engine has it.
            StorageError: It can't be read, or no engine has made its tables; or it is a standby.
        """
        with self._transaction() as cursor:
            wait_for_other_place(cursor.connection)
            if not try_lock_opening(cursor.connection, self._schema):
                raise StorageInUseError(self.name, "which is opening it or copying it now")
            self._check_version(cursor)
            if reading.is_standby(cursor):
                raise StorageError(
                    f"{self.name} is a standby, which may lack the newest jobs: copy its primary"
                )
            check_unused(cursor, self._statements, self.name)
            yield DatabaseContents(self.name, cursor, self._statements)

    def guest(self) -> GuestDatabase:
        """Return the storage of a guest."""
        return GuestDatabase(self._url)

    def change_rules(self, change: Callable[[Rules], Rules], lines: Sequence[AuditLine]) -> Rules:
        """Keep other rules of follow-ups. Engines decide by them from their next transition on.

        Raises:
            StorageError: It can't be read or written, or no engine has made its tables.
            OutcomeUnknownError: The connection was lost before the answer.
        """
        with self._writing() as cursor:
            while True:
                before = Rules.read(StoredRules(*reading.one(cursor, self._statements.rules)))
                after = change(before).text
                # If there is no change, each engine would decide its next commit twice.
                if after == before.text or self._keep_rules(cursor, before.number, after, lines):
                    return before

    def _keep_rules(
        self, cursor: Reader, number: int, text: str, lines: Sequence[AuditLine]
    ) -> bool:
        """Keep other rules behind those of a number; return whether these were the newest."""
        types = RowTypes(*reading.one(cursor, self._statements.row_types))
        keep = f"SELECT {self._statements.schema}.keep_rules_1(%b, %b, %b)".encode()
        values = (number, text, AUDIT_LINE.rows(types.audit_line, lines))
        try:
            return bool(reading.one(cursor, keep, values)[0])
        except psycopg.OperationalError as error:
            if is_definite(error):
                raise
            raise OutcomeUnknownError(
                f"{self.name}: the connection was lost, and the rules may have changed, or not: "
                "look by `engine rules list`"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[Reader]:
        """Give a cursor, each of whose statements is a transaction."""
        with self._connection() as connection:
            cursor = connection.cursor(binary=True)
            self._check_version(cursor)
            yield cursor

    def make(self, write: Callable[[DatabaseDraft], Counts]) -> Counts:
        """Make the tables, if they are missing, and all that they have; see `make_database`."""
        with self._connection() as connection:
            return make_database(connection, self.name, self._schema, write)


@contextmanager
def translated_values(subject: str) -> Iterator[None]:
    """Raise the engine's errors instead of psycopg's, also for values that Python can't have.

    Raises:
        StorageDamagedError: A value is none of Python's, such as a time before the year 1.
        StorageError: psycopg's error; see `engine.storage.postgres.errors.storage_error`.
    """
    with translated_errors(subject):
        try:
            yield
        except psycopg.DataError as error:
            if error.sqlstate is not None:
                raise
            raise StorageDamagedError(f"{subject}: a value can't be: {error}") from error
