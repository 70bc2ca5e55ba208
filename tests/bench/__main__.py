"""``python -m tests.bench``: measure everything and print the tables."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from tests.bench import (
    alone,
    awaited,
    durable,
    gated,
    million,
    peers,
    picture,
    pieces,
    startup,
    threaded,
    watched,
    working,
    working_peers,
)
from tests.bench.measure import Best, Row, print_table, progress
from tests.bench.rounds import Rounds

_NAMES = (
    "million",
    "awaited",
    "threads",
    "durable",
    "startup",
    "working",
    "alone",
    "gated",
    "watched",
    "peers",
    "working_peers",
    "pieces",
)
_PEERS = {"peers": peers.NAMES, "working_peers": working_peers.NAMES}

Tables: TypeAlias = dict[str, tuple[str, Callable[[], list[Row]]]]


def main() -> int:
    """Run the benchmarks; exit code 1 if a target was not met."""
    options = _options()
    scale = 100 if options.quick else 1
    turns = 1 if options.quick else 5
    print(
        f"CPython {platform.python_version()}, anyio {version('anyio')}, trio {version('trio')}, "
        f"pydantic {version('pydantic')}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, "
        f"files in {tempfile.gettempdir()}, best of {turns} turns"
    )
    names = _names(options)
    ours, theirs = Best(), Best()
    met = True
    tables = (
        _tables(scale, turns)
        | _durable_tables(scale, turns, ours, theirs)
        | _working_tables(scale, turns)
    )
    for name, (title, measure) in tables.items():
        if name in names:
            rows = measure()
            progress("")
            print_table(title, rows)
            if name == "durable":
                print("", *durable.lines(ours), sep="\n")
            met = met and all(row.met for row in rows)
    if "pieces" in names:
        made_of = pieces.lines(1_000_000 // scale, 20_000 // scale, turns)
        progress("")
        print("\n### What a get is made of\n", *made_of, sep="\n")
    if options.picture is not None:
        _draw(options.picture, ours, theirs if "peers" in names else None)
    return 0 if met or options.quick else 1


def _tables(scale: int, turns: int) -> Tables:
    """Return how to measure what is kept in memory."""
    return {
        # First, while the process's memory holds nothing else.
        "million": (
            "A million live jobs",
            lambda: million.rows(1_000_000 // scale, 20_000 // scale, turns),
        ),
        "awaited": ("Awaited", lambda: awaited.rows(100_000 // scale, turns)),
        "threads": ("Threads", lambda: threaded.rows(10_000 // scale, turns)),
    }


def _durable_tables(scale: int, turns: int, ours: Best, theirs: Best) -> Tables:
    """Return how to measure what is kept in a file; the figures are there for the picture, too."""
    return {
        "durable": ("Durable", lambda: durable.rows(ours, 1 / scale, turns)),
        "startup": (
            "Start on a large file",
            lambda: startup.rows(1_000_000 // scale, 10_000 // scale, turns),
        ),
        "peers": (
            "Durable, beside other packages",
            lambda: peers.rows(theirs, 1 / scale, turns),
        ),
    }


def _working_tables(scale: int, turns: int) -> Tables:
    """Return how to measure jobs that are run, waited for and watched."""
    return {
        "working": (
            "Jobs with a handler",
            lambda: working.rows(Rounds(), max(200, 10_000 // scale), turns),
        ),
        "alone": ("One job at a time", lambda: alone.rows(Rounds(), 1_000 // scale, turns)),
        "gated": (
            "Jobs that wait at a gate",
            lambda: gated.rows(Rounds(), 100_000 // scale, 100 // min(scale, 10), 10.0 / scale),
        ),
        "watched": ("Watching", lambda: watched.rows(Rounds(), 10_000 // scale, turns)),
        "working_peers": (
            "Jobs with a handler, beside other packages",
            lambda: working_peers.rows(Rounds(), max(200, 10_000 // scale), 1 / scale, turns),
        ),
    }


def _options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small counts, no peers: a smoke test, no figures"
    )
    parser.add_argument("--only", choices=_NAMES, help="one table only")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the durable figures (SVG or PNG)"
    )
    options = parser.parse_args()
    if options.picture is not None and options.only not in {None, "durable"}:
        parser.error("the picture shows the durable table: leave --only out, or --only durable")
    return options


def _names(options: argparse.Namespace) -> set[str]:
    """Return which tables to print; say which peers are left out."""
    if options.only is None and options.quick:
        return {*_NAMES} - {*_PEERS}
    names = {*_NAMES} if options.only is None else {options.only}
    for table, its_peers in _PEERS.items():
        reasons = {name: peers.why_left_out(name) for name in its_peers if table in names}
        for name, reason in reasons.items():
            if reason is not None:
                print(f"{table}: {name} is left out: {reason}")
        if reasons and all(reasons.values()):
            names.remove(table)
    return names


def _draw(path: Path, ours: Best, theirs: Best | None) -> None:
    if picture.is_drawable():
        picture.draw(path, ours, theirs)
    else:
        print("the picture is left out: matplotlib is not installed (pip install -e '.[bench]')")


if __name__ == "__main__":
    sys.exit(main())
