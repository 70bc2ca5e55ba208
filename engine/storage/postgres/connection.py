"""Connections: how each one to a shared database is made."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import Connection

from engine.domain.exceptions import StorageError
from engine.storage.postgres.arrays import register
from engine.storage.postgres.errors import translated_errors
from engine.storage.postgres.location import Location

_OLDEST: Final = 150_000
_ENCODING: Final = "UTF8"


def connect(location: Location, prepare: int | None) -> Connection[Any]:
    """Return a new connection, in autocommit, that has executed no statement yet.

    `use_utc` is to be called next.

    Args:
        location: The database.
        prepare: After how many uses a statement is prepared; None for never.

    Raises:
        StorageError: There is none; or the server or the database can't serve.
    """
    with translated_errors(str(location)):
        connection = psycopg.connect(
            **location.parameters, autocommit=True, prepare_threshold=prepare
        )
        try:
            _check(connection, location)
            register(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def use_utc(connection: Connection[Any], location: Location) -> None:
    """Give times in UTC, also where a pooler has not passed the options on. May wait for ever.

    Raises:
        StorageError: The server's error. The connection is closed.
    """
    if connection.info.parameter_status("TimeZone") != "UTC":
        with translated_errors(str(location)):
            try:
                connection.execute("SET TIME ZONE 'UTC'")
            except BaseException:
                connection.close()
                raise


def _check(connection: Connection[Any], location: Location) -> None:
    """Check the server.

    Raises:
        StorageError: It is too old, or its database has another encoding.
    """
    info = connection.info
    if info.server_version < _OLDEST:
        raise StorageError(
            f"{location}: the server is PostgreSQL {info.server_version // 10_000}, "
            f"and the engine needs {_OLDEST // 10_000} or newer"
        )
    if (encoding := info.parameter_status("server_encoding")) != _ENCODING:
        raise StorageError(
            f"{location}: the encoding of the database is {encoding}, and the engine needs "
            f"{_ENCODING}: create it with ENCODING {_ENCODING!r}"
        )
