"""Errors: SQLite's and the operating system's become the engine's.

Only errors that a correct program may meet are translated. Any other, such as a statement with too
few values, is a bug and stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.domain.exceptions import (
    EngineError,
    StorageDamagedError,
    StorageError,
    StorageFormatError,
    StorageFullError,
    StorageReadOnlyError,
)

_KIND_OF: Final[dict[int, type[StorageError]]] = {
    sqlite3.SQLITE_FULL: StorageFullError,
    sqlite3.SQLITE_READONLY: StorageReadOnlyError,
    sqlite3.SQLITE_CORRUPT: StorageDamagedError,
    sqlite3.SQLITE_NOTADB: StorageFormatError,
    # Every statement of ours can be executed on a sound file.
    sqlite3.SQLITE_ERROR: StorageDamagedError,
    sqlite3.SQLITE_BUSY: StorageError,
    sqlite3.SQLITE_LOCKED: StorageError,
    sqlite3.SQLITE_CANTOPEN: StorageError,
    sqlite3.SQLITE_IOERR: StorageError,
    sqlite3.SQLITE_PERM: StorageError,
    sqlite3.SQLITE_PROTOCOL: StorageError,
    sqlite3.SQLITE_NOLFS: StorageError,
    sqlite3.SQLITE_AUTH: StorageError,
}


def storage_error(subject: Path | str, error: sqlite3.Error) -> StorageError | None:
    """Return the engine's error for one of SQLite's; None for a bug.

    Args:
        subject: The file, or the operation on it; begins the message.
        error: SQLite's error.
    """
    # An extended code has the primary one in its lowest byte; an error of Python's own has none.
    kind = _KIND_OF.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if kind is None:
        return None
    translated = kind(f"{subject}: {error} ({error.sqlite_errorname})")
    translated.__cause__ = error
    return translated


class translate_sqlite_errors:  # noqa: N801 - used as a function: a generator takes five times as long
    """Raise the engine's errors instead of SQLite's.

    Raises:
        StorageError: SQLite's error, see `storage_error`.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: Path | str) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, sqlite3.Error):
            if (translated := storage_error(self._subject, error)) is not None:
                raise translated from error
        elif isinstance(error, UnicodeError):
            # SQLite's message, or a name in the schema, is damaged text.
            raise StorageDamagedError(f"{self._subject}: {error}") from error


@contextmanager
def translate_os_errors(problem: str) -> Iterator[None]:
    """Raise the engine's error instead of the operating system's.

    Raises:
        StorageError: The problem, and the system's reason for it.
    """
    try:
        yield
    except EngineError:  # some are OSErrors, too
        raise
    except OSError as error:
        raise StorageError(f"{problem}: {error.strerror}") from error
