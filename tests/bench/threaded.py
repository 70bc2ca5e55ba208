"""Blocking calls of threads."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from anyio.from_thread import start_blocking_portal

from engine import SyncJobEngine
from tests.bench.floors import PortalShim, ThreadActor
from tests.bench.measure import Best, Row, progress

_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


def rows(operations: int, turns: int) -> list[Row]:
    """Measure blocking calls; each side ``turns`` times, best of each."""
    best = Best()
    for turn in range(turns):
        progress(f"threads, turn {turn + 1} of {turns}")
        for threads in (1, 100):
            _all_sides(best, threads, operations)
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
    return table


def _all_sides(best: Best, threads: int, operations: int) -> None:
    actor = ThreadActor()
    _two_calls(best, f"(c) {threads}", actor, threads, operations)
    actor.stop()
    with SyncJobEngine() as engine:
        _two_calls(best, f"engine {threads}", engine, threads, operations)
    with start_blocking_portal() as portal:
        _two_calls(best, f"(d) {threads}", PortalShim(portal), threads, operations)


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
