"""The peers from PyPI that run jobs on a PostgreSQL server, each a member of a crew.

The figure is the number of empty jobs that are enqueued, run and ended a second. Each is set up as
its documentation says, in its fastest way here; an async handler runs beside the calls that enqueue
jobs, in bulks of 100 where there are bulks:

- pgqueuer: asyncpg and uvloop, as its own benchmark has it; one connection enqueues, another one
  works, ``batch_size=250``. It deletes a job that has ended, and keeps no result.
- procrastinate: ``PsycopgConnector`` with its pool of 10, ``batch_defer_async``, a worker with
  ``concurrency=10``; more are slower. It keeps the job and no result.
- oban: a pool of 10, ``enqueue_many``, a queue with a limit of 100. It needs Python 3.12.
- DBOS: ``DBOS.start_workflow`` by 20 threads, with a pool of 20; a queue, coroutines and calls of
  the workflow itself are slower. It has no bulks, and keeps the result.

``python -m tests.bench.postgres_peers NAME URL JOBS``; the database has the peer's tables.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import anyio

from tests.bench.crew import Stage
from tests.bench.durable_floors import HASH
from tests.bench.working import BATCH
from tests.bench.working_floors import DONE

_POOL: Final = 10
_THREADS: Final = 20

# The jobs of each peer: about as many as it runs in a second or two.
NAMES: Final = {"pgqueuer": 5_000, "procrastinate": 300, "oban": 1_000, "dbos": 600}

IS_OVER: Final = {
    "pgqueuer": "SELECT NOT EXISTS (SELECT FROM pgqueuer)",
    "procrastinate": (
        "SELECT NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
    ),
    "oban": "SELECT NOT EXISTS (SELECT FROM oban_jobs WHERE state IN ('available', 'executing'))",
    "dbos": "SELECT true",  # who starts a workflow waits for its result
}
"""Tells whether all jobs have ended."""
ENDED: Final = {
    "pgqueuer": "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
    "procrastinate": "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    "oban": "SELECT count(*) FROM oban_jobs WHERE state = 'completed'",
    "dbos": "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
}
"""Counts the jobs that have ended well."""


def _bulks(jobs: int) -> Iterable[int]:
    return range(0, jobs, BATCH)


async def _pgqueuer(url: str, jobs: int, stage: Stage) -> None:
    asyncpg, pgqueuer = import_module("asyncpg"), import_module("pgqueuer")
    driver = import_module("pgqueuer.db").AsyncpgDriver
    queries = import_module("pgqueuer.queries").Queries(driver(await asyncpg.connect(url)))
    worker = pgqueuer.PgQueuer(driver(await asyncpg.connect(url)))

    @worker.entrypoint("work")  # type: ignore[untyped-decorator]
    async def work(_job: object) -> None:
        pass

    working = asyncio.ensure_future(worker.qm.run(batch_size=250))
    await stage.begin()
    for _ in _bulks(jobs):
        await queries.enqueue(["work"] * BATCH, [HASH.encode()] * BATCH, [0] * BATCH)
    await stage.end()
    worker.shutdown.set()
    await working


async def _procrastinate(url: str, jobs: int, stage: Stage) -> None:
    procrastinate = import_module("procrastinate")
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=_POOL, max_size=_POOL)
    app = procrastinate.App(connector=connector)

    @app.task(name="work")  # type: ignore[untyped-decorator]
    async def work(input_hash: str) -> str:
        del input_hash
        return DONE

    async with app.open_async():
        worker = app.run_worker_async(concurrency=_POOL, install_signal_handlers=False)
        working = asyncio.ensure_future(worker)
        await stage.begin()
        for _ in _bulks(jobs):
            await work.batch_defer_async(*[{"input_hash": HASH}] * BATCH)
        await stage.end()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _oban(url: str, jobs: int, stage: Stage) -> None:
    oban, pools = import_module("oban"), import_module("psycopg_pool")

    @oban.worker(queue="default")
    class Work:
        new: Callable[[object], object]  # the decorator adds it

        async def process(self, _job: object) -> None:
            pass

    size = {"min_size": _POOL, "max_size": _POOL}
    async with (
        pools.AsyncConnectionPool(url, **size, open=False) as pool,
        oban.Oban(pool=pool, queues={"default": BATCH}) as queue,
    ):
        await stage.begin()
        for _ in _bulks(jobs):
            await queue.enqueue_many([Work.new({"input_hash": HASH}) for _ in range(BATCH)])
        await stage.end()


async def _dbos(url: str, jobs: int, stage: Stage) -> None:
    dbos = import_module("dbos").DBOS
    pool = {"sys_db_pool_size": _THREADS}
    dbos(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", **pool})

    @dbos.workflow()  # type: ignore[untyped-decorator]
    def work(_input_hash: str) -> str:
        return DONE

    def live(_number: int) -> object:
        return dbos.start_workflow(work, HASH).get_result()

    dbos.launch()
    with ThreadPoolExecutor(_THREADS) as threads:
        await stage.begin()
        results = await anyio.to_thread.run_sync(lambda: [*threads.map(live, range(jobs))])
        await stage.end()
    dbos.destroy()
    if results != [DONE] * jobs:
        raise RuntimeError(f"{results.count(DONE)} of {jobs} jobs have their result")


async def install(name: str, url: str) -> None:
    """Make the tables of a peer; DBOS makes its own."""
    if name == "pgqueuer":
        connection = await import_module("asyncpg").connect(url)
        driver = import_module("pgqueuer.db").AsyncpgDriver(connection)
        await import_module("pgqueuer.queries").Queries(driver).install()
        await connection.close()
    elif name == "procrastinate":
        procrastinate = import_module("procrastinate")
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
    elif name == "oban":
        async with import_module("psycopg_pool").AsyncConnectionPool(url, open=False) as pool:
            await import_module("oban.schema").install(pool)


_TASKS: Final[dict[str, Callable[[str, int, Stage], Awaitable[None]]]] = {
    "pgqueuer": _pgqueuer,
    "procrastinate": _procrastinate,
    "oban": _oban,
    "dbos": _dbos,
}


def main(name: str, url: str, jobs: str) -> None:
    """Measure a peer, as a member of a crew."""
    logging.disable(logging.WARNING)
    options: dict[str, Any] = {"use_uvloop": name == "pgqueuer"}
    anyio.run(_TASKS[name], url, int(jobs), Stage(), backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
