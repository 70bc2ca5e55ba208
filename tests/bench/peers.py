"""The peers from PyPI that keep jobs without a server.

The figure is the number of jobs accepted a second: the call has returned, and the job is on the
disk. Each peer is set up as its documentation says:

- huey: `SqliteHuey(fsync=True)`, which is WAL and synchronous FULL. Calling a task enqueues it,
  which writes one row.
- DBOS on its default, SQLite with a rollback journal and synchronous FULL. `DBOSClient.enqueue`,
  for processes other than its workers, writes two rows: the workflow and its input. The size of the
  connection pool makes no difference, and `DBOS.enqueue_workflow`, in a process that also runs the
  queue, is as fast with one caller and slower with a hundred.

The engine writes two rows: the job and its first transition. No worker runs. The callers of the
peers are threads, because both block. Each measurement is a process of its own (``python -m
tests.bench.peers huey 100 1000 FOLDER``), so threads and loggers end with it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import anyio

from tests.bench.durable import CALLERS, jobs_of, new_folder, time_creates
from tests.bench.durable_floors import HASH
from tests.bench.measure import Best, Row, progress

_SECONDS = 300  # a measurement that takes longer has hung

# The calls of each peer: about as many as it takes in a second.
NAMES = {"huey": 3_000, "dbos": 400}


@dataclass(frozen=True)
class Compared(Row):
    """A figure beside a peer's, without a target."""

    target: float = 0.0

    def cells(self) -> tuple[str, ...]:
        return (*super().cells()[:4], "none", "")


def why_left_out(name: str) -> str | None:
    """Return the reason why a peer can't be measured here; None if it can."""
    if name == "dura" and sys.version_info < (3, 13):
        return "it needs Python 3.13"
    if find_spec(name) is None:
        return f"it is not installed (pip install {name})"
    old = sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42)
    if name == "dbos" and old:
        return "on Python 3.12 and newer it needs SQLite 3.42"  # for `unixepoch('subsec')`
    return None


def rows(best: Best, scale: float, turns: int) -> list[Row]:
    """Measure the engine and each installed peer in turns; scale 1 takes a second each."""
    names = [name for name in NAMES if why_left_out(name) is None]
    for turn in range(turns):
        for callers in CALLERS:
            progress(f"peers, {callers:,} callers, turn {turn + 1} of {turns}")
            anyio.run(time_creates, best, callers, jobs_of(callers, scale))
            for name in names:
                jobs = max(callers, int(NAMES[name] * scale))
                seconds = in_process("tests.bench.peers", name, str(callers), str(jobs))
                best.add(f"{name} {callers}", jobs, seconds)
    return [_row(best, name, callers) for callers in (1, 100) for name in names]


def _row(best: Best, name: str, callers: int) -> Row:
    return Compared(
        f"jobs accepted, {callers} caller{'s' * (callers > 1)}",
        best[f"engine {callers}"],
        f"{name} {version(name)}",
        best[f"{name} {callers}"],
    )


def in_process(module: str, *arguments: str) -> float:
    """Return the seconds of a peer, in a fresh process and a fresh folder."""
    with new_folder() as folder:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments, folder],
            stdout=subprocess.PIPE,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    return float(done.stdout.splitlines()[-1])


def _huey(folder: Path) -> Callable[[], object]:
    """Return a call that enqueues a huey task."""
    huey = import_module("huey").SqliteHuey(filename=str(folder / "huey.db"), fsync=True)
    task = huey.task()(_work)
    return lambda: task(HASH)


def _dbos(folder: Path) -> Callable[[], object]:
    """Return a call that enqueues a DBOS workflow."""
    dbos = import_module("dbos")
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    dbos.DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    dbos.DBOS.launch()  # makes the tables
    dbos.DBOS.register_queue("jobs")
    dbos.DBOS.destroy()
    client = dbos.DBOSClient(system_database_url=url)
    return lambda: client.enqueue({"workflow_name": "work", "queue_name": "jobs"}, HASH)


def _work(input_hash: str) -> None:
    """Do nothing; it never runs."""


def _by_threads(callers: int, jobs: int, call: Callable[[], object]) -> float:
    """Return the seconds of threads for all calls, none of which may fail."""
    accepted: list[object] = []
    waiting = iter(range(jobs))

    def caller() -> None:
        for _ in waiting:
            accepted.append(call())

    threads = [threading.Thread(target=caller, daemon=True) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if len(accepted) != jobs:
        raise RuntimeError(f"only {len(accepted)} of {jobs} were accepted")
    return seconds


def main(name: str, callers: str, jobs: str, folder: str) -> None:
    """Measure one peer once, and print the seconds."""
    call = {"huey": _huey, "dbos": _dbos}[name](Path(folder))
    print(_by_threads(int(callers), int(jobs), call))


if __name__ == "__main__":
    main(*sys.argv[1:])
