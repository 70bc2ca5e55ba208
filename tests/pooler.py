"""pgbouncer in transaction mode, for tests; where the system has it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.postgres import free_port

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="this system has no pgbouncer")

_SETTINGS: Final = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
ignore_startup_parameters = options
"""


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """Start pgbouncer before the server in a URL; yield the URL through it."""
    parts = urlsplit(url)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="engine-pgbouncer-") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{parts.username}" ""\n')
        (folder / "settings").write_text(
            _SETTINGS.format(host=parts.hostname, port=parts.port, listen_port=port, folder=folder)
        )
        user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        if user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user)
        process = subprocess.Popen(
            [str(PROGRAM), "-q", folder / "settings"], user=user, stderr=subprocess.DEVNULL
        )
        try:
            _until_it_listens(port)
            yield urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
        finally:
            process.kill()
            process.wait()


def _until_it_listens(port: int) -> None:
    for _ in range(1000):
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        sleep(0.01)
    pytest.fail("pgbouncer does not listen")
