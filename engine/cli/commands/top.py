"""Show a place live: rates, queues, engines, the slowest jobs, and those that are overdue."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.cli.arguments import add_place
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.polling import looks
from engine.cli.rates import Rates, RecentTransitions
from engine.cli.texts import NOTHING, Cells, ready_cell
from engine.domain.exceptions import StorageError
from engine.domain.pauses import Pauses
from engine.domain.spans import distance, span
from engine.domain.visible_text import visible
from engine.portal.time import utc_now
from engine.storage.filter import JobFilter
from engine.storage.inspection import View
from engine.storage.overview import EngineRow, KindCounts, Statuses
from engine.storage.record import Damaged, Record

if TYPE_CHECKING:
    from rich.console import Group
    from rich.padding import Padding

_SHOWN_JOBS: Final = 8
_LINE: Final[dict[str, Any]] = {"no_wrap": True, "overflow": "ellipsis"}
_SEARCHED_JOBS: Final = 500  # of each status, at a look


class _Look(NamedTuple):
    """What a look at the place has shown."""

    now: datetime
    counts: Sequence[tuple[str, int]]
    rates: Rates
    kinds: Sequence[KindCounts]
    pauses: Pauses
    engines: Sequence[EngineRow]
    slowest: Sequence[Record]
    """Of the oldest running jobs, those whose attempts began first."""
    overdue: Sequence[Record]
    """Of the oldest late jobs of each status, those that were due first."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``top``."""
    add_place(parser)
    parser.add_argument(
        "--once", action="store_true", help="write one look and end, as it is without a terminal"
    )


def top(arguments: Namespace, console: Console) -> Exit:
    """Show looks at the place, one after the other, until Ctrl-C."""
    try:
        import rich.console  # noqa: PLC0415 - an extra
        import rich.live  # noqa: PLC0415
    except ModuleNotFoundError:
        console.note("engine: top needs the package rich: pip install 'engine[cli]'")
        return Exit.USAGE
    recent = RecentTransitions()
    screen = rich.console.Console(highlight=False)
    is_live = console.room is not None and not arguments.once
    found = (_look(view, recent, arguments) for view in looks(arguments.place))
    if not is_live:
        screen.print(_page(arguments.place.name, next(found)))
        return Exit.OK
    with rich.live.Live(console=screen, screen=True, auto_refresh=False) as live:
        for each in found:
            live.update(_page(arguments.place.name, each), refresh=True)
    raise AssertionError  # looks have no end


def _look(view: View, recent: RecentTransitions, arguments: Namespace) -> _Look:
    """Look at a place.

    Raises:
        StorageError: It can't be read, or no engine has kept its lifecycle there.
    """
    statuses, now = view.statuses(), utc_now()
    if statuses is None:
        raise StorageError(
            f"{arguments.place.name} tells no lifecycle: open it with an engine once"
        )
    counts = view.counts()
    known = [(status, counts.get(status, 0)) for status in statuses.statuses]
    return _Look(
        now,
        [*known, *((each, counts[each]) for each in counts if each not in statuses.statuses)],
        recent.look(view, statuses, now),
        view.kinds(statuses, now),
        view.pauses(),
        view.engines(),
        _slowest(view, statuses),
        _overdue(view, statuses, now),
    )


def _slowest(view: View, statuses: Statuses) -> list[Record]:
    held = [
        job
        for job in _first_jobs(view, JobFilter(statuses.running))
        if job.execution.token is not None and job.execution.claimed_at is not None
    ]
    return sorted(held, key=lambda job: job.execution.claimed_at or job.updated_at)[:_SHOWN_JOBS]


def _overdue(view: View, statuses: Statuses, now: datetime) -> list[Record]:
    late = [
        job for status in statuses.live for job in _first_jobs(view, JobFilter(status, due_by=now))
    ]
    return sorted(late, key=_due_at)[:_SHOWN_JOBS]


def _first_jobs(view: View, jobs: JobFilter) -> Iterator[Record]:
    """Return the sound ones of the oldest jobs that a filter admits, up to a number."""
    page = view.page(jobs, 0, _SEARCHED_JOBS)
    return (job for job in page.jobs if not isinstance(job, Damaged))


def _due_at(job: Record) -> datetime:
    times = (job.execution.deadline_at, job.execution.retry_at)
    return min(time for time in times if time is not None)


def _page(name: str, look: _Look) -> Group:
    from rich.console import Group  # noqa: PLC0415 - an extra
    from rich.text import Text  # noqa: PLC0415

    now, rates = look.now, look.rates
    least = "" if rates.is_complete else "at least "
    parts = [
        Text(f"{now:%Y-%m-%d %H:%M:%S} UTC  {visible(name)}", **_LINE, style="bold"),
        Text(
            f"last minute: {least}{rates.created:,} created, {rates.succeeded:,} succeeded, "
            f"{rates.failed:,} failed",
            **_LINE,
        ),
        _table(("STATUS", "JOBS"), [(status, f"{jobs:,}") for status, jobs in look.counts]),
        _table(
            ("KIND", "READY", "RUNNING", "WAITING", "OLDEST READY"),
            [
                (
                    each.kind,
                    ready_cell(each.ready, is_paused=each.kind in look.pauses.by_kind),
                    *(f"{each.running:,}", f"{each.waiting:,}"),
                    NOTHING if each.oldest_ready is None else span(now - each.oldest_ready),
                )
                for each in look.kinds
            ],
        ),
        _table(
            ("ENGINE", "STATE", "JOBS", "KINDS"),
            [
                (
                    *(each.name, each.state, f"{each.jobs:,}"),
                    ", ".join(each.kinds) or NOTHING,
                )
                for each in look.engines
            ],
        ),
        _table(
            ("SLOWEST", "KIND", "ATTEMPT", "FOR"),
            [
                (
                    *(job.job_id, job.kind, f"{job.execution.attempt:,}"),
                    span(now - (job.execution.claimed_at or now)),
                )
                for job in look.slowest
            ],
        ),
        _table(
            ("OVERDUE", "KIND", "STATUS", "DUE"),
            [
                (job.job_id, job.kind, job.status, distance(_due_at(job), now))
                for job in look.overdue
            ],
        ),
    ]
    return Group(*(part for part in parts if part is not None))


def _table(head: Cells, rows: Sequence[Cells]) -> Padding | None:
    """Return a table below an empty line, its numbers on the right; None without a row."""
    from rich.padding import Padding  # noqa: PLC0415 - an extra
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in head:
        is_number = name in {"JOBS", "READY", "RUNNING", "WAITING", "ATTEMPT"}
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return Padding(table, (1, 0, 0, 0))


COMMAND: Final = Command(
    name="top",
    help_order=5,
    help="show rates, queues, engines, the slowest and the overdue jobs, live",
    add_arguments=add_arguments,
    run=top,
    examples=("top jobs.db", "top postgresql://localhost/jobs --once"),
)
