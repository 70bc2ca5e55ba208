"""Run a program whose own handler of SIGTERM raises, and let the signal come in a job's handler.

Usage: python -m tests.reliability.programs.signalled BACKEND WHERE KIND PATH

WHERE is the code in which the signal comes: "handler", "child" (a task of the handler's, in its
task group), "middleware", "hook" or "gate"; or, behind a handler that has failed, "log" (a handler
of log records), "text", "retryable" or "retry_after_seconds" (of its error). KIND is the
exception's, "exit" or "error". Another job is at work beside it, which ends once the body of the
program has been cancelled.
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

from engine import Gate, Job, JobEngine, JobStatus, Transition, Worker

BACKEND, WHERE, KIND, PATH = sys.argv[1:]
BEHIND = ("log", "text", "retryable", "retry_after_seconds")


class StopError(Exception):
    """The program's own."""


def stop(*_: object) -> None:
    """Act as a program's own handler."""
    if KIND == "exit":
        sys.exit(7)
    raise StopError


def come(here: str) -> None:
    """Let the signal come, if it has to come here, and is the first."""
    if here == WHERE and at_work.is_set() and not came:
        came.append(here)
        signal.raise_signal(signal.SIGTERM)


class FailedError(Exception):
    """The job's."""

    def __str__(self) -> str:
        come("text")
        return "failed"

    @property
    def retryable(self) -> bool:
        """Act as an error that says whether to try again."""
        come("retryable")
        return WHERE != "text"  # which is asked for at the last failure

    @property
    def retry_after_seconds(self) -> float:
        """Act as an error that says when to try again."""
        come("retry_after_seconds")
        return 60.0


class Log(logging.Handler):
    """Act as a program's handler of log records."""

    def emit(self, record: logging.LogRecord) -> None:
        """Get the signal."""
        if "failed" in record.getMessage():
            come("log")


async def handle(job: Job) -> str:
    """Work for ever, if no signal comes; beside it, until the program is cancelled."""
    if job.input == "beside":
        at_work.set()
        await cancelled.wait()
        return "done"
    come("handler")
    if WHERE in BEHIND:
        raise FailedError
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


def hook(_: Transition) -> None:
    """Act as a program's counter of transitions."""
    come("hook")


async def main() -> None:
    """Run until the signal."""
    global at_work, cancelled
    at_work, cancelled = anyio.Event(), anyio.Event()
    async with (
        JobEngine(PATH, on_transition=hook) as engine,
        Gate(engine, check, interval_seconds=0.01),
        Worker(engine, {"beside": handle}, middleware=[middleware]),
        # Where the signal comes elsewhere, its handler would work for ever.
        Worker(engine, {"signalled": handle}, middleware=[middleware], grace_seconds=0.1),
    ):
        try:
            for given in ("beside", "signalled"):
                job = await engine.create("hash", kind=given, input=given)
                await engine.transition(job.job_id, JobStatus.RUNNING)
                await at_work.wait()
            await engine.create("waits")
            await anyio.sleep_forever()
        finally:
            cancelled.set()


if __name__ == "__main__":
    logging.getLogger("engine").addHandler(Log())
    logging.getLogger("engine").propagate = False
    came: list[str] = []
    at_work, cancelled = anyio.Event(), anyio.Event()
    signal.signal(signal.SIGTERM, stop)
    try:
        anyio.run(main, backend=BACKEND)
    except StopError:
        print("the error came through")
