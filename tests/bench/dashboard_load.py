"""The cost of open dashboards to the engine that they show.

An engine in a file is as busy as a hundred callers make it. In each turn it is measured without and
with open pages, by turns. Their browser is a process of its own. The dashboard is served in the
engine's process, on its event loop, or by ``engine serve``, which asks the engine by its control
socket.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import fmean
from subprocess import PIPE
from typing import Any, Final, NamedTuple

import anyio
import uvicorn
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from engine import ORDER_LIFECYCLE, JobEngine, NewJob
from engine import OrderStatus as S
from engine.web.dashboard import Dashboard, token_access
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated

_TOKEN: Final = "the token of the benchmark"  # noqa: S105 - opens nothing
_CALLERS: Final = 100
_JOBS: Final = 10  # of each sort, that are there before
_SIDES: Final = ("without", "with", "without")
_LONGER: Final = 2.5  # so long is the time with open pages, for they are told of news rarely
_LINE_BYTES: Final = 4_096
_LEAST: Final = 0.95


class _Figures(NamedTuple):
    """What was measured."""

    rate: float
    """How many transitions a second took place."""
    cpu: float
    """The µs of CPU that this process has taken for each."""


class _Work:
    """Callers who carry jobs from their creation to their end, one after the other."""

    def __init__(self, engine: JobEngine[S]) -> None:
        self._engine = engine
        self.transitions = 0

    async def call(self) -> None:
        while True:
            job_id = (await self._engine.create(HASH)).job_id
            await self._engine.transition(job_id, S.RUNNING)
            await self._engine.transition(job_id, S.COMPLETED, result=RESULT)
            self.transitions += 3

    async def measure(self, seconds: float) -> _Figures:
        before, start, used = self.transitions, time.perf_counter(), time.process_time()
        await anyio.sleep(seconds)
        made = max(1, self.transitions - before)
        used = time.process_time() - used
        return _Figures(made / (time.perf_counter() - start), 1e6 * used / made)


Serve = Callable[[JobEngine[S], Path], AbstractAsyncContextManager[int]]
"""Serves the dashboard of an engine on a file; gives the port."""


@asynccontextmanager
async def _in_process(engine: JobEngine[S], _: Path) -> AsyncIterator[int]:
    app = Dashboard(engine, authorize=token_access(_TOKEN))
    config = uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: server.serve(sockets=[listener]))
            yield listener.getsockname()[1]
            server.should_exit = True


@asynccontextmanager
async def _by_command(_: JobEngine[S], path: Path) -> AsyncIterator[int]:
    command = [sys.executable, "-m", "engine", "serve", str(path), "--port", "0"]
    environment = {**os.environ, "ENGINE_TOKEN": _TOKEN}
    async with _process(command, env=environment) as (_command, lines):
        where = await lines.receive_until(b"/\n", _LINE_BYTES)
        yield int(where.rpartition(b":")[2])


SERVERS: Final[dict[str, Serve]] = {
    "in its process": _in_process,
    "by engine serve": _by_command,
}


@asynccontextmanager
async def _process(
    command: list[str], **how: Any
) -> AsyncIterator[tuple[Process, BufferedByteReceiveStream]]:
    """Run a program; kill it at the end."""
    async with await anyio.open_process(command, stdin=PIPE, stderr=None, **how) as process:
        assert process.stdout is not None
        try:
            yield process, BufferedByteReceiveStream(process.stdout)
        finally:
            process.kill()


class Load:
    """The table of open dashboards."""

    def __init__(self) -> None:
        self._rounds = Rounds()
        self._pages = 0

    def rows(self, pages: int, seconds: float, turns: int) -> list[Row]:
        """Measure an engine without and with so many open pages.

        Args:
            pages: How many are open.
            seconds: The time of each measurement of a turn without open pages.
            turns: How many turns there are at least.
        """
        self._pages = pages
        for turn in repeated("dashboards", turns, self._table):
            for way in SERVERS:
                progress(f"{pages} open dashboards, served {way}, turn {turn}")
                with new_folder() as folder:
                    anyio.run(self._measure, way, seconds, folder / "jobs.db")
        return self._table()

    async def _measure(self, way: str, seconds: float, path: Path) -> None:
        async with JobEngine(path, lifecycle=ORDER_LIFECYCLE) as engine:
            paths = await _paths(engine)
            work = _Work(engine)
            async with SERVERS[way](engine, path) as port, anyio.create_task_group() as callers:
                for _ in range(_CALLERS):
                    callers.start_soon(work.call)
                await anyio.sleep(seconds / 4)
                figures = {side: list[_Figures]() for side in _SIDES}
                for side in _SIDES:
                    if side == "without":
                        figures[side].append(await work.measure(seconds))
                        continue
                    async with self._open_pages(way, port, paths):
                        await anyio.sleep(_LONGER * seconds)  # all have been told once
                        figures[side].append(await work.measure(_LONGER * seconds))
                callers.cancel_scope.cancel()
        for side, its in figures.items():
            self._rounds.add(f"{way} {side} rate", fmean(each.rate for each in its))
            self._rounds.add(f"{way} {side} cpu", fmean(each.cpu for each in its))

    @asynccontextmanager
    async def _open_pages(self, way: str, port: int, paths: list[str]) -> AsyncIterator[None]:
        """Have pages open; add how many were read a second, and the ms of each."""
        command = [sys.executable, "-m", "tests.bench.open_pages", str(port), _TOKEN]
        async with _process([*command, str(self._pages), *paths]) as (process, lines):
            await lines.receive_until(b"\n", _LINE_BYTES)
            yield
            assert process.stdin is not None
            await process.stdin.send(b"\n")
            told = json.loads(await lines.receive_until(b"\n", _LINE_BYTES))
            for name, each in zip(("read", "ms"), told, strict=True):
                self._rounds.add(f"{way} {name}", each)

    def _table(self) -> list[Row]:
        return [row for way in SERVERS for row in self._rows(way)]

    def _rows(self, way: str) -> Iterable[Row]:
        work = f"{self._pages} open dashboards, served {way}"
        rate, floor = (self._rounds[f"{way} {side} rate"] for side in ("with", "without"))
        yield Row(f"transitions, {_CALLERS} callers, {work}", rate, "none open", floor, _LEAST)
        cpu, floor = (self._rounds[f"{way} {side} cpu"] for side in ("with", "without"))
        yield Stated(f"CPU of the engine for each, {work}", cpu, "none open", floor, unit="µs")

    def remarks(self) -> list[str]:
        """Return what the open pages have read."""
        return [
            f"- {self._pages} open dashboards, served {way}, read"
            f" {self._rounds[f'{way} read'].counts:.0f} pages a second, each in"
            f" {self._rounds[f'{way} ms'].counts:.1f} ms at the median"
            for way in SERVERS
        ]


async def _paths(engine: JobEngine[S]) -> list[str]:
    """Make jobs for every part of the pages; return a mix of pages that people leave open."""
    jobs = await engine.create_many([NewJob(HASH, kind="report", start=True)] * 3 * _JOBS)
    for job in jobs[:_JOBS]:
        await engine.transition(job.job_id, S.NEEDS_ATTENTION)
    for job in jobs[_JOBS : 2 * _JOBS]:
        await engine.transition(job.job_id, S.FAILED, error="there is no paper")
    shown = [f"/job?id={job.job_id}" for job in jobs]
    mix = (["/", "/jobs", "/", "/inbox", "/", "/kinds", "/", "/jobs", "/", each] for each in shown)
    return [path for ten in mix for path in ten]
