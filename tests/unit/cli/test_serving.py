"""`engine serve`: the dashboard of a place, from a terminal."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from engine import SyncJobEngine
from engine.cli.exits import Exit
from tests.systems import needs_interrupts
from tests.tries import thorough
from tests.unit.cli.programs import ENVIRONMENT, PROGRAM, SECONDS_AGAINST_HANGS, Run


@contextmanager
def serving(place: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Serve a place; give the program, its address and what it says of the token."""
    with subprocess.Popen(
        [*PROGRAM, "serve", place, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | environment,
    ) as program:
        try:
            assert program.stdout is not None
            where, token = program.stdout.readline(), program.stdout.readline()
            yield program, where.split()[-1], token.removeprefix("token: ").strip()
            program.send_signal(signal.SIGINT)
            assert program.wait(SECONDS_AGAINST_HANGS) == Exit.INTERRUPTED
        finally:
            program.kill()


@needs_interrupts
def test_the_engine_that_has_a_file_is_shown_and_acts(path: Path) -> None:
    with SyncJobEngine(path) as engine:
        job = engine.create("hash", start=True)
        with serving(str(path)) as (program, address, token), httpx.Client() as client:
            assert client.get(address).status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            assert job.job_id in client.get(f"{address}jobs").text
            given = {"job_id": job.job_id, "reason": "enough"}
            assert client.post(f"{address}api/cancel", json=given).json()["outcome"] == "cancelled"
            [*_, last] = engine.history(job.job_id)
            assert (last.by or "").endswith(f"pid {program.pid})")


@needs_interrupts
@pytest.mark.parametrize("where", [*thorough("path", "postgres_url")])
def test_a_place_without_an_engine_is_opened(where: str, request: pytest.FixtureRequest) -> None:
    place = str(request.getfixturevalue(where))
    with SyncJobEngine(place) as engine:
        job = engine.create("hash", start=True)
    with serving(place, ENGINE_TOKEN="of the whole night") as (program, address, source):  # noqa: S106
        assert source == "ENGINE_TOKEN of the environment"
        headers = {"Authorization": "Bearer of the whole night"}
        given = {"job_id": job.job_id}
        assert httpx.post(f"{address}api/cancel", json=given, headers=headers).status_code == 200
        if where == "path":
            assert program.stderr is not None
            assert program.stderr.readline().startswith("no engine has the file, and none can")
    with SyncJobEngine(place) as engine:
        assert engine.get(job.job_id).outcome == "cancelled"


def test_a_port_that_is_taken_is_told_of(path: Path, here: Run) -> None:
    with SyncJobEngine(path), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines, [note] = here("serve", path, "--port", port)
        assert (code, lines) == (Exit.UNREADABLE, [])
        assert note.startswith(f"engine: can't listen on 127.0.0.1:{port}: ")
    assert here("serve", path, "--port", 70_000)[0] == Exit.USAGE
    assert here("serve", path.with_name("none.db"), "--port", 0)[0] == Exit.UNREADABLE


def test_a_token_that_can_be_guessed_is_refused(
    path: Path, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_TOKEN", "short")
    with SyncJobEngine(path):
        code, lines, [note] = here("serve", path, "--port", 0)
    assert (code, lines) == (Exit.UNREADABLE, [])
    assert note == "engine: token must have 16 to 1,024 characters, not 5"


def test_what_to_install_is_told(path: Path, here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, [note] = here("serve", path)
    assert (code, note.split(": ")[-1]) == (2, "pip install 'engine[serve]'")
