"""The PostgreSQL server of the benchmark: the tests' one, but as durable as it is for users.

``ENGINE_TEST_POSTGRES=URL`` takes another server, as it is set up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from tests.postgres import Databases, started_cluster

_DURABLE: Final = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")
_SHOWN: Final = (
    *("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers"),
    *("max_wal_size", "max_connections"),
)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# In the text of /proc/PID/stat behind the program's name; see proc(5).
_PARENT: Final = 1
_OWN_TICKS: Final = slice(11, 13)
_TICKS_OF_THE_ENDED: Final = slice(13, 15)


class Server:
    """A server with a new database for each measurement.

    Args:
        url: A database of the server.
        process: The server's process, if it is one of the benchmark.
    """

    def __init__(self, url: str, process: int | None = None) -> None:
        self._databases = Databases(url)
        self._process = process
        with psycopg.connect(url) as connection:
            shown = [f"{name} {_setting(connection, name)}" for name in _SHOWN]
            self.description = (
                f"PostgreSQL {_setting(connection, 'server_version')} with {', '.join(shown)}; "
                f"psycopg {psycopg.__version__}"
            )

    @contextmanager
    def database(self, *, empty: bool = False, like: str | None = None) -> Iterator[str]:
        """Make a database, and drop it at the end; see `tests.postgres.Databases.new`."""
        url = self._databases.new(empty=empty, like=like)
        try:
            yield url
        finally:
            self._databases.drop(url)

    def close(self) -> None:
        """Drop all databases."""
        self._databases.drop_all()

    @property
    def cpu_seconds(self) -> float | None:
        """What all processes of the server have taken; None if they can't be seen."""
        if self._process is None:
            return None
        own = _stat(Path(f"/proc/{self._process}/stat"))
        ticks = [*own[_OWN_TICKS], *own[_TICKS_OF_THE_ENDED]]
        for path in Path("/proc").glob("[0-9]*/stat"):
            its = _stat(path)
            if its and int(its[_PARENT]) == self._process:
                ticks += its[_OWN_TICKS]
        return sum(map(int, ticks)) / _TICKS


def _setting(connection: psycopg.Connection[tuple[str]], name: str) -> str:
    [value] = connection.execute(f"SHOW {name}".encode()).fetchone() or ("?",)
    return value


def _stat(path: Path) -> list[str]:
    """Return the fields of a process behind its name; none if it has ended."""
    try:
        return path.read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


@contextmanager
def running_server() -> Iterator[Server]:
    """Return the server of ``ENGINE_TEST_POSTGRES``, or a new one."""
    if url := os.environ.get("ENGINE_TEST_POSTGRES"):
        server = Server(url)
        try:
            yield server
        finally:
            server.close()
    else:
        with started_cluster(options=_DURABLE) as cluster:
            first_line, *_ = (cluster.data / "postmaster.pid").read_text().splitlines()
            yield Server(cluster.url, int(first_line))
