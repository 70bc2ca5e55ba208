"""One of several engines on a database: create jobs, run them, and report both.

Usage: python -m tests.reliability.programs.sharing URL NAME BACKEND

The orders are lines of JSON on the standard input. The first one opens the engine: ``["open"]``.
``["create", inputs]`` creates running jobs, and ``["end"]``, or the end of the input, closes the
engine. The lines:

* ``["opened"]``, ``["closed"]``: the engine is open; it has been closed in good order
* ``["asked", input]``, ``["told", input, job_id]``: a creation has begun; it was acknowledged
* ``["begun", job_id, attempt]``: a handler has begun
* ``["stopped", job_id]``: it was cancelled
* ``["crashed", type, text]``: the engine has crashed with an error

An input says how the handler works. "waits for NAME" waits until it is cancelled if NAME is this
engine; "blocks for NAME" keeps that engine's event loop busy for three leases. The result names the
engine and the attempt.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Final

import anyio

from engine import (
    Context,
    EngineCrashedError,
    EngineError,
    Job,
    JobEngine,
    JobStatus,
    Retry,
    Worker,
)
from engine.storage.postgres import PostgresStorage
from tests.reliability.programs.zygote import say

LEASE_SECONDS: Final = 1.0
MOST_SECONDS: Final = 120
SOON: Final = Retry(max_attempts=1_000, first_delay_seconds=0.002, factor=1, jitter=0.5)


class Sharing:
    """One of the engines."""

    def __init__(self, url: str, name: str) -> None:
        self._storage = PostgresStorage(url, lease_seconds=LEASE_SECONDS, name=name)
        self._name = name

    async def handle(self, job: Job, context: Context[Any]) -> str:
        """Work as the job's input says."""
        say("begun", job.job_id, context.attempt)
        if job.input == f"waits for {self._name}":
            try:
                await anyio.sleep(MOST_SECONDS)
            except anyio.get_cancelled_exc_class():
                say("stopped", job.job_id)
                raise
        if job.input == f"blocks for {self._name}":
            time.sleep(3 * LEASE_SECONDS)  # noqa: ASYNC251 - the fault
        return f"{self._name} by attempt {context.attempt}"

    async def live(self) -> None:
        """Work until the end of the orders."""
        orders = anyio.wrap_file(sys.stdin)
        assert json.loads(await orders.readline()) == ["open"]
        with suppress(EngineCrashedError):
            await self._work(orders)
            say("closed")

    async def _work(self, orders: anyio.AsyncFile[str]) -> None:
        async with (
            JobEngine(self._storage) as engine,
            Worker(
                engine, self.handle, concurrency=4, retry=SOON, idempotent=True, max_deaths=1_000
            ),
            anyio.create_task_group() as tasks,
        ):
            say("opened")
            tasks.start_soon(self._watch, engine)
            while line := await orders.readline():
                kind, *values = json.loads(line)
                if kind == "end":
                    tasks.cancel_scope.cancel()
                    break
                for text in values[0]:
                    tasks.start_soon(self._create, engine, text)

    async def _watch(self, engine: JobEngine[JobStatus]) -> None:
        """Say how the engine crashes."""
        try:
            async for _ in engine.watch():
                pass
        except EngineCrashedError as crash:
            say("crashed", type(crash.__cause__).__name__, str(crash.__cause__))

    async def _create(self, engine: JobEngine[JobStatus], text: str) -> None:
        say("asked", text)
        try:
            job = await engine.create("hash", input=text)
            await engine.transition(job.job_id, JobStatus.RUNNING)
        except EngineError:
            return
        say("told", text, job.job_id)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    signal.alarm(MOST_SECONDS)
    anyio.run(Sharing(*sys.argv[1:3]).live, backend=sys.argv[3])
