"""``python -m tests.bench``: measure everything and print the tables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.bench import (
    alone,
    awaited,
    durable,
    gated,
    judging,
    million,
    peers,
    picture,
    pieces,
    processes,
    startup,
    threaded,
    watched,
    working,
    working_peers,
)
from tests.bench.against import compare
from tests.bench.checkouts import ComparisonError
from tests.bench.measure import Best, Row, print_table, progress, versions
from tests.bench.options import Options, read_options, table_names
from tests.bench.rounds import Rounds

_ROOT = Path(__file__).parents[2]

Tables: TypeAlias = dict[str, tuple[str, Callable[[], list[Row]]]]


def main() -> int:
    """Run the benchmarks; the exit code is 1 if a target is missed, or a scenario is worse."""
    options = read_options()
    scale = 100 if options.quick else 1
    if options.against is None:
        met = _print_tables(options, scale)
        return 0 if met or options.quick else 1
    try:
        met = compare(_ROOT, options.against, options.only, options.rounds, 1 / scale)
    except ComparisonError as error:
        print(f"python -m tests.bench: error: {error}", file=sys.stderr)
        return 2
    return 0 if met or options.quick else 1


def _print_tables(options: Options, scale: int) -> bool:
    """Measure and print the wanted tables; return whether every target is met."""
    turns = 1 if options.quick else 5
    print(f"{versions()}, best of {turns} turns")
    names = table_names(options)
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
        _print_pieces(scale, turns)
    if options.picture is not None:
        _draw(options.picture, ours, theirs if "peers" in names else None)
    return met


def _print_pieces(scale: int, turns: int) -> None:
    made_of = pieces.lines(1_000_000 // scale, 20_000 // scale, turns)
    progress("")
    print("\n### What a get is made of\n", *made_of, sep="\n")


def _tables(scale: int, turns: int) -> Tables:
    """Return the measurements in memory."""
    return {
        # First, while the process's memory is empty.
        "million": (
            "A million live jobs",
            lambda: million.rows(1_000_000 // scale, 20_000 // scale, turns),
        ),
        "awaited": ("Awaited", lambda: awaited.rows(100_000 // scale, turns)),
        "threads": ("Threads", lambda: threaded.rows(10_000 // scale, turns)),
    }


def _durable_tables(scale: int, turns: int, ours: Best, theirs: Best) -> Tables:
    """Return the measurements in a file; they also collect figures for the picture."""
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
    """Return the measurements of jobs that are run, awaited and watched."""
    return {
        "working": (
            "Jobs with a handler",
            lambda: working.rows(Rounds(), max(200, 10_000 // scale), turns),
        ),
        "alone": ("One job at a time", lambda: alone.rows(Rounds(), 1_000 // scale, turns)),
        "processes": (
            "Handlers in processes",
            lambda: processes.rows(Rounds(), 5_000 // scale, turns),
        ),
        "gated": (
            "Jobs that wait at a gate",
            lambda: gated.rows(Rounds(), 100_000 // scale, 100 // min(scale, 10), 10.0 / scale),
        ),
        "judging": ("Judging answers", lambda: judging.rows(Rounds(), turns)),
        "watched": ("Watching", lambda: watched.rows(Rounds(), 10_000 // scale, turns)),
        "working_peers": (
            "Jobs with a handler, beside other packages",
            lambda: working_peers.rows(Rounds(), max(200, 10_000 // scale), 1 / scale, turns),
        ),
    }


def _draw(path: Path, ours: Best, theirs: Best | None) -> None:
    if picture.is_drawable():
        picture.draw(path, ours, theirs)
    else:
        print("the picture is left out: matplotlib is not installed (pip install -e '.[bench]')")


if __name__ == "__main__":
    sys.exit(main())
