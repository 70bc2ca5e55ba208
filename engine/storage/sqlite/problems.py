"""Problems: the errors of SQLite and of the operating system become the engine's.

Only what may happen to a correct program is translated. The rest, such as a statement with too few
values, is a bug, and stays what it is.
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
    # Of a sound file each of our statements can be executed.
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


def storage_error(place: Path | str, error: sqlite3.Error) -> StorageError | None:
    """Return the engine's error for one of SQLite's; None for a bug."""
    # An extended code has the primary one in its lowest byte; an error of Python's own has none.
    kind = _KIND_OF.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if kind is None:
        return None
    told = kind(f"{place}: {error} ({error.sqlite_errorname})")
    told.__cause__ = error
    return told


@contextmanager
def told_of(place: Path | str) -> Iterator[None]:
    """Raise the engine's errors instead of SQLite's.

    Raises:
        StorageError: What SQLite said of the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        told = storage_error(place, error)
        if told is None:
            raise
        raise told from error
    except UnicodeError as error:  # a name or a message with a damaged text in it
        raise StorageDamagedError(f"{place}: {error}") from error


@contextmanager
def system_told_of(problem: str) -> Iterator[None]:
    """Raise the engine's error instead of the operating system's, which it gives as the reason.

    Raises:
        StorageError: The problem, and what the system said.
    """
    try:
        yield
    except EngineError:  # some are OSErrors, too
        raise
    except OSError as error:
        raise StorageError(f"{problem}: {error.strerror}") from error
