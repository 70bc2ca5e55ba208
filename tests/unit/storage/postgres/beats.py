"""Engines that do nothing but beat, and what the database shows of them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
import psycopg

from engine.storage.postgres.beat_connection import Connect, connector
from engine.storage.postgres.heartbeat import Heartbeat
from engine.storage.postgres.location import Location

SECONDS: Final = 60
LEASE_SECONDS: Final = 1.0
LONG_LEASE_SECONDS: Final = 1000.0
SCHEMA: Final = "engine"
THREAD: Final = "engine heartbeat"


async def until(condition: Callable[[], object]) -> None:
    """Poll what a thread changes, which sends no event."""
    with anyio.fail_after(SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)


class Place:
    """A database, seen by a connection of its own that belongs to no engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[str] = []
        self._connection = psycopg.connect(url, autocommit=True)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def row(self, statement: str, *values: object) -> tuple[Any, ...]:
        [row] = self.rows(statement, *values)
        return row

    def listen(self) -> None:
        """Put the hints of all engines into ``heard``, with each statement that comes later."""
        [(channel,)] = self.rows(
            "SELECT 'engine_' || oid FROM pg_namespace WHERE nspname = %s", SCHEMA
        )
        self._connection.add_notify_handler(lambda hint: self.heard.append(hint.payload))
        self.rows(f"LISTEN {channel}")

    def join(self, lease_seconds: float = LEASE_SECONDS) -> int:
        engine_id: int = self.row("SELECT engine.join_1('an engine', %s)", lease_seconds)[0]
        return engine_id

    def beats(self, engine_id: int) -> int:
        beats: int = self.row("SELECT beats FROM engine.engines WHERE engine_id = %s", engine_id)[0]
        return beats

    def engines(self) -> dict[int, bool]:
        """Return whether each engine that has a row is dead."""
        return dict(self.rows("SELECT engine_id, dead FROM engine.engines"))

    async def until(self, statement: str, *values: object) -> None:
        """Wait until a statement returns true."""
        await until(lambda: self.row(statement, *values) == (True,))

    async def until_beaten(self, engine_id: int, times: int = 2) -> None:
        """Wait until an engine has looked for the others, and so has beaten twice, or more."""
        beats = self.beats(engine_id) + times
        await self.until(
            "SELECT beats >= %s FROM engine.engines WHERE engine_id = %s", beats, engine_id
        )

    async def until_gone(self, engine_id: int) -> None:
        """Wait until no job has an engine's number, and its row is gone."""
        await self.until(
            "SELECT NOT EXISTS (SELECT FROM engine.engines WHERE engine_id = %s)", engine_id
        )

    def add_jobs(self, holder: int, count: int) -> None:
        """Add jobs that attempts of an engine have."""
        self.rows(
            "INSERT INTO engine.jobs (position, job_id, revision, status, input_hash, created_at, "
            "updated_at, version, kind, token, holder, ready) SELECT n, n, 1, 'running', '', "
            "now(), now(), 1, 'default', 'token ' || n, %s, false FROM generate_series(1, %s) n",
            holder,
            count,
        )

    def close(self) -> None:
        self._connection.close()


def connect_to(url: str, lease_seconds: float = LEASE_SECONDS) -> Connect:
    location = Location(url)
    location.parameters["application_name"] = "a heartbeat"
    return connector(location, lease_seconds)


def heartbeat_at(
    url: str, lease_seconds: float = LEASE_SECONDS, connect: Connect | None = None
) -> Heartbeat:
    connect = connect or connect_to(url, lease_seconds)
    return Heartbeat("the test's database", SCHEMA, lease_seconds, connect)


class Beaten:
    """A started heartbeat and its engine's number."""

    def __init__(self, heartbeat: Heartbeat, engine_id: int) -> None:
        self.heartbeat = heartbeat
        self.engine_id = engine_id

    async def until_news(self) -> None:
        with anyio.fail_after(SECONDS):
            await self.heartbeat.news(2 * SECONDS)

    async def until_lost(self) -> None:
        """Wait for news until it raises; forget the other ones."""
        while True:
            await self.until_news()

    async def forget_news(self) -> None:
        await self.heartbeat.news(0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the thread do nothing, as a stopped process."""
        with self.heartbeat._bell._lock:  # noqa: SLF001 - as a fork holds it
            yield


@asynccontextmanager
async def beating(
    place: Place,
    url: str = "",
    lease_seconds: float = LEASE_SECONDS,
    connect: Connect | None = None,
    allowed_seconds: float = LONG_LEASE_SECONDS,
) -> AsyncIterator[Beaten]:
    """Let a new engine beat.

    Args:
        place: Its database.
        url: Another way to it.
        lease_seconds: It beats, and looks after the others, by this lease.
        connect: Opens its connections.
        allowed_seconds: How long the others let it be silent, if it is longer than their own lease.
            A second is too short for a thread that gets no turn on a busy machine.
    """
    heartbeat = heartbeat_at(url or place.url, lease_seconds, connect)
    engine_id = place.join(allowed_seconds)
    await heartbeat.start(engine_id)
    try:
        yield Beaten(heartbeat, engine_id)
    finally:
        await heartbeat.aclose()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def join_threads() -> None:
    """Check that every heartbeat's thread ends."""
    for thread in threads():
        thread.join(SECONDS)
        assert not thread.is_alive()
