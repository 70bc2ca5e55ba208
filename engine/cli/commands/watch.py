"""Watch the transitions of a place or of one job, as they come."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Final

from engine.cli.arguments import add_json, add_place, cursor
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.job_ids import add_job_id, find_job_id
from engine.cli.polling import looks
from engine.cli.texts import NOTHING, counted, cut
from engine.domain.epochs import Cursor, Epochs
from engine.domain.exceptions import shown
from engine.domain.time_text import time_text
from engine.domain.visible_text import visible
from engine.operations.fields import entry_fields
from engine.storage.inspection import View
from engine.storage.record import Entry

_PAGE_LINES: Final = 1_000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``watch``."""
    add_place(parser)
    add_job_id(parser, optional=True)
    parser.add_argument(
        "--after",
        type=cursor,
        metavar="CURSOR",
        help="begin behind this transition: a line begins with its cursor; 0 is the beginning. "
        "By default all of a job, and of a place what comes from now on",
    )
    add_json(parser, "write each transition as a JSON object, one a line")


def watch(arguments: Namespace, console: Console) -> Exit:
    """Write a line for each transition, until the job has ended; without a job until Ctrl-C."""
    watching = _Watch(arguments, console)
    for view in looks(arguments.place):
        code = watching.look(view)
        console.flush()
        if code is not None:
            return code
    raise AssertionError  # looks have no end


class _Watch:
    """Knows how far the transitions are written."""

    def __init__(self, arguments: Namespace, console: Console) -> None:
        self._arguments = arguments
        self._console = console
        self._epochs = Epochs()
        self._job_id: str | None = None
        self._after: Cursor | None = arguments.after

    def look(self, view: View) -> Exit | None:
        """Write what has come; return the exit code if that is all."""
        if self._arguments.job_id is not None and self._job_id is None:
            found = find_job_id(view, self._arguments, self._console)
            if isinstance(found, Exit):
                return found
            self._job_id = found
        self._epochs.set(view.epochs())
        last = view.last_sequence()
        if self._after is None:
            self._after = Cursor(last if self._job_id is None else 0)
        if self._after.sequence > last or not self._epochs.has(self._after):
            self._console.note(
                f"engine: {self._arguments.place.name} has no transition {self._after}: its newest "
                f"is {self._cursor(last)}"
            )
            return Exit.NOT_FOUND
        self._write_all(view, self._after)
        return None if self._job_id is None else self._ended(view, self._job_id)

    def _write_all(self, view: View, after: Cursor) -> None:
        while lines := view.transitions(after.sequence, _PAGE_LINES, self._job_id):
            if self._job_id is None:
                self._note_gap(lines, after.sequence)
            for line in lines:
                self._write(line)
            after = self._after = self._cursor(lines[-1].sequence)

    def _note_gap(self, lines: Sequence[Entry], after: int) -> None:
        """Tell of transitions that are gone with their jobs: else the numbers have no gap."""
        newest = lines[-1].sequence
        if missing := newest - after - len(lines):
            lost = counted(missing, "transition")
            self._console.note(f"removed with their jobs, up to {newest}: {lost}")

    def _write(self, line: Entry) -> None:
        if self._arguments.json:
            self._console.json(entry_fields(line, self._epochs))
            return
        by = "" if line.by is None else f"  by {line.by}"
        text = visible(
            f"{self._cursor(line.sequence)}  {time_text(line.at)}  {line.job_id}  "
            f"{line.from_status or NOTHING} -> {line.to_status}{by}"
            + ("" if line.reason is None else f"  {line.reason}")
        )
        room = self._console.room
        self._console.line(text if room is None else cut(text, room))

    def _ended(self, view: View, job_id: str) -> Exit | None:
        job = view.job(job_id)
        if job is None:
            self._console.note(f"engine: {shown(job_id)} was removed")
            return Exit.NOT_FOUND
        return None if job.outcome is None else Exit.OK

    def _cursor(self, sequence: int) -> Cursor:
        return Cursor(sequence, self._epochs.name_at(sequence))


COMMAND: Final = Command(
    name="watch",
    help_order=5,
    help="show each transition as it comes, of all jobs or of one",
    add_arguments=add_arguments,
    run=watch,
    examples=(
        "watch jobs.db",
        "watch jobs.db 0190f3a7",
        "watch jobs.db --after 5f0c2a91-1234 --json",
    ),
)
