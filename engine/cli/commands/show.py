"""Show one job: its fields, its failed attempts, its follow-ups and its history."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from engine.cli.arguments import add_json, add_place
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.job_ids import add_job_id, find_job
from engine.cli.texts import NOTHING, Cells, cut
from engine.domain.epochs import Epochs
from engine.domain.exceptions import JobDamagedError
from engine.domain.models import Progress
from engine.domain.spans import distance
from engine.domain.time_text import time_text
from engine.operations.fields import attempt_fields, entry_fields, follow_up_fields, job_fields
from engine.portal.time import utc_now
from engine.storage.filter import JobFilter
from engine.storage.inspection import View
from engine.storage.record import AttemptRecord, Damaged, Entry, Record

_ATTEMPTS_HEAD: Final = ("ATTEMPT", "BEGAN", "ENDED", "OUTCOME", "ERROR")
_ERROR_COLUMNS: Final = 80
_FOLLOW_UPS_HEAD: Final = ("FOLLOW-UP", "KIND", "STATUS", "UPDATED", "ERROR")
_HISTORY_HEAD: Final = ("SEQUENCE", "AT", "FROM", "TO", "BY", "REASON")
_FAMILY_JOBS: Final = 100  # of a root; most have a few


@dataclass(frozen=True, kw_only=True)
class _Around:
    """What stands beside a job's own fields."""

    holder: str | None
    progress: Progress | None
    parent: str
    """The parent's status."""
    follow_ups: Sequence[Record | Damaged]
    has_more: bool
    """Whether the family has more jobs than were looked at."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``show``."""
    add_place(parser)
    add_job_id(parser)
    add_json(parser, "write one JSON object, with attempts, follow-ups and history in it")


def show_job(arguments: Namespace, console: Console) -> Exit:
    """Write a job, its failed attempts, its follow-ups and its history.

    Raises:
        JobDamagedError: The job, its attempts or its history are damaged.
    """
    with arguments.place.reading() as view:
        job = find_job(view, arguments, console)
        if isinstance(job, Exit):
            return job
        around = _around(view, job)
        try:
            entries, failed = view.history(job.job_id), view.attempts(job.job_id)
        except JobDamagedError:
            if not arguments.json:
                _write_fields(job, around, console)
            raise
        epochs = Epochs()
        epochs.set(view.epochs())
    if arguments.json:
        lines = [entry_fields(entry, epochs) for entry in entries]
        console.json({**_json_fields(job, around, failed), "history": lines})
    else:
        _write_fields(job, around, console)
        _write_attempts(failed, console)
        _write_follow_ups(around.follow_ups, console)
        _write_history(entries, console)
    if around.has_more:
        place = shlex.quote(arguments.place.name)
        console.note(
            f"it has many follow-ups: {arguments.program} list {place} --json has their parent_id"
        )
    return Exit.OK


def _around(view: View, job: Record) -> _Around:
    family = view.page(JobFilter(root_id=job.root_id), 0, _FAMILY_JOBS)
    return _Around(
        holder=view.holder(job.job_id),
        progress=view.progress(job.job_id),
        parent=NOTHING if job.parent_id is None else _status_of(view, job.parent_id),
        follow_ups=[
            each
            for each in family.jobs
            if isinstance(each, Damaged) or each.parent_id == job.job_id
        ],
        has_more=family.next_after is not None,
    )


def _status_of(view: View, job_id: str) -> str:
    try:
        job = view.job(job_id)
    except JobDamagedError:
        return "damaged"
    return "not there" if job is None else job.status


def _json_fields(
    job: Record, around: _Around, failed: Sequence[AttemptRecord]
) -> dict[str, object]:
    fields: dict[str, object] = job_fields(job, around.progress)
    if around.holder is not None:
        fields["held_by"] = around.holder
    if failed:
        fields["attempts"] = [attempt_fields(each) for each in failed]
    if around.follow_ups:
        fields["follow_ups"] = [follow_up_fields(each) for each in around.follow_ups]
    return fields


def _write_fields(job: Record, around: _Around, console: Console) -> None:
    texts = dict(_texts(job, around))
    width = max(map(len, texts))
    for name, text in texts.items():
        label = name
        for line in text.split("\n"):
            console.line(f"{label:{width}}  {line}".rstrip())
            label = ""


def _texts(job: Record, around: _Around) -> Iterator[tuple[str, str]]:
    """Return the fields by their names, as texts of one or more lines."""
    now, times = utc_now(), _counted(job)
    for name, value in job_fields(job, around.progress).items():
        text, at = _text_of(name, value), times.get(name)
        if name == "parent_id" and value is not None:
            text += f" ({around.parent})"
        yield name, text if at is None else f"{text} ({distance(at, now)})"
        if name == "claimed_at" and around.holder is not None:
            yield "held_by", around.holder


def _counted(job: Record) -> dict[str, datetime | None]:
    """Return the times that are shown with their distance from now; none of an ended job."""
    if job.outcome is not None:
        return {}
    execution = job.execution
    return {
        "claimed_at": execution.claimed_at,
        "deadline_at": execution.deadline_at,
        "next_attempt_at": execution.retry_at,
        "not_before": execution.not_before,
    }


def _text_of(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return NOTHING
    if name == "progress":
        whole = "" if value["total"] is None else f" of {value['total']:g}"
        return f"{value['done']:g}{whole}" + (f", {value['note']}" if value["note"] else "")
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


def _write_follow_ups(follow_ups: Iterable[Record | Damaged], console: Console) -> None:
    rows = [
        (each.job_id, NOTHING, "(damaged)", NOTHING, cut(each.problem, _ERROR_COLUMNS))
        if isinstance(each, Damaged)
        else (
            each.job_id,
            each.kind,
            each.status,
            time_text(each.updated_at),
            cut(each.error or each.execution.last_error or NOTHING, _ERROR_COLUMNS),
        )
        for each in follow_ups
    ]
    _write_table(_FOLLOW_UPS_HEAD, rows, console)


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


def _write_table(head: Cells, rows: Sequence[Cells], console: Console) -> None:
    """Write a table, if it has a row."""
    if not rows:
        return
    console.line("")
    console.table(head, rows, None)


COMMAND: Final = Command(
    name="show",
    help_order=2,
    help="show a job, its failed attempts, its follow-ups and its history",
    add_arguments=add_arguments,
    run=show_job,
    examples=("show jobs.db 0190f3a7", "show jobs.db 0190f3a7 --json"),
)
