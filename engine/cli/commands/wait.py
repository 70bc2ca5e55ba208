"""Wait for the end of a job; the exit code says how it ended."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import add_json, add_place, age
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.job_ids import add_job_id, find_job_id
from engine.cli.polling import looks
from engine.cli.texts import job_line
from engine.cli.times import duration
from engine.domain.exceptions import shown
from engine.domain.outcomes import Outcome
from engine.operations.fields import job_fields
from engine.storage.record import Record

_ERROR_COLUMNS: Final = 80
CODES: Final = {
    Outcome.SUCCEEDED: Exit.OK,
    Outcome.FAILED: Exit.JOB_FAILED,
    Outcome.CANCELLED: Exit.JOB_CANCELLED,
    Outcome.EXPIRED: Exit.JOB_EXPIRED,
    Outcome.DIED: Exit.JOB_DIED,
}
"""The exit code for each end of a job."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``wait``."""
    add_place(parser)
    add_job_id(parser)
    parser.add_argument(
        "--timeout", type=age, metavar="TIME", help="wait for so long at most, such as 10min"
    )
    add_json(parser, "write the job as a JSON object")


def wait(arguments: Namespace, console: Console) -> Exit:
    """Wait for a job's end, and write it.

    Raises:
        JobDamagedError: The job is damaged.
    """
    limit = None if arguments.timeout is None else duration(arguments.timeout).total_seconds()
    job_id, status = "", ""
    for view in looks(arguments.place, limit):
        if not job_id:
            found = find_job_id(view, arguments, console)
            if isinstance(found, Exit):
                return found
            job_id = found
        job = view.job(job_id)
        if job is None:
            console.note(f"engine: {shown(job_id)} was removed; it was {shown(status)} before")
            return Exit.NOT_FOUND
        if job.outcome is not None:
            return _ended(job, arguments, console)
        status = job.status
    console.note(f"engine: {shown(job_id)} is {shown(status)} after {arguments.timeout}")
    return Exit.TIME_IS_UP


def _ended(job: Record, arguments: Namespace, console: Console) -> Exit:
    fields = job_fields(job)
    if arguments.json:
        console.json(fields)
    else:
        console.line(job_line(fields, _ERROR_COLUMNS))
    return CODES[Outcome(str(job.outcome))]


COMMAND: Final = Command(
    name="wait",
    help_order=3,
    help="wait for the end of a job; the exit code says how it ended",
    add_arguments=add_arguments,
    run=wait,
    examples=("wait jobs.db 0190f3a7 --timeout 10min",),
)
