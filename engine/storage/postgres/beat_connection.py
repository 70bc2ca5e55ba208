"""The heartbeat's connection: each call has a deadline, and other words wake the thread meanwhile.

A call on a `psycopg.Connection` blocks its thread until the answer comes, which may be never: a
proxy or a network can swallow it. So the calls are made by libpq's own functions that don't block,
which `psycopg.pq` has, and the thread waits in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Self, TypeAlias

import psycopg
from psycopg import pq

from engine.portal.doorbell import Doorbell
from engine.storage.postgres.location import Location

Row: TypeAlias = tuple[str | None, ...]
"""The columns of a row, as texts."""

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
Connect: TypeAlias = Callable[[], Connection]

_ANSWERED: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)
_LEAST_TIMEOUT_SECONDS: Final = 2  # for libpq, 0 is endless


class BeatConnection:
    """A connection for short statements, each with a deadline.

    Args:
        connect: Opens the connection.
        bell: Wakes the thread.
        call_seconds: How long a call may take.
        ends_at: Returns the time by which every call must have ended, in monotonic seconds.
    """

    def __init__(
        self,
        connect: Connect,
        bell: Doorbell,
        call_seconds: float,
        ends_at: Callable[[], float],
    ) -> None:
        self._connection = connect()
        self._libpq = self._connection.pgconn
        self._libpq.nonblocking = 1
        self._bell = bell
        self._call_seconds = call_seconds
        self._ends_at = ends_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, statement: str, *values: object) -> Sequence[Row]:
        """Execute a statement with ``$1`` and so on for the values, and return its rows.

        Raises:
            psycopg.Error: The server refused it, did not answer in time, or is gone. The
                connection is of no use any more.
        """
        until = time.monotonic() + self._call_seconds
        self._libpq.send_query_params(
            statement.encode(), [str(value).encode() for value in values] or None
        )
        while self._libpq.flush():
            self._wait(until, writing=True)
        rows: list[Row] = []
        while (result := self._result(until)) is not None:
            rows += _rows(result)
        return rows

    def _result(self, until: float) -> pq.abc.PGresult | None:
        while self._libpq.is_busy():
            self._wait(until)
        return self._libpq.get_result()

    def _wait(self, until: float, *, writing: bool = False) -> None:
        left = min(until, self._ends_at()) - time.monotonic()
        if left <= 0:
            raise psycopg.OperationalError("the server did not answer in time")
        self._bell.wait(left, self._libpq.socket, writing=writing)
        self._libpq.consume_input()

    def wait(self, seconds: float) -> None:
        """Wait for a time, for a notification or for the bell.

        Raises:
            psycopg.Error: The server has gone.
        """
        self._bell.wait(seconds, self._libpq.socket)
        self._libpq.consume_input()

    def take_notifications(self) -> Sequence[str]:
        """Return the payloads that have come since the last time, each once."""
        payloads = dict[str, None]()
        while (notification := self._libpq.notifies()) is not None:
            payloads[notification.extra.decode()] = None
        return list(payloads)


def _rows(result: pq.abc.PGresult) -> Sequence[Row]:
    if result.status not in _ANSWERED:
        raise psycopg.OperationalError(result.get_error_message("utf-8"))
    columns = range(result.nfields)
    return [
        tuple(_text(result.get_value(row, column)) for column in columns)
        for row in range(result.ntuples)
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def connector(location: Location, seconds: float) -> Connect:
    """Return a function that connects to a database, in autocommit.

    Args:
        location: The database.
        seconds: How long each of its hosts may take; libpq takes 2 s at least.
    """
    settings = {
        **location.parameters,
        "connect_timeout": max(round(seconds), _LEAST_TIMEOUT_SECONDS),
    }
    return lambda: psycopg.connect(**settings, autocommit=True)
