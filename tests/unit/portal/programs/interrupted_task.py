"""Run a task as a worker runs a handler, get a Ctrl-C, and print the place where it was raised.

Usage: python -m tests.unit.portal.programs.interrupted_task BACKEND WHERE [protected]

WHERE is "task" or "child", a task that the task has started.
"""

# ruff: noqa: T201 - a test reads the output

import signal
import sys

import anyio

from engine.domain.interrupts import raised_by_signal
from engine.portal.interrupts import protect

BACKEND, WHERE = sys.argv[1:3]
IS_PROTECTED = sys.argv[3:] == ["protected"]


def interrupt() -> None:
    """Get interrupted here. asyncio's runner keeps the first interrupt for the main task."""
    for _ in range(2 if BACKEND == "asyncio" else 1):
        signal.raise_signal(signal.SIGINT)


async def child() -> None:
    """Act as a task of the user's."""
    interrupt()


async def handle() -> None:
    """Act as a user's handler."""
    if WHERE == "task":
        interrupt()
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)


async def run_attempt() -> None:
    """Act as a worker's wrapper of the handler."""
    try:
        await handle()
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        print(f"the attempt was interrupted: {raised_by_signal(error) is not None}")
    else:
        print("the attempt went on")


async def main() -> None:
    """Act as a program that runs a worker."""
    if IS_PROTECTED:
        protect(run_attempt)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_attempt)
        await anyio.wait_all_tasks_blocked()
    await anyio.sleep(0.1)  # the loop has kept an interrupt for the main task


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        anyio.run(main, backend=BACKEND)
    except (KeyboardInterrupt, BaseExceptionGroup):
        print("the main task was interrupted")
