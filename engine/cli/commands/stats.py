"""Count the jobs of a place by status, by kind and lately; list pauses and engines."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from engine.cli.arguments import add_json, add_place
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.rates import LastHour, last_hour
from engine.cli.texts import NOTHING, Cells, counted, ready_cell
from engine.domain.models import Pause
from engine.domain.pauses import Pauses
from engine.domain.spans import distance
from engine.domain.time_text import time_text
from engine.portal.time import utc_now
from engine.storage.findings import printable_name
from engine.storage.overview import COUNTED_JOBS, EngineRow, KindCounts, Statuses

_STATUSES_HEAD: Final = ("STATUS", "JOBS")
_KINDS_HEAD: Final = ("KIND", "READY", "RUNNING", "WAITING", "OLDEST READY")
_HOUR_HEAD: Final = ("LAST HOUR", "JOBS")
_PAUSED_HEAD: Final = ("PAUSED", "NAME", "SINCE", "BY", "REASON")
_ENGINES_HEAD: Final = ("ENGINE", "NAME", "STATE", "JOBS", "GATES", "KINDS")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``stats``."""
    add_place(parser)
    add_json(parser, "write one JSON object")


def stats(arguments: Namespace, console: Console) -> Exit:
    """Write the counts, and the engines of a database."""
    now = utc_now()
    with arguments.place.reading() as view:
        statuses, counts, engines = view.statuses(), view.counts(), view.engines()
        pauses = view.pauses()
        kinds = () if statuses is None else view.kinds(statuses, now)
        hour = None if statuses is None else last_hour(view, statuses, now)
    jobs = _ordered(statuses, counts)
    is_complete = statuses is not None and all(
        counts.get(status, 0) <= COUNTED_JOBS for status in statuses.live
    )
    if arguments.json:
        console.json(_fields(jobs, kinds, hour, pauses, engines, is_complete=is_complete))
        return Exit.OK
    _write_table(_STATUSES_HEAD, [(name, f"{number:,}") for name, number in jobs.items()], console)
    _write_table(_KINDS_HEAD, [_kind_cells(each, pauses, now) for each in kinds], console)
    _write_table(_HOUR_HEAD, [] if hour is None else _hour_rows(hour), console)
    _write_table(_PAUSED_HEAD, [_paused_cells(each, now) for each in pauses], console)
    _write_table(_ENGINES_HEAD, [*map(_engine_cells, engines)], console)
    if statuses is None:
        console.note("kinds are not counted: no engine has kept its lifecycle here")
    elif not is_complete:
        console.note(f"kinds: of each status, the oldest {counted(COUNTED_JOBS, 'job')} alone")
    return Exit.OK


def _ordered(statuses: Statuses | None, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts in the lifecycle's order, and those of other statuses behind them."""
    known = () if statuses is None else statuses.statuses
    others = sorted(counts, key=printable_name)  # a damaged one may be no text
    return {printable_name(status): counts.get(status, 0) for status in (*known, *others)}


def _fields(
    jobs: Mapping[str, int],
    kinds: Sequence[KindCounts],
    hour: LastHour | None,
    pauses: Pauses,
    engines: Sequence[EngineRow],
    *,
    is_complete: bool,
) -> dict[str, object]:
    fields: dict[str, object] = {
        "jobs": jobs,
        "kinds": [{**each._asdict(), "oldest_ready": _time(each.oldest_ready)} for each in kinds],
        "all_kinds_counted": is_complete,
        "last_hour": hour and {**hour.throughput._asdict(), "all_counted": hour.are_all},
        "paused": [{**each.model_dump(), "at": time_text(each.at)} for each in pauses],
    }
    return {**fields, "engines": [each._asdict() for each in engines]} if engines else fields


def _time(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


def _kind_cells(kind: KindCounts, pauses: Pauses, now: datetime) -> Cells:
    oldest = NOTHING if kind.oldest_ready is None else distance(kind.oldest_ready, now)
    ready = ready_cell(kind.ready, is_paused=kind.kind in pauses.by_kind)
    return (kind.kind, ready, f"{kind.running:,}", f"{kind.waiting:,}", oldest)


def _hour_rows(hour: LastHour) -> Sequence[Cells]:
    least = "" if hour.are_all else "at least "
    happened = hour.throughput._asdict()
    return [(name.replace("_", " "), f"{least}{jobs:,}") for name, jobs in happened.items()]


def _paused_cells(pause: Pause, now: datetime) -> Cells:
    what, name = ("gate", pause.gate or "") if pause.kind is None else ("kind", pause.kind)
    return (what, name, distance(pause.at, now), pause.by or NOTHING, pause.reason or NOTHING)


def _engine_cells(engine: EngineRow) -> Cells:
    names = (", ".join(each) or NOTHING for each in (engine.gates, engine.kinds))
    return (str(engine.engine_id), engine.name, engine.state, f"{engine.jobs:,}", *names)


def _write_table(head: Cells, rows: Sequence[Cells], console: Console) -> None:
    """Write a table, if it has a row; an empty line stands before all but the first."""
    if not rows:
        return
    if head is not _STATUSES_HEAD:
        console.line("")
    console.table(head, rows, console.room)


COMMAND: Final = Command(
    name="stats",
    help_order=4,
    help="count jobs by status, by kind and lately, and list pauses and engines",
    add_arguments=add_arguments,
    run=stats,
    examples=("stats jobs.db", "stats postgresql://localhost/jobs --json"),
)
