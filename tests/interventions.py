"""Interventions: what tests do to a shared database behind the backs of its engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from engine.storage.postgres import PostgresStorage
from engine.storage.postgres.batches import ORDER_LOCK
from tests.postgres import SCHEMA

_SECONDS_AGAINST_HANGS: Final = 60
ORDER: Final = f"{ORDER_LOCK}, 'jobs'::regclass::oid::integer"
"""The lock of the order of all transitions, as the functions of advisory locks take it."""
_WAITING: Final = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_BLOCKED: Final = (
    "FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


class Intruder:
    """A connection of somebody who is no engine.

    Args:
        url: The database.
    """

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(f"SET search_path = {SCHEMA}".encode())

    def close(self) -> None:
        self._connection.close()

    def value(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - of any type
        """Return the first value of a query."""
        row = self._connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def run(self, *statements: str) -> None:
        """Execute statements."""
        for statement in statements:
            self._connection.execute(statement.encode())

    def execute(self, statement: str, *values: object) -> None:
        """Execute a statement with values."""
        self._connection.execute(statement.encode(), values)

    def terminate(self, storage: PostgresStorage) -> None:
        """Let the server end the connection of a storage."""
        cursor = storage._database._cursor  # noqa: SLF001 - nobody else has to know it
        assert cursor is not None
        pid = cursor.connection.info.backend_pid
        self.value("SELECT pg_terminate_backend(%s)", pid)
        self.until(
            lambda: not self.value("SELECT count(pid) FROM pg_stat_activity WHERE pid = %s", pid)
        )

    def number_of(self, storage: PostgresStorage) -> int:
        """Return the number of a storage's engine; each has its own name."""
        number: int = self.value("SELECT engine_id FROM engines WHERE name = %s", storage.name)
        return number

    def declare_dead(self, storage: PostgresStorage) -> None:
        """Let the others take an engine for dead, and free its jobs."""
        number = self.number_of(storage)
        declare = "SELECT declare_1(engine_id, beats) FROM engines WHERE engine_id = %s"
        self.until(lambda: self.value(declare, number))  # it may beat meanwhile
        while self.value("SELECT free_1(%s, 2)", number):
            pass

    def until(self, is_so: Callable[[], Any]) -> None:
        """Wait until the server says so."""
        end = time.monotonic() + _SECONDS_AGAINST_HANGS
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.001)

    def until_blocking(self) -> None:
        """Wait until somebody waits for a lock that this transaction has."""
        self.until(lambda: self.value(f"SELECT count(*) {_BLOCKED}"))

    def terminate_blocked(self) -> None:
        """Let the server end the connection of who waits for a lock of this transaction."""
        self.value(f"SELECT pg_terminate_backend(pid) {_BLOCKED}")

    def take_order(self) -> None:
        """Take the order of all transitions: commits wait for it."""
        self.value(f"SELECT pg_advisory_lock({ORDER}) IS NULL")

    def give_order(self) -> None:
        """Let the commits go on."""
        self.value(f"SELECT pg_advisory_unlock({ORDER})")

    def until_commit_waits(self) -> None:
        """Wait until a commit waits for the order."""
        self.until(lambda: self.value(_WAITING))

    def terminate_waiting(self) -> None:
        """Let the server end the connection of a commit that waits for the order."""
        self.until_commit_waits()
        self.value(
            "SELECT pg_terminate_backend(pid) FROM pg_locks "
            "WHERE locktype = 'advisory' AND NOT granted"
        )

    def cut_waiting(self, storage: PostgresStorage) -> None:
        """Cut the connection of a storage whose commit waits for the order; the server goes on."""
        self.until_commit_waits()
        storage._database.cut()  # noqa: SLF001 - as the storage itself does, after some time

    @contextmanager
    def losing_answer(self, storage: PostgresStorage) -> Iterator[None]:
        """Lose the answer to the next commit of a storage, which is applied."""
        self.take_order()
        losing = threading.Thread(target=self._lose_answer, args=(storage,))
        losing.start()
        try:
            yield
        finally:
            losing.join()

    def _lose_answer(self, storage: PostgresStorage) -> None:
        batches = "SELECT number FROM batches WHERE engine_id = %s"
        engine = self.number_of(storage)
        number = self.value(batches, engine)
        self.cut_waiting(storage)
        self.give_order()
        self.until(lambda: self.value(batches, engine) == number + 1)


@contextmanager
def intruding(url: str) -> Iterator[Intruder]:
    """Connect to a database, and close the connection at the end."""
    intruder = Intruder(url)
    try:
        yield intruder
    finally:
        intruder.close()
