"""The peers from PyPI that run jobs without a server.

The figure is the number of empty jobs that are accepted, run, and have their result stored, a
second; `tests.bench.peers` describes the storage of each peer. Each is set up as its documentation
says, in its fastest way here:

- huey: `SqliteHuey(fsync=True)`, a consumer with two threads that looks again after a millisecond.
  All jobs are enqueued before it starts, which is faster than while it works; one thread, or four,
  is slower.
- DBOS: workflows that are started with `DBOS.start_workflow`, one after the other. Ten callers are
  no faster, nor is calling the workflow itself; a queue takes twice as long.
- dura: tasks are spawned before two workers start, as in its quick start. It needs Python 3.13.

Each measurement is a process of its own (``python -m tests.bench.working_peers huey 1000 FOLDER``).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from tests.bench.durable_floors import HASH
from tests.bench.measure import repeated
from tests.bench.peers import in_process, why_left_out
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, Stated
from tests.bench.working import engine_seconds
from tests.bench.working_floors import DONE

# The jobs of each peer: about as many as it runs in a few seconds.
NAMES = {"huey": 3_000, "dbos": 600, "dura": 1_000}

_WAY = "in bulks of 100"
_TIMES_THE_BEST = 12.0
_WORKERS = 2
_LOOK_AGAIN_SECONDS = 0.002


def rows(rounds: Rounds, jobs: int, scale: float, turns: int) -> list[Row]:
    """Measure the engine with so many jobs, and each installed peer in turns."""
    names = [name for name in NAMES if why_left_out(name) is None]
    for _ in repeated("jobs with a handler", turns, lambda: _table(rounds, names)):
        rounds.add("engine", jobs / engine_seconds(_WAY, "file", jobs))
        for name in names:
            its_jobs = max(10, int(NAMES[name] * scale))
            its_seconds = in_process("tests.bench.working_peers", name, str(its_jobs))
            rounds.add(name, its_jobs / its_seconds)
    return _table(rounds, names)


def _table(rounds: Rounds, names: Sequence[str]) -> list[Row]:
    best = max(names, key=lambda name: rounds[name].counts)
    return [_row(rounds, name, is_best=name == best) for name in names]


def _row(rounds: Rounds, name: str, *, is_best: bool) -> Row:
    work, peer = f"jobs run, {_WAY}", f"{name} {version(name)}"
    if is_best:
        return Row(work, rounds["engine"], f"{peer}, the best", rounds[name], _TIMES_THE_BEST)
    return Stated(work, rounds["engine"], peer, rounds[name])


def _huey(folder: Path, jobs: int) -> float:
    huey = import_module("huey").SqliteHuey(filename=str(folder / "huey.db"), fsync=True)
    ran: list[str] = []

    @huey.task()  # type: ignore[untyped-decorator]
    def work(input_hash: str) -> str:
        ran.append(input_hash)
        return DONE

    consumer = huey.create_consumer(
        workers=_WORKERS, periodic=False, initial_delay=0.001, backoff=1.0
    )
    start = time.perf_counter()
    results = [work(HASH) for _ in range(jobs)]
    consumer.start()
    _look_until(lambda: len(ran) == jobs and huey.result_count() == jobs)
    seconds = time.perf_counter() - start
    consumer.stop(graceful=True)
    _check([result.get() for result in results], jobs)
    return seconds


def _dbos(folder: Path, jobs: int) -> float:
    dbos = import_module("dbos").DBOS
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    dbos(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})

    @dbos.workflow()  # type: ignore[untyped-decorator]
    def work(_input_hash: str) -> str:
        return DONE

    dbos.launch()
    start = time.perf_counter()
    results = [dbos.start_workflow(work, HASH).get_result() for _ in range(jobs)]
    seconds = time.perf_counter() - start
    dbos.destroy()
    _check(results, jobs)
    return seconds


def _dura(folder: Path, jobs: int) -> float:
    dura = import_module("dura")
    engine = dura.DurableEngine(folder / "dura.db")
    ran: list[str] = []

    def work(_engine: object, task: object) -> str:
        ran.append(str(task))
        return DONE

    def stop() -> None:
        _look_until(
            lambda: len(ran) == jobs and engine.task_counts_by_state().get("completed") == jobs
        )
        ends.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGTERM)

    ends: list[float] = []
    start = time.perf_counter()
    ids = [engine.spawn_task(name="work", params={"input_hash": HASH}).task_id for _ in range(jobs)]
    threading.Thread(target=stop, daemon=True).start()
    dura.run_workers(engine, handlers={"work": work}, worker_count=_WORKERS)
    _check([engine.get_task(task_id).result for task_id in ids], jobs)
    return ends[0] - start


def _look_until(is_done: Callable[[], bool]) -> None:
    while not is_done():
        time.sleep(_LOOK_AGAIN_SECONDS)


def _check(results: list[object], jobs: int) -> None:
    """Check that every job has its result.

    Raises:
        RuntimeError: A job has none: the measurement is void.
    """
    if results != [DONE] * jobs:
        raise RuntimeError(f"{results.count(DONE)} of {jobs} jobs have their result")


def main(name: str, jobs: str, folder: str) -> None:
    """Measure one peer once, and print the seconds."""
    run = {"huey": _huey, "dbos": _dbos, "dura": _dura}[name]
    print(run(Path(folder), int(jobs)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
