"""Write whole jobs as lines of JSON: their fields, failed attempts and histories."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.cli.arguments import add_place, completes_files, path
from engine.cli.chosen_jobs import Choice, add_filters
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import counted
from engine.domain.epochs import Epochs
from engine.domain.exceptions import JobDamagedError
from engine.operations.fields import attempt_fields, entry_fields, job_fields
from engine.storage.inspection import View
from engine.storage.protocol import ProgressCallback
from engine.storage.record import Damaged, Record
from engine.storage.sqlite.partial import publish_whole
from engine.storage.sqlite.rights import PRIVATE, Rights

_STANDARD_OUTPUT: Final = Path("-")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    add_place(parser)
    to = parser.add_argument(
        "--to",
        type=path,
        default=_STANDARD_OUTPUT,
        metavar="FILE",
        help="a file, for your user alone, which must not be there yet; it is made as a whole or "
        "not at all. By default, and for -, the standard output",
    )
    completes_files(to)
    add_filters(parser)


def export(arguments: Namespace, console: Console) -> Exit:
    """Write jobs, each as a JSON object on a line, in the order of their creation.

    Raises:
        StorageError: The place can't be read, or the file can't be written.
    """
    place = arguments.place
    with place.reading() as view, console.progress(f"exporting {place.name}", "jobs") as progress:
        jobs = _Jobs(view, Choice.of(view, arguments), progress)
        if arguments.to == _STANDARD_OUTPUT:
            jobs.write(console.json)
        else:
            publish_whole(arguments.to, Rights(PRIVATE), jobs.fill)
    told = f"{counted(jobs.count, 'job')} of {place.name}"
    if arguments.to != _STANDARD_OUTPUT:
        console.line(f"{arguments.to}: {told}")
    if jobs.damaged:
        console.note(f"damaged jobs: {jobs.damaged:,}, of which their ids alone are exported")
    return Exit.DAMAGED if jobs.damaged else Exit.OK


class _Jobs:
    """Goes through the chosen jobs, and counts them."""

    def __init__(self, view: View, choice: Choice, progress: ProgressCallback) -> None:
        self.count = 0
        self.damaged = 0
        self._view = view
        self._choice = choice
        self._progress = progress
        self._epochs = Epochs()
        self._epochs.set(view.epochs())

    def fill(self, file: Path) -> None:
        """Write all to a new file, durable."""
        with file.open("w", encoding="ascii") as stream:
            self.write(lambda fields: stream.write(f"{json.dumps(fields)}\n"))
            stream.flush()
            os.fsync(stream.fileno())

    def write(self, write: Callable[[Mapping[str, Any]], object]) -> None:
        """Write each job."""
        self.count = self.damaged = 0
        total = sum(self._view.counts().values())
        for job in self._choice.jobs(self._view, 0, newest_first=False):
            self._progress(self.count, total)
            self.count += 1
            write(self._fields(job))

    def _fields(self, job: Record | Damaged) -> Mapping[str, Any]:
        fields: dict[str, Any] = job_fields(job)
        try:
            attempts = self._view.attempts(job.job_id)
            history = self._view.history(job.job_id)
        except JobDamagedError as error:
            fields, attempts, history = {"job_id": job.job_id, "damaged": error.problem}, (), ()
        if "damaged" in fields:
            self.damaged += 1
            return fields
        if attempts:
            fields["attempts"] = [*map(attempt_fields, attempts)]
        return {**fields, "history": [entry_fields(each, self._epochs) for each in history]}


COMMAND: Final = Command(
    name="export",
    help_order=10,
    help="write whole jobs as lines of JSON, with failed attempts and histories",
    add_arguments=add_arguments,
    run=export,
    examples=(
        "export jobs.db --to jobs.jsonl",
        "export jobs.db --kind report --since 3d",
    ),
)
