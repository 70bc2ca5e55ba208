"""Handlers that run in processes, which import them by their names."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class Report(BaseModel):
    """A result of a handler."""

    pages: int
    title: str


def outcome(job: Any) -> Any:  # noqa: ANN401
    """Return or raise the value that the job's input names."""
    values: dict[str, Any] = {
        "text": "a text",
        "nothing": None,
        "json": {"pages": [1, 2.5, None, True, "é"]},
        "model": Report(pages=3, title="A title"),
        "long": "x" * 2_000_000,
        "object": object(),
    }
    if job.input == "error":
        raise ValueError("it can't be done")
    return values[job.input]


def process_id(job: Any) -> int:  # noqa: ANN401
    """Return the id of its process, and leave a mark of each run."""
    with Path(job.input).open("a") as file:
        print(os.getpid(), file=file, flush=True)
    return os.getpid()


def sleep_for_ever(job: Any) -> None:  # noqa: ANN401
    """Write the process id to a file, and never return."""
    process_id(job)
    while True:
        time.sleep(60)


def sleep_at_first(job: Any) -> int:  # noqa: ANN401
    """Sleep in the first attempt; return in the second."""
    if job.attempt == 1:
        sleep_for_ever(job)
    return process_id(job)


def kill_itself(job: Any) -> None:  # noqa: ANN401
    """Write the process id to a file, and kill the process."""
    os.kill(process_id(job), signal.SIGKILL)
