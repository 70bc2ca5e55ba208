"""Waiting for callers of a listening socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from engine import SyncJobEngine
from engine.portal import readiness_of
from engine.portal.loop_thread import the_loop_thread

pytestmark = pytest.mark.anyio


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "here"))
        listener.listen()
        listener.settimeout(0)
        yield listener


async def _waits(listener: socket.socket) -> None:
    ready = readiness_of(listener)
    try:
        for _ in range(2):
            with anyio.move_on_after(0.02) as limit:
                await ready.wait()
            assert limit.cancelled_caught, "nobody has called"
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(listener.getsockname())
                with anyio.fail_after(30):
                    await ready.wait()
                listener.accept()[0].close()
    finally:
        ready.close()


async def test_a_caller_is_noticed(listener: socket.socket) -> None:
    await _waits(listener)


def test_a_caller_is_noticed_beside_the_loop_of_the_blocking_engines(
    listener: socket.socket,
) -> None:
    the_loop_thread().start(lambda: _waits(listener)).result(timeout=60)


def test_the_loop_of_the_blocking_engines_sleeps_on_its_bell(tmp_path: Path) -> None:
    """With a socket of its own on the loop, each call would take a fifth longer."""
    with SyncJobEngine(tmp_path / "jobs.db") as engine:
        engine.create("hash")
        loop = the_loop_thread()._loop  # noqa: SLF001 - no call shows it but by its time
        assert not loop._bell_selector.has_sockets  # noqa: SLF001
