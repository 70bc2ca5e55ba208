"""Run a program whose own handler of SIGTERM raises, and let the signal come in a job's handler.

Usage: python -m tests.reliability.programs.signalled BACKEND WHERE KIND PATH

WHERE is "handler", "child" (a task of the handler's, in its task group), "middleware", "hook" or
"gate": the code in which the signal comes. KIND is the exception's, "exit" or "error".
"""

# ruff: noqa: T201 - a test reads the output

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from engine import Gate, Job, JobEngine, JobStatus, Worker

BACKEND, WHERE, KIND, PATH = sys.argv[1:]


class StopError(Exception):
    """The program's own."""


def stop(*_: object) -> None:
    """Act as a program's own handler."""
    if KIND == "exit":
        sys.exit(7)
    raise StopError


def come(here: str) -> None:
    """Let the signal come, if it has to come here."""
    if here == WHERE:
        signal.raise_signal(signal.SIGTERM)


async def handle(_: Job) -> str:
    """Work for ever, if no signal comes."""
    come("handler")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child)
    return "done"


async def child() -> None:
    """Act as a task of the handler's."""
    come("child")
    await anyio.sleep_forever()


@contextmanager
def middleware(_: Any) -> Iterator[None]:  # noqa: ANN401
    """Act as a program's middleware."""
    come("middleware")
    yield


async def check(_: Any) -> list[Job]:  # noqa: ANN401
    """Act as a gate's check."""
    come("gate")
    return []


async def main() -> None:
    """Run until the signal."""
    async with (
        JobEngine(PATH, on_transition=lambda _: come("hook")) as engine,
        Gate(engine, check, interval_seconds=0.01),
        Worker(engine, handle, middleware=[middleware], grace_seconds=0),
    ):
        await engine.create("waits")
        job = await engine.create("hash")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await anyio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGTERM, stop)
    try:
        anyio.run(main, backend=BACKEND)
    except StopError:
        print("the error came through")
