"""Run jobs of some kind until a signal to stop; the log goes to the standard error.

Usage: python -m tests.reliability.programs.at_work BACKEND KIND HOW GRACE

KIND is the behaviour of the handler: "waits" (a task that awaits), "spins" (a loop that never
yields), "sleeps" (blocks the event loop in a call), "refuses" (a task that resists cancellation),
"decorated" (such a task behind a plain decorator), "thread" (never returns), "computes" (a busy
task that yields from time to time). HOW is "serve" for `Worker.serve`, "blocking" for
`Worker.serve_blocking`, "body" for a program without signal handling. Prints "begun" when the
handler runs, "closed" when worker and engine are closed.
"""

# ruff: noqa: T201 - a test reads the output

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import anyio

from engine import Job, JobEngine, JobStatus, SyncJobEngine, Worker

SECONDS_AGAINST_HANGS = 60


class Lines(logging.Formatter):
    """One line of JSON for each record, with the fields of the job."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: getattr(record, name, None) for name in ("job_id", "attempt", "status")}
        seconds = time.monotonic()
        return json.dumps({"text": record.getMessage(), "seconds": seconds, **fields})


def _begin() -> None:
    print(f"begun {time.monotonic()}", flush=True)


async def waits(_: Job) -> None:
    _begin()
    await anyio.sleep(SECONDS_AGAINST_HANGS)


async def spins(_: Job) -> None:
    _begin()
    until = time.monotonic() + SECONDS_AGAINST_HANGS
    while time.monotonic() < until:
        pass


async def sleeps(_: Job) -> None:
    _begin()
    time.sleep(SECONDS_AGAINST_HANGS)  # noqa: ASYNC251 - the fault


async def refuses(_: Job) -> None:
    _begin()
    until = time.monotonic() + SECONDS_AGAINST_HANGS
    while time.monotonic() < until:
        with suppress(BaseException):
            await anyio.sleep(0.05)


def decorated(job: Job) -> Any:  # noqa: ANN401 - a coroutine
    return refuses(job)


def thread(_: Job) -> None:
    _begin()
    time.sleep(SECONDS_AGAINST_HANGS)


async def computes(_: Job) -> None:
    _begin()
    until = time.monotonic() + SECONDS_AGAINST_HANGS
    while time.monotonic() < until:
        pause = time.monotonic() + 0.1
        while time.monotonic() < pause:
            pass
        await anyio.sleep(0)  # noqa: ASYNC115 - as users write it


KINDS: dict[str, Any] = {
    each.__name__: each for each in (waits, spins, sleeps, refuses, decorated, thread, computes)
}


async def main(kind: str, how: str, grace: float) -> None:
    """Run one handler until a signal to stop."""
    async with JobEngine() as engine, Worker(engine, KINDS[kind], grace_seconds=grace) as worker:
        job = await engine.create("hash")
        print(f"job {job.job_id}", flush=True)
        async with anyio.create_task_group() as tasks:
            # It runs when `serve` waits for the signals already.
            tasks.start_soon(engine.transition, job.job_id, JobStatus.RUNNING)
            if how == "serve":
                await worker.serve()
                print("told", flush=True)
            else:
                await anyio.sleep(SECONDS_AGAINST_HANGS)
    print("closed", flush=True)


def main_blocking(kind: str, grace: float) -> None:
    """Do the same in threads."""
    with SyncJobEngine() as engine, Worker(engine, KINDS[kind], grace_seconds=grace) as worker:
        job = engine.create("hash")
        print(f"job {job.job_id}", flush=True)
        # It runs when `serve_blocking` waits for the signals already.
        timer = threading.Timer(0.1, engine.transition, (job.job_id, JobStatus.RUNNING))
        timer.start()
        worker.serve_blocking()
        print("told", flush=True)
    print("closed", flush=True)


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    backend, kind, how, grace = sys.argv[1:]
    if how == "blocking":
        main_blocking(kind, float(grace))
        sys.exit()
    try:
        anyio.run(main, kind, how, float(grace), backend=backend)
    except* KeyboardInterrupt:  # trio's comes in a group
        print("interrupted", flush=True)
        os._exit(2)  # a thread of the handler's may go on
