"""Show who has acted: the newest lines of the audit first."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from json import dumps, loads
from typing import Final

from engine.cli.arguments import actor, add_json, add_place, identifier, time, whole_number
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import NOTHING, Cells, cut
from engine.cli.times import moment
from engine.domain.time_text import time_text
from engine.domain.visible_text import visible
from engine.operations.fields import audit_fields
from engine.portal.time import utc_now
from engine.storage.audit import DamagedAuditLine, KeptAuditLine
from engine.storage.inspection import View

_LIMIT: Final = 100
_FOR: Final = ") for "  # as `engine.control.peer` writes it
_BLOCK_LINES: Final = 1_000  # read at once
_HEAD: Final = ("AT", "BY", "ACTION", "JOB ID", "REASON", "ARGUMENTS")
_SECONDS: Final = len("2026-11-22T13:00:00")
_MINUTES: Final = len("2026-11-22T13:00")  # which leave a terminal more room for the reasons
_TEXT_COLUMNS: Final = 80  # where there is no terminal: a line is bounded everywhere


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``audit``."""
    add_place(parser)
    parser.add_argument(
        "--job", type=identifier, metavar="ID", help="only acts on this job, also a removed one"
    )
    parser.add_argument(
        "--by",
        type=actor,
        metavar="WHO",
        help="only what WHO has done: a whole name, or its first words; of 'user ann (uid 1000, "
        "pid 7) for eve' also ann, and eve",
    )
    parser.add_argument(
        "--since",
        type=time,
        metavar="TIME",
        help="only acts from this time on: an age such as 2h, or a time such as 2026-11-22",
    )
    parser.add_argument(
        "--limit",
        type=whole_number(1),
        default=_LIMIT,
        metavar="N",
        help="how many; 100 by default",
    )
    add_json(parser, "write each act as a JSON object, one a line")


def audit(arguments: Namespace, console: Console) -> Exit:
    """Write the newest acts, a line each."""
    since = None if arguments.since is None else moment(arguments.since, utc_now())
    with arguments.place.reading() as view:
        found = _chosen(_all_lines(view, arguments.job), arguments.by, since)
        lines = [*islice(found, arguments.limit)]
        has_more = next(found, None) is not None
    damaged = sum(isinstance(line, DamagedAuditLine) for line in lines)
    if arguments.json:
        for line in lines:
            console.json(audit_fields(line))
    elif lines:
        console.table(_HEAD, (_cells(line, console.room) for line in lines), console.room)
    else:
        console.note("nobody has acted so: the audit has the calls that were given `by`")
    if has_more:
        console.note(f"there are older ones: --limit {2 * arguments.limit} shows more")
    if damaged:
        check = f"{arguments.program} check {shlex.quote(arguments.place.name)}"
        console.note(f"damaged lines: {damaged:,}; to learn more: {check}")
    return Exit.DAMAGED if damaged else Exit.OK


def _all_lines(view: View, job_id: str | None) -> Iterator[KeptAuditLine | DamagedAuditLine]:
    before: int | None = None
    while lines := view.audit(before, _BLOCK_LINES, job_id):
        yield from lines
        before = lines[-1].number


def _chosen(
    lines: Iterator[KeptAuditLine | DamagedAuditLine], by: str | None, since: datetime | None
) -> Iterator[KeptAuditLine | DamagedAuditLine]:
    """Return those of somebody, and since a time. All are looked at: a clock may be set back.

    Nobody knows whose the damaged ones are, so they are among them.
    """
    for line in lines:
        if isinstance(line, DamagedAuditLine) or (
            (by is None or _is_by(line, by)) and (since is None or line.at >= since)
        ):
            yield line


def _is_by(line: KeptAuditLine, who: str) -> bool:
    _, _, for_whom = line.by.partition(_FOR)
    names = (line.by, line.by.removeprefix("user "), for_whom)
    return any(f"{name} ".startswith(f"{who} ") for name in names)


def _cells(line: KeptAuditLine | DamagedAuditLine, room: int | None) -> Cells:
    """Return the cells of a line. Long texts are cut, also in a pipe."""
    most = room or _TEXT_COLUMNS
    if isinstance(line, DamagedAuditLine):
        problem = cut(visible(str(line)[: most + 1]), most)
        return NOTHING, NOTHING, "(damaged)", NOTHING, problem, NOTHING
    given = {} if line.arguments is None else loads(line.arguments)
    pairs = ", ".join(f"{name}={_shown(value)}" for name, value in given.items())
    return (
        time_text(line.at)[: _SECONDS if room is None else _MINUTES] + "Z",
        line.by if room is None else _actor(line.by),
        line.action,
        line.job_id or NOTHING,
        cut(visible((line.reason or NOTHING)[: most + 1]), most),
        cut(visible((pairs or NOTHING)[: most + 1]), most),
    )


def _actor(by: str) -> str:
    """Return who has acted, as a column of a terminal has room for it.

    A text of `engine.control.peer` begins with the program, and its user is who is looked for.
    """
    program, is_for, whom = by.removeprefix("user ").partition(_FOR)
    return f"{whom} (said by {program.partition(' (')[0]})" if is_for else by


def _shown(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)


COMMAND: Final = Command(
    name="audit",
    help_order=6,
    help="show who has acted on jobs, and why, the newest first",
    add_arguments=add_arguments,
    run=audit,
    examples=(
        "audit jobs.db --since 24h",
        "audit jobs.db --job 019aabb3-5a0c-7c1f-9d5b-9f3c6a4f1f0e",
        "audit jobs.db --by ann --json",
    ),
)
