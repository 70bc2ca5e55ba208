"""Places: the place with jobs at a location, for programs that are no engines."""

from __future__ import annotations

from engine.storage.inspection import Place
from engine.storage.locations import POSTGRES_URLS, needing_psycopg
from engine.storage.sqlite.inspection import FilePlace
from engine.storage.sqlite.paths import path_at


def place_at(location: str) -> Place:
    """Return the place at a path or a URL, whether there is one or not.

    Raises:
        InvalidValueError: There can't be one.
        RuntimeError: It is a PostgreSQL database, and the package `psycopg` is not installed.
    """
    if location.startswith(POSTGRES_URLS):
        with needing_psycopg():
            from engine.storage.postgres.inspection import DatabasePlace  # noqa: PLC0415
        return DatabasePlace(location)
    return FilePlace(path_at(location))
