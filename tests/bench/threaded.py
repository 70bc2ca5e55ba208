"""Blocking calls of threads, in memory and in a file."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal

from engine import JobEngine, SyncJobEngine
from tests.bench.durable import new_folder
from tests.bench.floors import PortalShim, ThreadActor
from tests.bench.measure import Best, by_callers, repeated
from tests.bench.rows import Row

_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
_THREADS = 16


def rows(operations: int, turns: int) -> list[Row]:
    """Measure blocking calls; each side ``turns`` times or more, best of each."""
    best = Best()
    for _ in repeated("threads", turns, lambda: _table(best)):
        for threads in (1, 100):
            _all_sides(best, threads, operations)
        _durable(best, operations // 2)
    return _table(best)


def _table(best: Best) -> list[Row]:
    table: list[Row] = []
    for threads, times_portal in ((1, 2.0), (100, 3.0)):
        for call in ("get", "create"):
            figure = best[f"engine {threads} {call}"]
            work = f"{call}, {threads} thread{'s' * (threads > 1)}"
            floor, shim = best[f"(c) {threads} {call}"], best[f"(d) {threads} {call}"]
            table += [
                Row(work, figure, "(c)", floor, 0.8),
                Row(work, figure, "(d)", shim, times_portal),
            ]
    awaited = best["durable awaited"]
    work, callers = f"create, durable, {_THREADS} threads", f"awaited, {_THREADS} callers"
    return [*table, Row(work, best["durable"], callers, awaited, 0.5)]


def _all_sides(best: Best, threads: int, operations: int) -> None:
    actor = ThreadActor()
    _two_calls(best, f"(c) {threads}", actor, threads, operations)
    actor.stop()
    with SyncJobEngine() as engine:
        _two_calls(best, f"engine {threads}", engine, threads, operations)
    with start_blocking_portal() as portal:
        _two_calls(best, f"(d) {threads}", PortalShim(portal), threads, operations)


def _durable(best: Best, jobs: int) -> None:
    """Create jobs in a file by threads, and by as many callers that await an engine."""
    hashes = [_HASH] * jobs
    with new_folder() as folder:
        best.add("durable awaited", jobs, anyio.run(_awaited_creates, folder, hashes))
    with new_folder() as folder, SyncJobEngine(folder / "jobs.db") as engine:
        best.add("durable", jobs, _by_threads(_THREADS, hashes, engine.create))


async def _awaited_creates(folder: Path, hashes: Sequence[str]) -> float:
    async with JobEngine(folder / "jobs.db") as engine:
        return await by_callers(_THREADS, hashes, engine.create)


def _two_calls(best: Best, name: str, jobs: Any, threads: int, operations: int) -> None:
    ids: list[str] = []
    seconds = _by_threads(
        threads, [_HASH] * operations, lambda text: ids.append(jobs.create(text).job_id)
    )
    best.add(f"{name} create", operations, seconds)
    best.add(f"{name} get", operations, _by_threads(threads, ids, jobs.get))


def _by_threads(threads: int, items: Sequence[str], call: Callable[[str], object]) -> float:
    """Return the seconds of threads for all items; each has an equal share."""

    def caller(share: Sequence[str]) -> None:
        for item in share:
            call(item)

    callers = [
        threading.Thread(target=caller, args=(items[number::threads],)) for number in range(threads)
    ]
    gc.collect()
    start = time.perf_counter()
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    return time.perf_counter() - start
