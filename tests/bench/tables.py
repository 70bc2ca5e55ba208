"""The tables of ``python -m tests.bench``, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Final

from tests.bench import (
    alone,
    awaited,
    durable,
    finding,
    follow_ups,
    gated,
    judging,
    kinds,
    million,
    peers,
    pieces,
    processes,
    startup,
    threaded,
    watched,
    working,
    working_peers,
)
from tests.bench.dashboard_load import Load
from tests.bench.dashboard_pages import Pages
from tests.bench.machine import Origin
from tests.bench.measure import Best
from tests.bench.postgres import Postgres
from tests.bench.rounds import Rounds
from tests.bench.rows import Row, row_lines


@dataclass(frozen=True)
class Run:
    """The extent of a run, and the figures that the picture or several parts of a table show."""

    divisor: int = 1
    """Divides all counts; only those of 1 are reliable."""
    turns: int = 5
    ours: Best = field(default_factory=Best)
    theirs: Best = field(default_factory=Best)
    postgres: Postgres = field(default_factory=Postgres)
    pages: Pages = field(default_factory=Pages)
    load: Load = field(default_factory=Load)

    @property
    def scale(self) -> float:
        return 1 / self.divisor

    def jobs(self, count: int, least: int = 1) -> int:
        return max(least, count // self.divisor)


@dataclass(frozen=True)
class Table:
    """A table, and how it is measured."""

    title: str
    rows: Callable[[Run], list[Row]]
    remarks: Callable[[Run], list[str]] = lambda _run: []
    """Makes the list below the rows, after them."""
    counts: str = "best"
    """Which of the turns counts."""


@dataclass(frozen=True)
class Measurement:
    """What a run found out for a table."""

    lines: list[str]
    met: bool
    """Whether every target is met."""


def measured(table: Table, run: Run, commit: str) -> Measurement:
    """Measure a table; return its rows, its remarks, and the line about their origin."""
    origin = Origin.begin(commit)
    rows, turns = table.rows(run), run.turns
    remarks = table.remarks(run)
    lines: list[str] = []
    if rows:
        turns = max(len(row.figure.turns) for row in rows)
        lines += [*row_lines(rows), ""]
    if remarks:
        lines += [*(line for remark in remarks for line in _wrapped(remark, "  ")), ""]
    how = f"{table.counts} of {turns} turn{'s' * (turns != 1)}"
    small = f", counts divided by {run.divisor}: no figures" if run.divisor > 1 else ""
    lines += _wrapped(origin.line(how + small))
    return Measurement(lines, met=all(row.met for row in rows))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return wrap(text, 100, subsequent_indent=indent, break_on_hyphens=False)


TABLES: Final = {
    # First, while the process's memory is empty.
    "million": Table(
        "A million live jobs",
        lambda run: million.rows(run.jobs(1_000_000), run.jobs(20_000), run.turns),
    ),
    "kinds": Table(
        "Claims of many kinds",
        lambda run: kinds.rows(Rounds(), run.jobs(1_000_000), run.jobs(10_000), run.turns),
        counts="median",
    ),
    "awaited": Table("Awaited", lambda run: awaited.rows(run.jobs(100_000), run.turns)),
    "threads": Table("Threads", lambda run: threaded.rows(run.jobs(10_000), run.turns)),
    "durable": Table(
        "Durable",
        lambda run: durable.rows(run.ours, run.scale, run.turns),
        lambda run: durable.lines(run.ours),
    ),
    "startup": Table(
        "Start on a large file",
        lambda run: startup.rows(run.jobs(1_000_000), run.jobs(10_000), run.turns),
    ),
    "peers": Table(
        "Durable, beside other packages",
        lambda run: peers.rows(run.theirs, run.scale, run.turns),
    ),
    "working": Table(
        "Jobs with a handler",
        lambda run: working.rows(Rounds(), run.jobs(10_000, least=200), run.turns),
        counts="median",
    ),
    "alone": Table(
        "One job at a time",
        lambda run: alone.rows(Rounds(), run.jobs(1_000), run.turns),
        counts="median",
    ),
    "follow_ups": Table(
        "Jobs with follow-ups",
        lambda run: follow_ups.rows(Rounds(), run.jobs(10_000, least=200), run.turns),
        counts="median",
    ),
    "processes": Table(
        "Handlers in processes",
        lambda run: processes.rows(Rounds(), run.jobs(5_000), run.turns),
        counts="median",
    ),
    "gated": Table(
        "Jobs that wait at a gate",
        lambda run: gated.rows(Rounds(), run.jobs(100_000), _gated_turn(run), run.turns),
        counts="median",
    ),
    "finding": Table(
        "Finding jobs",
        lambda run: finding.rows(Rounds(), run.jobs(100_000, least=2_000), run.turns),
        counts="median",
    ),
    "judging": Table(
        "Judging answers", lambda run: judging.rows(Rounds(), run.turns), counts="median"
    ),
    "watched": Table(
        "Watching",
        lambda run: watched.rows(Rounds(), run.jobs(10_000), run.turns),
        counts="median",
    ),
    "dashboard": Table(
        "Pages of the dashboard",
        lambda run: run.pages.rows(run.jobs(1_000_000), run.turns),
        lambda run: run.pages.remarks(),
        counts="median",
    ),
    "dashboards": Table(
        "Open dashboards",
        lambda run: run.load.rows(run.jobs(200, least=10), max(0.5, 4.0 * run.scale), run.turns),
        lambda run: run.load.remarks(),
        counts="median",
    ),
    "working_peers": Table(
        "Jobs with a handler, beside other packages",
        lambda run: working_peers.rows(Rounds(), run.jobs(10_000, least=200), run.scale, run.turns),
        counts="median",
    ),
    "postgres": Table(
        "Engines on a PostgreSQL server",
        lambda run: run.postgres.rows(run.divisor, run.turns),
        lambda run: run.postgres.remarks(),
        counts="median",
    ),
    "pieces": Table(
        "What a get is made of",
        lambda _run: [],
        lambda run: pieces.lines(run.jobs(1_000_000), run.jobs(20_000), run.turns),
    ),
}


def _gated_turn(run: Run) -> gated.Turn:
    return gated.Turn(run.jobs(20, least=5), 2.0 * run.scale)
