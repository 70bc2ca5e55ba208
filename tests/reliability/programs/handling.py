"""Run handlers in processes, on some kind of event loop.

Usage: python -m tests.reliability.programs.handling LOOP HOW PATH

LOOP is "asyncio", "trio", "uvloop", "policy" (uvloop's event loop policy), "run_forever",
"blocking" or "gevent" (a blocking engine under gevent's patches). HOW is "jobs" (run some jobs, one
of which takes too long, and print the outcomes), "serve" (`Worker.serve` over the file PATH),
"body" (the same without signal handling) or "unclosed" (leave all open at the end). The handler of
the last three is `works`, whose input is PATH with the suffix ".ids".
"""

# ruff: noqa: T201 - a test reads the output

from __future__ import annotations

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey  # type: ignore[import-untyped]

    monkey.patch_all()

import asyncio
from pathlib import Path
from typing import Any

import anyio

from engine import JobEngine, JobStatus, Processes, Retry, SyncJobEngine, Worker
from tests.reliability.programs.handlers import returns, works

ONCE = Retry(max_attempts=1)
SECONDS = 60


async def jobs() -> None:
    """Run some jobs of each kind."""
    rules = Processes(max_jobs=3)
    async with JobEngine() as engine, Worker(engine, returns, processes=rules, concurrency=2):
        created = [await engine.create("hash", input=number) for number in range(20)]
        for job in created:
            await engine.transition(job.job_id, JobStatus.RUNNING)
        print(*[await engine.result(job.job_id) for job in created])
    async with (
        JobEngine() as engine,
        Worker(engine, works, processes=True, retry=ONCE, max_deaths=1, timeout_seconds=0.2),
    ):
        job = await engine.create("hash", input="/dev/null")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        print((await engine.wait(job.job_id)).error)


def blocking_jobs() -> None:
    """Run the same jobs in a blocking engine."""
    rules = Processes(max_jobs=3)
    with SyncJobEngine() as engine, Worker(engine, returns, processes=rules, concurrency=2):
        created = [engine.create("hash", input=number) for number in range(20)]
        for job in created:
            engine.transition(job.job_id, JobStatus.RUNNING)
        print(*[engine.result(job.job_id, timeout=SECONDS) for job in created])
    with (
        SyncJobEngine() as engine,
        Worker(engine, works, processes=True, retry=ONCE, max_deaths=1, timeout_seconds=0.2),
    ):
        job = engine.create("hash", input="/dev/null")
        engine.transition(job.job_id, JobStatus.RUNNING)
        print(engine.wait(job.job_id, timeout=SECONDS).error)


async def work(path: Path, how: str) -> None:
    """Run a handler that sleeps, until a signal to stop."""
    async with (
        JobEngine(path) as engine,
        Worker(engine, works, processes=True, concurrency=3, grace_seconds=0.2) as worker,
    ):
        for _ in range(3):
            job = await engine.create("hash", input=f"{path}.ids")
            await engine.transition(job.job_id, JobStatus.RUNNING)
        if how == "serve":
            await worker.serve()
        else:
            await anyio.sleep(SECONDS)
    print("closed", flush=True)


def unclosed(path: Path) -> None:
    """Leave a worker at work."""
    engine = SyncJobEngine()
    worker = Worker(engine, works, processes=True, concurrency=2)
    worker.__enter__()
    kept.append((engine, worker))
    for _ in range(2):
        job = engine.create("hash", input=f"{path}.ids")
        engine.transition(job.job_id, JobStatus.RUNNING)
    ids = Path(f"{path}.ids")
    while not ids.exists() or ids.read_text().count("\n") < 2:
        engine.statistics()


def run(loop: str, main: Any) -> None:  # noqa: ANN401 - an async function without arguments
    """Run a main function on some kind of event loop."""
    if loop in {"asyncio", "trio"}:
        anyio.run(main, backend=loop)
    elif loop == "uvloop":
        anyio.run(main, backend_options={"use_uvloop": True})
    elif loop == "policy":
        import uvloop  # noqa: PLC0415 - only this case needs it

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(main())
    else:
        forever = asyncio.new_event_loop()
        task = forever.create_task(main())
        task.add_done_callback(lambda _: forever.stop())
        forever.run_forever()
        task.result()


kept: list[object] = []

if __name__ == "__main__":
    loop, how, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if how == "unclosed":
        unclosed(path)
    elif loop in {"blocking", "gevent"}:
        blocking_jobs()
    elif how == "jobs":
        run(loop, jobs)
    else:
        run(loop, lambda: work(path, how))
    print("the end")
