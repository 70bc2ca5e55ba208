"""Drivers: the connections of callers, each asked in one way.

A caller may have a connection of psycopg or asyncpg, or one of SQLAlchemy, or a session, over
either. They are told by the names of their classes, so nothing is imported that he doesn't have.
Their errors are passed on: it is his connection, and he knows what becomes of it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import scalar_row

from engine.domain.exceptions import InvalidValueError
from engine.storage.postgres.schema import quoted

_BLOCKING: Final = "a psycopg.Connection, or a Connection or Session of SQLAlchemy over psycopg"
_AWAITED: Final = (
    "a psycopg.AsyncConnection, a connection of asyncpg, or an AsyncConnection or AsyncSession of "
    "SQLAlchemy over either"
)

# SQLAlchemy begins a transaction with the first statement that it knows of.
_BEGINNING: Final = "SELECT 1"


class Answer(NamedTuple):
    """A function's answer."""

    text: str
    in_transaction: bool
    """Whether the connection is in a transaction now; otherwise the call was one of its own."""


class Driver(Protocol):
    """A connection whose calls block."""

    def call(self, schema: str, function: str, argument: str) -> Answer:
        """Call a function that takes a text and returns one."""
        ...


class AsyncDriver(Protocol):
    """A connection whose calls are awaited."""

    async def call(self, schema: str, function: str, argument: str) -> Answer:
        """Call a function that takes a text and returns one."""
        ...


def _call(schema: str, function: str, argument: str) -> str:
    return f"SELECT {quoted(schema)}.{function}(CAST({argument} AS text))"


class _Psycopg:
    def __init__(self, connection: object) -> None:
        self._connection = cast("psycopg.Connection[Any]", connection)

    def call(self, schema: str, function: str, argument: str) -> Answer:
        with psycopg.Cursor(self._connection, row_factory=scalar_row) as cursor:
            text = cursor.execute(_call(schema, function, "%s").encode(), (argument,)).fetchone()
        return Answer(str(text), _in_transaction(self._connection))


class _AsyncPsycopg:
    def __init__(self, connection: object) -> None:
        self._connection = cast("psycopg.AsyncConnection[Any]", connection)

    async def call(self, schema: str, function: str, argument: str) -> Answer:
        async with psycopg.AsyncCursor(self._connection, row_factory=scalar_row) as cursor:
            await cursor.execute(_call(schema, function, "%s").encode(), (argument,))
            text = await cursor.fetchone()
        return Answer(str(text), _in_transaction(self._connection))


def _in_transaction(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.info.transaction_status is not TransactionStatus.IDLE


class _Asyncpg:
    def __init__(self, connection: object) -> None:
        self._connection = cast("Any", connection)

    async def call(self, schema: str, function: str, argument: str) -> Answer:
        text = await self._connection.fetchval(_call(schema, function, "$1"), argument)
        return Answer(str(text), self._connection.is_in_transaction())


def driver_of(connection: object) -> Driver:
    """Return a caller's connection whose calls block.

    Raises:
        InvalidValueError: It is no such connection.
    """
    names = _class_names(connection)
    if "psycopg.Connection" in names:
        return _Psycopg(connection)
    given = cast("Any", connection)
    if names & {"sqlalchemy.Session", "sqlalchemy.scoped_session"}:
        return driver_of(given.connection())
    if "sqlalchemy.Connection" in names:
        driver = driver_of(given.connection.driver_connection)
        given.exec_driver_sql(_BEGINNING)
        return driver
    raise _refused(connection, _BLOCKING)


async def async_driver_of(connection: object) -> AsyncDriver:
    """Return a caller's connection whose calls are awaited.

    Raises:
        InvalidValueError: It is no such connection.
    """
    names = _class_names(connection)
    if "psycopg.AsyncConnection" in names:
        return _AsyncPsycopg(connection)
    if names & {"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}:
        return _Asyncpg(connection)
    given = cast("Any", connection)
    if names & {"sqlalchemy.AsyncSession", "sqlalchemy.async_scoped_session"}:
        return await async_driver_of(await given.connection())
    if "sqlalchemy.AsyncConnection" in names:
        driver = await async_driver_of((await given.get_raw_connection()).driver_connection)
        await given.exec_driver_sql(_BEGINNING)
        return driver
    raise _refused(connection, _AWAITED)


def _class_names(connection: object) -> frozenset[str]:
    return frozenset(
        f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(connection).__mro__
    )


def _refused(connection: object, accepted: str) -> InvalidValueError:
    given = type(connection)  # the connection itself may show a password
    return InvalidValueError(
        "connection", f"must be {accepted}, not a {given.__module__}.{given.__qualname__}"
    )
