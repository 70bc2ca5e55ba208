"""Run the jobs of a file until killed, and report each attempt when it begins.

For `tests.reliability.programs.zygote`. The file has the jobs. The lines:

* ``["begun", job_id, attempt, token]``: a handler has begun
* ``["opened"]``, ``["all ended"]``: the engine is open; no job is left

A handler works in one or more steps, and fails at random. Its result names its attempt: this shows
a job that was done twice, or by a dead attempt. The jobs whose inputs are ``killers`` kill the
process.
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Context, Job, JobEngine, JobStatus, Retry, Worker
from engine.owner.batch import Batch
from tests.reliability.programs.zygote import Order, say

MOST_FAILURES = 1_000
CONCURRENCY = 4
COMMITS_IN_THE_LOG = 5
ENOUGH = Retry(max_attempts=MOST_FAILURES, first_delay_seconds=0.002, factor=1, jitter=0.5)


def result_of(job: Job, attempt: int) -> str:
    """Return the result of an attempt of a job."""
    return f"{job.input} by attempt {attempt}"


killers: set[int] = set()


def begin(job: Job, context: Context[Any]) -> None:
    """Report the attempt."""
    say("begun", job.job_id, context.attempt, context.token)
    if job.input in killers:
        os.kill(os.getpid(), signal.SIGKILL)


async def handle(job: Job, context: Context[Any]) -> str:
    """Work for some milliseconds."""
    begin(job, context)
    random = Random(f"{os.getpid()} {job.input} {context.attempt}")
    for _ in range(random.randrange(4)):
        await anyio.sleep(random.uniform(0, 0.004))
        await checkpoint()
    if random.random() < 0.1:
        raise ConnectionError("it fails by itself")
    return result_of(job, context.attempt)


def handle_in_thread(job: Job, context: Context[Any]) -> str:
    """Work in a thread."""
    begin(job, context)
    return result_of(job, context.attempt)


async def work(order: Order) -> None:
    """Run the jobs of the file until none is left."""
    handler = handle_in_thread if order["handler"] == "thread" else handle
    async with JobEngine(Path(order["path"])) as engine:
        say("opened")
        async with Worker(
            engine,
            handler,
            concurrency=CONCURRENCY,
            retry=ENOUGH,
            idempotent=order["idempotent"],
            max_deaths=order["max_deaths"],
        ):
            page = await engine.list_jobs(JobStatus.RUNNING, limit=1_000)
            for job in page.jobs:
                await engine.wait(job.job_id)
    say("all ended")


def warm() -> None:
    """Run both event loops once, and make checkpoints frequent."""
    logging.disable(logging.CRITICAL)
    pytest.MonkeyPatch().setattr("engine.storage.sqlite.database._LOG_COMMITS", COMMITS_IN_THE_LOG)
    for backend in ("asyncio", "trio"):
        anyio.run(checkpoint, backend=backend)


def run(order: Order) -> None:
    """Work as an order says; ``planted`` is its bug, if it has one."""
    killers.update(order["killers"])
    if order["planted"] == "any token will do":
        pytest.MonkeyPatch().setattr(Batch, "check_holder", lambda *_: None)
    anyio.run(work, order, backend=order["backend"])
