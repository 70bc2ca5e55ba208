"""Blocking calls of threads, in memory and in a file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from engine import SyncJobEngine
from tests.bench.scenarios.awaited import HASH
from tests.bench.scenarios.figure import Figure, Stopwatch


def blocking_gets(threads: int, calls: int) -> Figure:
    with SyncJobEngine() as engine:
        job_id = engine.create(HASH).job_id
        return _by_threads(threads, calls, lambda: engine.get(job_id))


def blocking_creates(threads: int, jobs: int) -> Figure:
    with SyncJobEngine() as engine:
        return _by_threads(threads, jobs, lambda: engine.create(HASH))


def blocking_file_creates(threads: int, jobs: int) -> Figure:
    with (
        TemporaryDirectory(prefix="engine-bench-") as folder,
        SyncJobEngine(Path(folder, "jobs.db")) as engine,
    ):
        return _by_threads(threads, jobs, lambda: engine.create(HASH))


def _by_threads(threads: int, calls: int, call: Callable[[], object]) -> Figure:
    """Let each thread make an equal share of the calls, at least one."""
    share = max(1, calls // threads)

    def caller() -> None:
        for _ in range(share):
            call()

    callers = [threading.Thread(target=caller) for _ in range(threads)]
    watch = Stopwatch()
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    return watch.per(threads * share)
