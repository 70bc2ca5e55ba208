"""Show one job, its failed attempts and its history."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Final

from engine.cli.arguments import add_json, add_place, identifier
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.fields import attempt_fields, entry_fields, job_fields
from engine.cli.texts import NOTHING, Cells, column_widths, cut, printable, table_lines
from engine.domain.epochs import Epochs
from engine.domain.exceptions import JobDamagedError, shown
from engine.storage.record import AttemptRecord, Entry, Record
from engine.storage.sqlite.rows import time_text

_ATTEMPTS_HEAD: Final = ("ATTEMPT", "BEGAN", "ENDED", "OUTCOME", "ERROR")
_ERROR_COLUMNS: Final = 80
_HISTORY_HEAD: Final = ("SEQUENCE", "AT", "FROM", "TO", "BY", "REASON")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``show``."""
    add_place(parser)
    parser.add_argument("job_id", type=identifier, metavar="JOB_ID", help="the job")
    add_json(parser, "write one JSON object, with attempts and history in it")


def show_job(arguments: Namespace, console: Console) -> Exit:
    """Write a job, its failed attempts and its history.

    Raises:
        JobDamagedError: The job, its attempts or its history are damaged.
    """
    job_id = arguments.job_id
    with arguments.place.reading() as view:
        job = view.job(job_id)
        if job is None:
            console.note(f"engine: {arguments.place.name} has no job {shown(job_id)}")
            return Exit.NOT_FOUND
        try:
            entries, failed = view.history(job_id), view.attempts(job_id)
        except JobDamagedError:
            if not arguments.json:
                _write_fields(job, console)
            raise
        epochs = Epochs()
        epochs.set(view.epochs())
    if arguments.json:
        lines = [entry_fields(entry, epochs) for entry in entries]
        fields = {"attempts": [attempt_fields(each) for each in failed]} if failed else {}
        console.json({**job_fields(job), **fields, "history": lines})
    else:
        _write_fields(job, console)
        if failed:
            _write_attempts(failed, console)
        _write_history(entries, console)
    return Exit.OK


def _write_fields(job: Record, console: Console) -> None:
    fields = job_fields(job)
    width = max(map(len, fields))
    for name, value in fields.items():
        label = name
        for line in _text_of(value).split("\n"):
            console.line(f"{label:{width}}  {printable(line)}".rstrip())
            label = ""


def _text_of(value: object) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_attempts(attempts: Iterable[AttemptRecord], console: Console) -> None:
    rows = [
        (
            str(each.number),
            time_text(each.began_at),
            time_text(each.ended_at),
            each.outcome,
            cut(each.error, _ERROR_COLUMNS),
        )
        for each in attempts
    ]
    _write_table(_ATTEMPTS_HEAD, rows, console)


def _write_history(entries: Iterable[Entry], console: Console) -> None:
    rows = [
        (
            str(entry.sequence),
            time_text(entry.at),
            *(text or NOTHING for text in (entry.from_status, entry.to_status)),
            *(text or NOTHING for text in (entry.by, entry.reason)),
        )
        for entry in entries
    ]
    _write_table(_HISTORY_HEAD, rows, console)


def _write_table(head: Cells, rows: Iterable[Cells], console: Console) -> None:
    table = [head, *(tuple(map(printable, row)) for row in rows)]
    console.line("")
    for text in table_lines(table, column_widths(table, None), None):
        console.line(text)


COMMAND: Final = Command(
    name="show",
    help_order=2,
    help="show a job, its failed attempts and its history",
    add_arguments=add_arguments,
    run=show_job,
)
