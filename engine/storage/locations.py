"""Locations: the ways to name an engine's storage, and the storage at each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, cast

from engine.domain.exceptions import InvalidValueError, shown
from engine.storage.memory import MemoryStorage
from engine.storage.protocol import Storage
from engine.storage.sqlite import SQLiteStorage
from engine.storage.sqlite.paths import IN_MEMORY

Location: TypeAlias = Storage | str | PathLike[str]
"""A storage, the path of a file, or a URL: ``sqlite:///jobs.db``, ``postgresql://user@host/jobs``."""

POSTGRES_URLS: Final = ("postgresql://", "postgres://")
_STORAGE_CALLS: Final = sorted(name for name in vars(Storage) if not name.startswith("_"))


def storage_at(location: Location | None) -> Storage:
    """Return the storage at a location; for None, a new memory storage.

    Raises:
        InvalidValueError: It is neither a storage nor the location of one.
        RuntimeError: It is a PostgreSQL database, and the package `psycopg` is not installed.
    """
    if location is None or (isinstance(location, str) and location in IN_MEMORY):
        return MemoryStorage()
    if hasattr(location, "commit"):
        missing = [name for name in _STORAGE_CALLS if not hasattr(location, name)]
        if missing:
            raise InvalidValueError("storage", f"{shown(location)} has no {', '.join(missing)}")
        return cast("Storage", location)
    if isinstance(location, str) and location.startswith(POSTGRES_URLS):
        return _postgres_storage(location)
    return SQLiteStorage(location)  # which refuses anything else


class Kept(NamedTuple):
    """Where a storage keeps its jobs."""

    kind: str
    """``file``, ``memory`` or ``storage``: another one, such as a database."""
    file: Path | None = None
    """Its path, without links; None if it is no file."""


def kept_in(storage: Storage) -> Kept:
    """Return where a storage keeps its jobs."""
    if isinstance(storage, SQLiteStorage):
        return Kept("file", storage.path)
    return Kept("memory" if isinstance(storage, MemoryStorage) else "storage")


def _postgres_storage(url: str) -> Storage:
    with needing_psycopg():
        from engine.storage.postgres import PostgresStorage  # noqa: PLC0415
    return PostgresStorage(url)


@contextmanager
def needing_psycopg() -> Iterator[None]:
    """Say what to install if a package is missing.

    Raises:
        RuntimeError: It is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "a PostgreSQL database needs the package psycopg: pip install 'engine[postgres]'"
        ) from error
