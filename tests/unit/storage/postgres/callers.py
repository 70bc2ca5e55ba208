"""Callers: connections of programs that create jobs in transactions of their own.

One for each kind of connection, all used in the same way, and with the facade that takes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg  # type: ignore[import-untyped]
import psycopg
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as awaited
from sqlalchemy.pool import NullPool

from engine import JobEngine, SyncJobEngine
from engine.storage.postgres import PostgresStorage
from engine.testing.facades import Engine, opened_engine


class Connected(NamedTuple):
    """A connection, and what is done with it; each call is awaited."""

    connection: Any
    execute: Callable[[str], Awaitable[object]]
    commit: Callable[[], Awaitable[object]]
    rollback: Callable[[], Awaitable[object]]


Connecting: TypeAlias = Callable[[str], AbstractAsyncContextManager[Connected]]


class Caller:
    """A program: a connection, whose first statement begins a transaction, and an engine.

    Args:
        engine: Each call is awaited.
        connected: The connection.
    """

    def __init__(self, engine: Engine, connected: Connected) -> None:
        self.engine = engine
        self.connection = connected.connection
        self.execute = connected.execute
        self.commit = connected.commit
        self.rollback = connected.rollback

    async def create(self, input_hash: str | None = None, **how: Any) -> Any:  # noqa: ANN401
        """Create a job in the transaction."""
        return await self.engine.create(input_hash, connection=self.connection, **how)


@asynccontextmanager
async def _psycopg(url: str) -> AsyncIterator[Connected]:
    connection = await psycopg.AsyncConnection.connect(url)
    execute = _encoded(connection.execute)
    try:
        yield Connected(connection, execute, connection.commit, connection.rollback)
    finally:
        await connection.close()


def _encoded(execute: Callable[[bytes], Any]) -> Callable[[str], Any]:
    return lambda statement: execute(statement.encode())


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Connected]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
    ):
        yield await _begun(connection)


@asynccontextmanager
async def _asyncpg_alone(url: str) -> AsyncIterator[Connected]:
    connection = await asyncpg.connect(url)
    try:
        yield await _begun(connection)
    finally:
        await connection.close()


async def _begun(connection: Any) -> Connected:  # noqa: ANN401
    async def end(how: str) -> None:
        await connection.execute(how)
        await connection.execute("BEGIN")

    await connection.execute("BEGIN")
    return Connected(connection, connection.execute, lambda: end("COMMIT"), lambda: end("ROLLBACK"))


def _awaited_engine(url: str, driver: str) -> awaited.AsyncEngine:
    return awaited.create_async_engine(_url(url, driver), poolclass=NullPool)


def _url(url: str, driver: str) -> str:
    return url.replace("postgresql", f"postgresql+{driver}", 1)


def _awaited_connection(driver: str) -> Connecting:
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Connected]:
        async with _awaited_engine(url, driver).connect() as connection:
            execute = connection.exec_driver_sql
            yield Connected(connection, execute, connection.commit, connection.rollback)

    return connect


def _awaited_session(driver: str) -> Connecting:
    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Connected]:
        async with awaited.AsyncSession(_awaited_engine(url, driver)) as session:
            yield Connected(session, _as_text(session.execute), session.commit, session.rollback)

    return connect


@asynccontextmanager
async def _awaited_scoped_session(url: str) -> AsyncIterator[Connected]:
    sessions = awaited.async_sessionmaker(_awaited_engine(url, "asyncpg"))
    session = awaited.async_scoped_session(sessions, scopefunc=lambda: 1)
    yield Connected(session, _as_text(session.execute), session.commit, session.rollback)
    await session.remove()


def _as_text(execute: Callable[..., Any]) -> Callable[[str], Any]:
    return lambda statement: execute(sqlalchemy.text(statement))


@asynccontextmanager
async def _blocking_psycopg(url: str) -> AsyncIterator[Connected]:
    connection = psycopg.connect(url)
    try:
        yield _as_awaited(connection, _encoded(connection.execute))
    finally:
        connection.close()


def _blocking_engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(_url(url, "psycopg"), poolclass=NullPool)


@asynccontextmanager
async def _blocking_connection(url: str) -> AsyncIterator[Connected]:
    with _blocking_engine(url).connect() as connection:
        yield _as_awaited(connection, connection.exec_driver_sql)


@asynccontextmanager
async def _blocking_session(url: str) -> AsyncIterator[Connected]:
    with orm.Session(_blocking_engine(url)) as session:
        yield _as_awaited(session, _as_text(session.execute))


@asynccontextmanager
async def _blocking_scoped_session(url: str) -> AsyncIterator[Connected]:
    session = orm.scoped_session(orm.sessionmaker(_blocking_engine(url)), scopefunc=lambda: 1)
    yield _as_awaited(session, _as_text(session.execute))
    session.remove()


def _as_awaited(connection: Any, execute: Callable[[str], object]) -> Connected:  # noqa: ANN401
    async def call(call: Callable[..., object], *arguments: str) -> object:
        return call(*arguments)

    return Connected(
        connection,
        partial(call, execute),
        partial(call, connection.commit),
        partial(call, connection.rollback),
    )


_CONNECT: Final[dict[str, Connecting]] = {
    "psycopg": _psycopg,
    "asyncpg": _asyncpg_alone,
    "asyncpg from a pool": _asyncpg,
    "AsyncConnection over asyncpg": _awaited_connection("asyncpg"),
    "AsyncConnection over psycopg": _awaited_connection("psycopg"),
    "AsyncSession over asyncpg": _awaited_session("asyncpg"),
    "AsyncSession over psycopg": _awaited_session("psycopg"),
    "async_scoped_session": _awaited_scoped_session,
    "blocking psycopg": _blocking_psycopg,
    "Connection": _blocking_connection,
    "Session": _blocking_session,
    "scoped_session": _blocking_scoped_session,
}
_BLOCKING: Final = {"blocking psycopg", "Connection", "Session", "scoped_session"}
KINDS: Final = tuple(_CONNECT)
"""The kinds of connections."""


def place(url: str, schema: str = "engine") -> PostgresStorage:
    """Return the storage of a program."""
    return PostgresStorage(url, schema=schema)


@asynccontextmanager
async def calling(
    kind: str,
    url: str,
    schema: str = "engine",
    **how: Any,  # noqa: ANN401 - of the engine
) -> AsyncIterator[Caller]:
    """Open an engine, and a connection of a kind."""
    facade = SyncJobEngine if kind in _BLOCKING else JobEngine
    async with (
        opened_engine(facade, place(url, schema), **how) as engine,
        connecting(kind, url, engine) as caller,
    ):
        yield caller


@asynccontextmanager
async def connecting(kind: str, url: str, engine: Engine) -> AsyncIterator[Caller]:
    """Open a connection of a kind beside an engine that is open."""
    async with _CONNECT[kind](url) as connected:
        yield Caller(engine, connected)
