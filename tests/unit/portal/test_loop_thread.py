"""The event-loop thread of the blocking engines: threads wake it, and it can use sockets."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.abc
import pytest

from engine import JobStatus, MemoryStorage, SyncJobEngine
from engine.storage import Opened
from engine.storage.audit import AuditLine
from engine.storage.record import Change


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


class _Remote(MemoryStorage):
    """Sends a line to an echo server for every commit, and waits for the echo."""

    stream: anyio.abc.SocketStream

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.echoed = 0

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        self.stream = await anyio.connect_tcp("127.0.0.1", self._port)
        return await super().open(outcomes, renamed, running)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await self.stream.send(b"commit\n")
        received = b""
        while not received.endswith(b"\n"):
            received += await self.stream.receive()
        self.echoed += 1
        await super().commit(changes, lines)

    async def aclose(self) -> None:
        await self.stream.aclose()


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _life(engine: SyncJobEngine, number: int) -> str:
    job = engine.create(f"input {number}", timeout=30)
    engine.transition(job.job_id, JobStatus.RUNNING, timeout=30)
    return engine.transition(job.job_id, JobStatus.COMPLETED, timeout=30).job_id


def test_threads_are_answered_while_the_loop_has_sockets(port: int) -> None:
    storage = _Remote(port)
    with SyncJobEngine(storage) as engine, SyncJobEngine() as other, ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: _life(engine, number), range(40)))
        others = list(pool.map(lambda number: _life(other, number), range(40)))
        assert engine.count(JobStatus.COMPLETED, timeout=30) == len(set(ids)) == 40
        assert other.count(JobStatus.COMPLETED, timeout=30) == len(set(others)) == 40
    assert storage.echoed > 0
    with SyncJobEngine() as engine:  # and the loop sleeps on its bell again
        assert _life(engine, 0)


def test_timers_of_the_loop_go_on() -> None:
    class Slow(MemoryStorage):
        async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
            await anyio.sleep(0.001)
            await super().commit(changes, lines)

    with SyncJobEngine(Slow()) as engine:
        assert [engine.create(f"input {number}", timeout=30).version for number in range(10)]
