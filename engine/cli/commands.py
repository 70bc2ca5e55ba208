"""The commands: each reads a file and says what it found; its return is the exit code."""

from __future__ import annotations

import json
import shlex
import sqlite3
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import Cells, lines_of, plain, widths_of
from engine.domain.exceptions import JobDamagedError, shown
from engine.domain.json_text import value_of
from engine.storage.record import (
    Damaged,
    Entry,
    Record,
)
from engine.storage.sqlite import reading
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.check import check_file
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.findings import Report
from engine.storage.sqlite.paths import check_usable
from engine.storage.sqlite.rows import time_text

_BLOCK_JOBS: Final = 100  # read at once: each may have a result of a megabyte
_NOTHING: Final = "-"  # stands for None, so that a column is never empty

_LIST_HEAD: Final = ("JOB ID", "STATUS", "UPDATED", "INPUT HASH", "RESULT OR ERROR")
_HISTORY_HEAD: Final = ("SEQUENCE", "AT", "FROM", "TO")


def list_jobs(arguments: Namespace, console: Console) -> Exit:
    """Write a page of jobs, and how to get the next."""
    with _reading(arguments.file) as connection:
        found = _jobs(connection, arguments.status, arguments.after)
        page = _Page(islice(found, arguments.limit))
        if arguments.json:
            for each in page:
                console.json(_fields(each))
        else:
            _write_table(page, console)
        more = next(found, None) is not None
        if not page.jobs:
            console.note(_why_none(connection, arguments))
    if page.damaged:
        file = shlex.quote(str(arguments.file))
        console.note(
            f"damaged jobs: {page.damaged:,}; to learn more: python -m engine check {file}"
        )
    if more:
        console.note(f"the next ones: {_next_page(arguments, page.last_position)}")
    return Exit.DAMAGED if page.damaged else Exit.WELL


class _Page:
    """Goes through jobs, and keeps count."""

    def __init__(self, found: Iterable[Record | Damaged]) -> None:
        self._found = found
        self.jobs = 0
        self.damaged = 0
        self.last_position = 0

    def __iter__(self) -> Iterator[Record | Damaged]:
        for each in self._found:
            self.jobs += 1
            self.damaged += isinstance(each, Damaged)
            self.last_position = each.position
            yield each


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that sees one state of the file all the time."""
    _check_is_file(path)
    with closing(connect_reader(path)) as connection, translate_sqlite_errors(path):
        connection.execute("BEGIN")
        yield connection


def _check_is_file(path: Path) -> None:
    """Look at what is no file before it is opened: a named pipe would never answer.

    Raises:
        StorageError: It is something else, or has two names, of which one has the newest jobs.
    """
    with translate_os_errors(f"{path} can't be read"):
        found = path.exists()
    if found:
        check_usable(path)


def _jobs(
    connection: sqlite3.Connection, status: str | None, after: int
) -> Iterator[Record | Damaged]:
    while block := reading.page(connection, status, after, _BLOCK_JOBS):
        yield from block
        after = block[-1].position


def _write_table(jobs: Iterable[Record | Damaged], console: Console) -> None:
    """Write a line for each job. The first block says how wide the columns are."""
    waiting, head, widths = iter(jobs), [_LIST_HEAD], []
    while block := list(islice(waiting, _BLOCK_JOBS)):
        rows = [*head, *(_cells(each, console.room) for each in block)]
        if head:
            head, widths = [], widths_of(rows, console.room)
        for line in lines_of(rows, widths, console.room):
            console.line(line)


def _cells(job: Record | Damaged, room: int | None) -> Cells:
    if isinstance(job, Damaged):
        cells = (job.job_id, "(damaged)", _NOTHING, _NOTHING, job.problem)
    else:
        seconds = time_text(job.updated_at).partition(".")[0] + "Z"
        outcome = job.result or job.error or _NOTHING
        cells = (job.job_id, job.status, seconds, job.input_hash, outcome)
    # What can't be seen need not be made fit to be seen.
    return [plain(cell if room is None else cell[: room + 1]) for cell in cells]


def _fields(job: Record | Damaged) -> dict[str, Any]:
    """Return a job's fields, as `engine.Job` has them."""
    if isinstance(job, Damaged):
        return {"job_id": job.job_id, "damaged": job.problem}
    return {
        "job_id": job.job_id,
        "status": job.status,
        "input_hash": job.input_hash,
        "blockchain_identifier": job.identifier,
        "created_at": time_text(job.created_at),
        "updated_at": time_text(job.updated_at),
        "result": job.result,
        "error": job.error,
        "version": job.version,
        "idempotency_key": job.idempotency_key,
        **_execution_fields(job),
    }


def _execution_fields(job: Record) -> dict[str, Any]:
    """Return the fields that few jobs have, for a job that has them."""
    execution = job.execution
    fields = {
        "input": value_of(job.input),
        "priority": execution.priority or None,
        "attempt": execution.attempt or None,
        "next_attempt_at": _time_text(execution.retry_at),
        "deadline_at": _time_text(execution.deadline_at),
        "prompt": value_of(execution.prompt),
        "cancel_reason": execution.cancel_reason,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _time_text(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


def _why_none(connection: sqlite3.Connection, arguments: Namespace) -> str:
    jobs = "no jobs"
    if arguments.status is not None:
        known = ", ".join(sorted(map(plain, reading.counts(connection)))) or "none"
        jobs += f" with the status {shown(arguments.status)} (statuses in the file: {known})"
    return f"{jobs} after {arguments.after}" if arguments.after else jobs


def _next_page(arguments: Namespace, after: int) -> str:
    command = ["python", "-m", "engine", "list", str(arguments.file)]
    if arguments.status is not None:
        command += ["--status", arguments.status]
    command += ["--limit", str(arguments.limit), "--after", str(after)]
    return shlex.join([*command, "--json"] if arguments.json else command)


def show_job(arguments: Namespace, console: Console) -> Exit:
    """Write a job and its history."""
    job_id = arguments.job_id
    with _reading(arguments.file) as connection:
        found = reading.checkout(connection, [job_id], [])
        if job_id in found.damaged:
            raise JobDamagedError(job_id, found.damaged[job_id].problem)
        if job_id not in found.jobs:
            console.note(f"engine: {arguments.file} has no job {shown(job_id)}")
            return Exit.NO_SUCH_JOB
        job = found.jobs[job_id]
        try:
            history = reading.history(connection, job_id) or []
        except JobDamagedError:
            if not arguments.json:
                _write_fields(job, console)
            raise
    if arguments.json:
        console.json({**_fields(job), "history": [_line_fields(line) for line in history]})
    else:
        _write_fields(job, console)
        _write_history(history, console)
    return Exit.WELL


def _write_fields(job: Record, console: Console) -> None:
    fields = _fields(job)
    if failures := job.execution.failures:
        fields["failures"] = failures
    width = max(map(len, fields))
    for name, value in fields.items():
        text = _text_of(value)
        label = name
        for line in text.split("\n"):
            console.line(f"{label:{width}}  {plain(line)}".rstrip())
            label = ""


def _text_of(value: object) -> str:
    if value is None:
        return _NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_history(history: Iterable[Entry], console: Console) -> None:
    rows = [
        (str(line.sequence), time_text(line.at), line.from_status or _NOTHING, line.to_status)
        for line in history
    ]
    table = [_HISTORY_HEAD, *(tuple(map(plain, row)) for row in rows)]
    console.line("")
    for text in lines_of(table, widths_of(table, None), None):
        console.line(text)


def _line_fields(line: Entry) -> dict[str, Any]:
    """Return the fields of a line of history, as `engine.Transition` has them."""
    return {**line._asdict(), "at": time_text(line.at)}


def check(arguments: Namespace, console: Console) -> Exit:
    """Write all that is wrong with a file, and how much was looked at."""
    _check_is_file(arguments.file)
    with console.progress(f"checking {arguments.file}", "jobs and transitions") as progress:
        report = check_file(arguments.file, progress)
    if arguments.json:
        findings = [finding._asdict() for finding in report.findings]
        counts = {"jobs": report.jobs, "transitions": report.transitions}
        console.json({**counts, "problems": report.problems, "findings": findings})
    else:
        _write_report(report, arguments.file, console)
    return Exit.DAMAGED if report.problems else Exit.WELL


def _write_report(report: Report, path: Path, console: Console) -> None:
    for where, problem in report.findings:
        console.line(f"{where}: {plain(problem)}")
    more = report.problems - len(report.findings)
    if more:
        console.line(f"and {more:,} more")
    verdict = {0: "sound", 1: "1 problem"}.get(report.problems, f"{report.problems:,} problems")
    jobs = _counted(report.jobs, "job")
    console.line(f"{path}: {jobs}, {_counted(report.transitions, 'transition')}: {verdict}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def backup(arguments: Namespace, console: Console) -> Exit:
    """Copy a file, while an engine may go on writing to it."""
    _check_is_file(arguments.file)
    check_usable(arguments.copy)
    with console.progress(f"copying {arguments.file}", "pages") as progress:
        back_up(arguments.file, arguments.copy, progress)
    size = arguments.copy.stat().st_size
    console.line(f"{arguments.copy}: a copy of {arguments.file}, {size:,} bytes")
    return Exit.WELL
