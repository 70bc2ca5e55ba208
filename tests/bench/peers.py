"""The peers from PyPI that keep jobs without a server.

The figure is the number of jobs accepted a second: the call has returned, and the job is on the
disk. Another one, of huey alone, is the number of results of finished tasks read a second; they
stay in its file. Each peer is set up as its documentation says:

- huey: `SqliteHuey(fsync=True)`, which is WAL and synchronous FULL. Calling a task enqueues it,
  which writes one row.
- DBOS on its default, SQLite with a rollback journal and synchronous FULL. `DBOSClient.enqueue`,
  for processes other than its workers, writes two rows: the workflow and its input. The size of the
  connection pool makes no difference, and `DBOS.enqueue_workflow`, in a process that also runs the
  queue, is as fast with one caller and slower with a hundred.

The engine writes two rows: the job and its first transition. No worker runs meanwhile. The callers
of the peers are threads, because both block. Each measurement is a process of its own (``python -m
tests.bench.peers huey 100 1000 FOLDER``), so threads and loggers end with it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from tests.bench.durable import (
    CALLERS,
    creates_name,
    new_folder,
    one_caller_rows,
    time_variants,
)
from tests.bench.durable_floors import HASH, RESULT
from tests.bench.ended import RECENT, recent_rows, time_recent
from tests.bench.inline import INLINE
from tests.bench.measure import Best, repeated
from tests.bench.rows import Row, Stated

_SECONDS = 300  # a measurement that takes longer has hung

# The calls of each peer: about as many as it takes in a second.
NAMES = {"huey": 3_000, "dbos": 400}

_HUEY_RESULTS: Final = "huey results"
_READS: Final = 10_000
_MANY: Final = 100


def why_left_out(name: str) -> str | None:
    """Return the reason why a peer can't be measured here; None if it can."""
    if name == "dura" and sys.version_info < (3, 13):
        return "it needs Python 3.13"
    if name == "oban" and sys.version_info < (3, 12):
        return "it needs Python 3.12"
    if find_spec(name) is None:
        return f"it is not installed (pip install {name})"
    old = sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42)
    if name == "dbos" and old:
        return "on Python 3.12 and newer it needs SQLite 3.42"  # for `unixepoch('subsec')`
    return None


def rows(best: Best, scale: float, turns: int) -> list[Row]:
    """Measure the engine and each installed peer in turns; scale 1 takes a second each."""
    names = [name for name in NAMES if why_left_out(name) is None]
    for _ in repeated("peers", turns, lambda: _table(best, names)):
        for callers in CALLERS:
            time_variants(best, callers, scale)
            for name in names:
                _measure(best, name, callers, max(callers, int(NAMES[name] * scale)))
        if "huey" in names:
            calls = max(10, int(_READS * scale))
            for inline in INLINE:
                time_recent(best, calls, inline=inline)
            _measure(best, _HUEY_RESULTS, 1, calls)
    return _table(best, names)


def _measure(best: Best, name: str, callers: int, calls: int) -> None:
    seconds = in_process("tests.bench.peers", name, str(callers), str(calls))
    best.add(f"{name} {callers}", calls, seconds)


def _table(best: Best, names: Sequence[str]) -> list[Row]:
    table = [row for name in names for row in _lone_rows(best, name)]
    table += [_stated(best, name, _MANY) for name in names]
    if "huey" in names:
        title, floor = f"result of huey {version('huey')}", best[f"{_HUEY_RESULTS} 1"]
        table += recent_rows("get of an ended job, 1 caller", best, title, floor)
    return table


def _lone_rows(best: Best, name: str) -> list[Row]:
    """Return the rows of one caller: huey's has a target."""
    if name != "huey":
        return [_stated(best, name, 1)]
    title = f"{name} {version(name)}"
    return one_caller_rows("jobs accepted, 1 caller", best, title, best[f"{name} 1"], 1.0)


def _stated(best: Best, name: str, callers: int) -> Row:
    work = f"jobs accepted, {callers} caller{'s' * (callers > 1)}"
    floor = best[f"{name} {callers}"]
    return Stated(work, best[creates_name(callers)], f"{name} {version(name)}", floor)


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


def _huey(folder: Path, _calls: int) -> Callable[[], object]:
    """Return a call that enqueues a huey task."""
    task = _new_huey(folder).task()(_work)
    return lambda: task(HASH)


def _huey_results(folder: Path, calls: int) -> Callable[[], object]:
    """Return a call that reads the result of a finished huey task, and leaves it there."""
    huey = _new_huey(folder)
    task = huey.task()(_work)
    ids = [task(HASH).id for _ in range(min(RECENT, calls))]
    for _ in ids:
        huey.execute(huey.dequeue())
    if [huey.result(task_id, preserve=True) for task_id in ids] != [RESULT] * len(ids):
        raise RuntimeError("not every task has its result")
    wanted = cycle(ids)
    return lambda: huey.result(next(wanted), preserve=True)


def _new_huey(folder: Path) -> Any:
    return import_module("huey").SqliteHuey(filename=str(folder / "huey.db"), fsync=True)


def _dbos(folder: Path, _calls: int) -> Callable[[], object]:
    """Return a call that enqueues a DBOS workflow."""
    dbos = import_module("dbos")
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    dbos.DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    dbos.DBOS.launch()  # makes the tables
    dbos.DBOS.register_queue("jobs")
    dbos.DBOS.destroy()
    client = dbos.DBOSClient(system_database_url=url)
    return lambda: client.enqueue({"workflow_name": "work", "queue_name": "jobs"}, HASH)


def _work(_input_hash: str) -> str:
    return RESULT


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
    call = {"huey": _huey, "dbos": _dbos, _HUEY_RESULTS: _huey_results}[name](
        Path(folder), int(jobs)
    )
    print(_by_threads(int(callers), int(jobs), call))


if __name__ == "__main__":
    main(*sys.argv[1:])
