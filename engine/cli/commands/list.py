"""List jobs, a page at a time."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from engine.cli.arguments import add_json, add_place, identifier, kind, label, whole_number
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.fields import job_fields
from engine.cli.texts import NOTHING, Cells, column_widths, printable, table_lines
from engine.domain.exceptions import shown
from engine.storage.filter import JobFilter, Label
from engine.storage.findings import printable_name
from engine.storage.inspection import View
from engine.storage.record import Damaged, Record
from engine.storage.sqlite.rows import time_text

_LIMIT: Final = 100
_BLOCK_JOBS: Final = 100  # read at once
_HEAD: Final = ("JOB ID", "STATUS", "UPDATED", "INPUT HASH", "RESULT OR ERROR")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``list``."""
    add_place(parser)
    parser.add_argument("--status", type=identifier, help="only jobs that have this status")
    parser.add_argument("--kind", type=kind, help="only jobs of this kind")
    parser.add_argument(
        "--label",
        type=label,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only jobs that have this label; may be given again",
    )
    parser.add_argument("--newest", action="store_true", help="begin with the newest job")
    parser.add_argument(
        "--limit",
        type=whole_number(1),
        default=_LIMIT,
        metavar="N",
        help="how many; 100 by default",
    )
    parser.add_argument(
        "--after",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="begin after the N-th job created; with --newest, before it",
    )
    add_json(parser, "write each job as a JSON object, one a line")


def list_jobs(arguments: Namespace, console: Console) -> Exit:
    """Write a page of jobs, and the command for the next page."""
    with arguments.place.reading() as view:
        found = _jobs(view, arguments)
        jobs = _Counted(islice(found, arguments.limit))
        if arguments.json:
            for job in jobs:
                console.json(job_fields(job))
        else:
            _write_table(jobs, console)
        has_more = next(found, None) is not None
        if not jobs.count:
            console.note(_reason_for_none(view, arguments))
    if jobs.damaged:
        check = f"{arguments.program} check {shlex.quote(arguments.place.name)}"
        console.note(f"damaged jobs: {jobs.damaged:,}; to learn more: {check}")
    if has_more:
        console.note(f"the next ones: {_next_page(arguments, jobs.last_position)}")
    return Exit.DAMAGED if jobs.damaged else Exit.OK


class _Counted:
    """Goes through jobs once, and counts them."""

    def __init__(self, found: Iterable[Record | Damaged]) -> None:
        self._found = found
        self.count = 0
        self.damaged = 0
        self.last_position = 0

    def __iter__(self) -> Iterator[Record | Damaged]:
        for job in self._found:
            self.count += 1
            self.damaged += isinstance(job, Damaged)
            self.last_position = job.position
            yield job


def _jobs(view: View, arguments: Namespace) -> Iterator[Record | Damaged]:
    labels = tuple(Label(*each) for each in arguments.label)
    wanted = JobFilter(arguments.status, arguments.kind, labels)
    after: int | None = arguments.after
    while after is not None:
        block = view.page(wanted, after, _BLOCK_JOBS, newest_first=arguments.newest)
        yield from block.jobs
        after = block.next_after


def _write_table(jobs: Iterable[Record | Damaged], console: Console) -> None:
    """Write a line for each job. The first block determines the widths of the columns."""
    waiting, head, widths = iter(jobs), [_HEAD], []
    while block := list(islice(waiting, _BLOCK_JOBS)):
        rows = [*head, *(_cells(job, console.room) for job in block)]
        if head:
            head, widths = [], column_widths(rows, console.room)
        for line in table_lines(rows, widths, console.room):
            console.line(line)


def _cells(job: Record | Damaged, room: int | None) -> Cells:
    if isinstance(job, Damaged):
        cells = (job.job_id, "(damaged)", NOTHING, NOTHING, job.problem)
    else:
        seconds = time_text(job.updated_at).partition(".")[0] + "Z"
        outcome = job.result or job.error or NOTHING
        cells = (job.job_id, job.status, seconds, job.input_hash, outcome)
    # A long result is cut before it is made printable, as only its beginning is shown.
    return [printable(cell if room is None else cell[: room + 1]) for cell in cells]


def _reason_for_none(view: View, arguments: Namespace) -> str:
    jobs = "no jobs"
    if arguments.status is not None:
        statuses = sorted(map(printable_name, view.counts()))
        known = ", ".join(statuses) or "none"
        jobs += f" with the status {shown(arguments.status)} (statuses there: {known})"
    if arguments.kind is not None:
        jobs += f" of the kind {arguments.kind}"
    for each in arguments.label:
        jobs += f" with the label {shown('='.join(each))}"
    if not arguments.after:
        return jobs
    return f"{jobs} {'before' if arguments.newest else 'after'} {arguments.after}"


def _next_page(arguments: Namespace, after: int) -> str:
    command = ["list", arguments.place.name]
    if arguments.status is not None:
        command += ["--status", arguments.status]
    if arguments.kind is not None:
        command += ["--kind", arguments.kind]
    for each in arguments.label:
        command += ["--label", "=".join(each)]
    if arguments.newest:
        command.append("--newest")
    command += ["--limit", str(arguments.limit), "--after", str(after)]
    if arguments.json:
        command.append("--json")
    return f"{arguments.program} {shlex.join(command)}"


COMMAND: Final = Command(
    name="list",
    help_order=1,
    help="list jobs in the order of their creation",
    add_arguments=add_arguments,
    run=list_jobs,
)
