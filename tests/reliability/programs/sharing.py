"""One of several engines on a database: create jobs, run them, and report both.

Usage: python -m tests.reliability.programs.sharing URL NAME BACKEND [SECONDS]

The clock of its machine is ahead by SECONDS.

The orders are lines of JSON on the standard input. The first one opens the engine: ``["open"]``.
``["create", inputs]`` creates running jobs, and ``["end"]``, or the end of the input, closes the
engine. For `tests.reliability.programs.zygote`, a child has no orders: some callers create jobs,
one after the other, until it is killed. The lines:

* ``["opened"]``, ``["closed"]``: the engine is open; it has been closed in good order
* ``["told", input, job_id]``, ``["refused", input]``: a creation was acknowledged; it was not
  applied
* ``["begun", job_id, attempt]``, ``["waits", job_id]``, ``["stopped", job_id]``: a handler has
  begun; it waits until it is cancelled; it was cancelled
* ``["crashed", type, text]``: the engine has crashed with an error

An input says how the handler works. One that ends with 0 takes longer. "late" has a second, and is
never done. "waits for NAME " and a number waits if NAME is this engine; "blocks for NAME" keeps
that engine's event loop busy for three leases. The result names the engine and the attempt.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint

from engine import (
    Context,
    EngineCrashedError,
    EngineError,
    Job,
    JobEngine,
    JobStatus,
    OutcomeUnknownError,
    Retry,
    Worker,
)
from engine.storage.postgres import PostgresStorage
from tests.reliability.programs.zygote import Order, say

LEASE_SECONDS: Final = 1.0
LONG: Final = 120.0
MOST_SECONDS: Final = 3_600
"""A process that lives this long hangs: the system then ends it."""
CALLERS: Final = 3
LATE: Final = timedelta(seconds=1)
SOON: Final = Retry(max_attempts=1_000, first_delay_seconds=0.002, factor=1, jitter=0.5)


class Sharing:
    """One of the engines."""

    def __init__(self, url: str, name: str, ahead: timedelta = timedelta()) -> None:
        self._storage = PostgresStorage(url, lease_seconds=LEASE_SECONDS, name=name)
        self._name = name
        self._ahead = ahead

    def _clock(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    async def handle(self, job: Job, context: Context[Any]) -> str:
        """Work as the job's input says."""
        say("begun", job.job_id, context.attempt)
        text = str(job.input)
        if text == "late" or text.startswith(f"waits for {self._name} "):
            say("waits", job.job_id)
            try:
                await anyio.sleep(LONG)
            except anyio.get_cancelled_exc_class():
                say("stopped", job.job_id)
                raise
        if text.endswith("0"):
            await anyio.sleep(0.05)
        if text == f"blocks for {self._name}":
            time.sleep(10 * LEASE_SECONDS)  # noqa: ASYNC251 - the fault
        return f"{self._name} by attempt {context.attempt}"

    async def live(self) -> None:
        """Work until the end of the orders."""
        orders = anyio.wrap_file(sys.stdin)
        assert json.loads(await orders.readline()) == ["open"]
        with suppress(EngineCrashedError):
            async with self._opened() as engine, anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, engine)
                while line := await orders.readline():
                    kind, *values = json.loads(line)
                    if kind == "end":
                        tasks.cancel_scope.cancel()
                        break
                    for text in values[0]:
                        tasks.start_soon(self._create, engine, text)
            say("closed")

    async def create_on(self) -> None:
        """Work and create jobs until the process is killed."""
        async with self._opened() as engine, anyio.create_task_group() as tasks:
            for caller in range(CALLERS):
                tasks.start_soon(self._create_on, engine, caller)

    async def _create_on(self, engine: JobEngine[JobStatus], caller: int) -> None:
        for number in count():
            await self._create(engine, f"{self._name} {caller} {number}")

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[JobEngine[JobStatus]]:
        how: dict[str, Any] = {"retry": SOON, "idempotent": True, "max_deaths": 1_000}
        async with (
            JobEngine(self._storage, clock=self._clock) as engine,
            Worker(engine, self.handle, concurrency=4, **how),
        ):
            say("opened")
            yield engine

    async def _watch(self, engine: JobEngine[JobStatus]) -> None:
        """Say how the engine crashes."""
        try:
            async for _ in engine.watch():
                pass
        except EngineCrashedError as crash:
            say("crashed", type(crash.__cause__).__name__, str(crash.__cause__))

    async def _create(self, engine: JobEngine[JobStatus], text: str) -> None:
        try:
            limits = {JobStatus.RUNNING: LATE} if text == "late" else None
            job = await engine.create("hash", input=text, start=True, deadlines=limits)
        except OutcomeUnknownError:
            return
        except EngineError:
            say("refused", text)
        else:
            say("told", text, job.job_id)


def warm() -> None:
    """Run both event loops once."""
    logging.disable(logging.CRITICAL)
    for backend in ("asyncio", "trio"):
        anyio.run(checkpoint, backend=backend)


def run(order: Order) -> None:
    """Be an engine until the kill."""
    anyio.run(Sharing(order["url"], order["name"]).create_on, backend=order["backend"])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    signal.alarm(MOST_SECONDS)
    url, name, backend, *more = sys.argv[1:]
    ahead = float(more[0]) if more else 0.0
    right_time = time.time
    time.time = lambda: right_time() + ahead
    anyio.run(Sharing(url, name, timedelta(seconds=ahead)).live, backend=backend)
