"""List jobs, a page at a time."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from engine.cli.arguments import add_json, add_place, whole_number
from engine.cli.chosen_jobs import Choice, add_filters, status_hint
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import NOTHING, Cells, column_widths, cut, table_lines
from engine.domain.labels import DEFAULT_KIND
from engine.domain.spans import span
from engine.domain.time_text import time_text
from engine.domain.visible_text import visible
from engine.operations.fields import job_fields
from engine.portal.time import utc_now
from engine.storage.inspection import View
from engine.storage.record import Damaged, Record

_LIMIT: Final = 100
_BLOCK_JOBS: Final = 100  # read at once
_HEAD: Final = ("JOB ID", "STATUS", "KIND", "UPDATED", "INPUT HASH", "RESULT OR ERROR")
_OUTCOME_COLUMNS: Final = 80  # where there is no terminal: a line is bounded everywhere
_HASH_ROOM: Final = 160  # a narrower terminal shows the errors instead


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``list``."""
    add_place(parser)
    add_filters(parser)
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
        choice = Choice.of(view, arguments)
        found = choice.jobs(view, arguments.after, newest_first=arguments.newest)
        jobs = _Counted(islice(found, arguments.limit))
        if arguments.json:
            for job in jobs:
                console.json(job_fields(job))
        else:
            _write_table(jobs, console)
        has_more = next(found, None) is not None
        if not jobs.count:
            console.note(_reason_for_none(view, choice))
    if jobs.damaged:
        check = f"{arguments.program} check {shlex.quote(arguments.place.name)}"
        console.note(f"damaged jobs: {jobs.damaged:,}; to learn more: {check}")
    if has_more:
        console.note(f"the next ones: {_next_page(choice, jobs.last_position)}")
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


def _write_table(jobs: Iterable[Record | Damaged], console: Console) -> None:
    """Write a line for each job. The first block determines the columns and their widths."""
    waiting, now = iter(jobs), utc_now()
    columns: list[int] = []
    widths: list[int] = []
    while block := list(islice(waiting, _BLOCK_JOBS)):
        rows = [_cells(job, console.room, now) for job in block]
        if not widths:
            columns = _columns(block, console.room)
            rows = [_HEAD, *rows]
        rows = [[row[column] for column in columns] for row in rows]
        widths = widths or column_widths(rows, console.room)
        for line in table_lines(rows, widths, console.room):
            console.line(line)


def _columns(jobs: Iterable[Record | Damaged], room: int | None) -> list[int]:
    """Return the numbers of the columns: kinds are shown if there is another than the default."""
    left_out = set[str]()
    if not {job.kind for job in jobs if not isinstance(job, Damaged)} - {DEFAULT_KIND}:
        left_out.add("KIND")
    if room is not None and room < _HASH_ROOM:
        left_out.add("INPUT HASH")
    return [number for number, name in enumerate(_HEAD) if name not in left_out]


def _cells(job: Record | Damaged, room: int | None, now: datetime) -> Cells:
    """Return the cells of a job. Its result or error is cut, as it may have a million characters.

    It is cut before it is made printable, and again afterwards, which makes it longer.
    """
    most = room or _OUTCOME_COLUMNS
    if isinstance(job, Damaged):
        *cells, outcome = job.job_id, "(damaged)", NOTHING, NOTHING, NOTHING, job.problem
    else:
        *cells, outcome = (
            *(job.job_id, job.status, job.kind, _updated(job, room, now), job.input_hash),
            job.result or job.error or job.execution.last_error or NOTHING,
        )
    return [*map(visible, cells), cut(visible(outcome[: most + 1]), most)]


def _updated(job: Record, room: int | None, now: datetime) -> str:
    """Return when a job has moved; a terminal shows how long ago, which is shorter."""
    if room is not None:
        return f"{span(now - job.updated_at, most_units=1)} ago"
    return time_text(job.updated_at).partition(".")[0] + "Z"


def _reason_for_none(view: View, choice: Choice) -> str:
    arguments = choice.arguments
    words = f"no jobs{choice.words()}"
    if arguments.status:
        words += f" ({status_hint(view)})"
    if not arguments.after:
        return words
    return f"{words} {'before' if arguments.newest else 'after'} {arguments.after}"


def _next_page(choice: Choice, after: int) -> str:
    arguments = choice.arguments
    command = ["list", arguments.place.name, *choice.command()]
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
    examples=(
        "list jobs.db --newest --limit 20",
        "list jobs.db --stuck 1h",
        "list jobs.db --payment pay_17 --json",
        "list jobs.db --status failed --since 2026-11-22 --kind report",
    ),
)
