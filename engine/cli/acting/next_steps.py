"""Next steps: what can be done with a job that has refused an act."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from engine.cli.acting.chosen import may_be_retried
from engine.cli.console import Console
from engine.domain.exceptions import StorageError
from engine.domain.lifecycle import Event, Lifecycle
from engine.operating import lifecycle_in
from engine.storage.inspection import View
from engine.storage.record import Record


def write_next_steps(act: str, job_id: str, arguments: Namespace, console: Console) -> None:
    """Write the commands that a job takes now, other than the act that it has refused."""
    place = arguments.place
    with suppress(StorageError), place.reading() as view:
        job = view.job(job_id)
        if job is None:
            return
        for name, *more in _steps(job, view, lifecycle_in(place, view)):
            if name != act:
                words = shlex.join([name, place.name, job_id])
                console.note(" ".join(["  or:", arguments.program, words, *more]))


def _steps(job: Record, view: View, lifecycle: Lifecycle[Any]) -> Iterator[tuple[str, ...]]:
    """Return the names of commands, with what stands behind the job."""
    status = job.status
    if lifecycle.is_final(status):
        yield ("repeat",)
        if view.rules().by_kind:
            yield "follow-up", "RULE"
    elif job.execution.prompt is not None:
        yield ("answer",)
    elif may_be_retried(job, lifecycle):
        yield ("retry",)
    elif job.started_at is None and lifecycle.target(status, Event.START) is not None:
        yield ("start",)
    if lifecycle.target(status, Event.CANCEL) is not None:
        yield ("cancel",)
    yield ("show",)
