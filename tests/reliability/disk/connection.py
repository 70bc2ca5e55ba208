"""Connections of apsw with the interface of the standard library's.

They have the part of `sqlite3.Connection` that a storage uses, and raise the errors of `sqlite3`.
SQLite does the same work for both, but only apsw lets a test replace the operating system.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import apsw

Row: TypeAlias = tuple[Any, ...]

# As in CPython's Modules/_sqlite/util.c.
_OPERATIONAL: Final = {
    apsw.SQLITE_ERROR,
    apsw.SQLITE_PERM,
    apsw.SQLITE_ABORT,
    apsw.SQLITE_BUSY,
    apsw.SQLITE_LOCKED,
    apsw.SQLITE_READONLY,
    apsw.SQLITE_INTERRUPT,
    apsw.SQLITE_IOERR,
    apsw.SQLITE_FULL,
    apsw.SQLITE_CANTOPEN,
    apsw.SQLITE_PROTOCOL,
    apsw.SQLITE_EMPTY,
    apsw.SQLITE_SCHEMA,
}
_KINDS: Final[dict[int, type[sqlite3.Error]]] = {
    **dict.fromkeys(_OPERATIONAL, sqlite3.OperationalError),
    apsw.SQLITE_CONSTRAINT: sqlite3.IntegrityError,
    apsw.SQLITE_MISMATCH: sqlite3.IntegrityError,
    apsw.SQLITE_TOOBIG: sqlite3.DataError,
    apsw.SQLITE_INTERNAL: sqlite3.InternalError,
    apsw.SQLITE_NOTFOUND: sqlite3.InternalError,
    apsw.SQLITE_MISUSE: sqlite3.InterfaceError,
    apsw.SQLITE_RANGE: sqlite3.InterfaceError,
}
_NAMES: Final = apsw.mapping_result_codes | apsw.mapping_extended_result_codes


class Cursor:
    """The rows of one statement."""

    def __init__(self, rows: Iterator[Row], changed_rows: int) -> None:
        self._rows = rows
        self.rowcount = changed_rows

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        with _errors_of_sqlite3():
            return next(self._rows)

    def fetchone(self) -> Row | None:
        return next(self, None)

    def fetchall(self) -> list[Row]:
        return list(self)

    def close(self) -> None:
        """End the statement, with rows left or not."""
        with _errors_of_sqlite3():
            if isinstance(self._rows, apsw.Cursor):
                self._rows.close()


class Connection:
    """One connection of apsw, for one thread at a time.

    Raises:
        sqlite3.Error: As the standard library would.
    """

    def __init__(self, path: Path, vfs: str) -> None:
        with _errors_of_sqlite3():
            self._apsw = apsw.Connection(str(path), vfs=vfs)
        self._rolled_back = False
        self._apsw.set_rollback_hook(self._note_rollback)

    @property
    def in_transaction(self) -> bool:
        with _errors_of_sqlite3():
            return self._apsw.in_transaction

    @property
    def total_changes(self) -> int:
        with _errors_of_sqlite3():
            return self._apsw.total_changes()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        before, was_in_transaction = self.total_changes, self.in_transaction
        self._rolled_back = False
        try:
            with _errors_of_sqlite3():
                rows: Iterator[Row] = self._apsw.execute(sql, tuple(parameters))
        except sqlite3.Error:
            if not (was_in_transaction and self._has_committed()):
                raise
            rows = iter(())
        return Cursor(rows, self._apsw.changes() if self.total_changes > before else 0)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        before = self.total_changes
        with _errors_of_sqlite3():
            self._apsw.executemany(sql, rows)
        return Cursor(iter(()), self.total_changes - before)

    def close(self) -> None:
        """Close it. The last one tries a checkpoint, and SQLite does not report its failure."""
        try:
            self._apsw.close()
        except apsw.Error as error:
            if not is_planted(error):
                raise

    def _note_rollback(self) -> None:
        self._rolled_back = True

    def _has_committed(self) -> bool:
        """Return whether the error came after the commit.

        SQLite makes a checkpoint after some commits, and ignores its failure. apsw does not: it
        raises the exception of its file, although the statement has succeeded. A hook reports a
        rollback; from 3.51 on, apsw calls it together with such an exception.
        """
        return not self.in_transaction and not self._rolled_back


def planted(code: int) -> Exception:
    """Return the exception that gives SQLite this (extended) error code."""
    error = apsw.exception_for(code)
    error.add_note("planted")
    return error


def is_planted(error: BaseException) -> bool:
    return "planted" in getattr(error, "__notes__", ())


def connected(path: Path, vfs: str) -> sqlite3.Connection:
    """Open a connection on one of apsw's file systems."""
    return cast(sqlite3.Connection, Connection(path, vfs))


@contextmanager
def _errors_of_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _as_sqlite3(error) from error


def _as_sqlite3(error: apsw.Error) -> sqlite3.Error:
    """Return the standard library's error for one of apsw's."""
    if not hasattr(error, "result"):  # apsw's own: wrong bindings, a closed connection
        return sqlite3.ProgrammingError(str(error))
    code: int = error.extendedresult  # type: ignore[attr-defined] # its stubs leave it out
    name = str(_NAMES[code])
    raised = _KINDS.get(error.result, sqlite3.DatabaseError)(str(error) or name)
    raised.sqlite_errorcode = code
    raised.sqlite_errorname = name
    return raised
