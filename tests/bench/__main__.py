"""``python -m tests.bench``: measure everything and print the tables."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

from tests.bench import awaited, million, pieces, threaded
from tests.bench.measure import Row, print_table, progress


def main() -> int:
    """Run the benchmarks; exit code 1 if a target was not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small counts: a smoke test, no figures"
    )
    parser.add_argument(
        "--only", choices=["million", "awaited", "threads", "pieces"], help="one table only"
    )
    options = parser.parse_args()
    scale = 100 if options.quick else 1
    turns = 1 if options.quick else 5
    print(
        f"CPython {platform.python_version()}, anyio {version('anyio')}, trio {version('trio')}, "
        f"pydantic {version('pydantic')}, {os.cpu_count()} cores, best of {turns} turns"
    )
    tables: dict[str, tuple[str, Callable[[], list[Row]]]] = {
        # First, while the process's memory holds nothing else.
        "million": (
            "A million live jobs",
            lambda: million.rows(1_000_000 // scale, 20_000 // scale, turns),
        ),
        "awaited": ("Awaited", lambda: awaited.rows(100_000 // scale, turns)),
        "threads": ("Threads", lambda: threaded.rows(10_000 // scale, turns)),
    }
    met = True
    for name, (title, measure) in tables.items():
        if options.only in (None, name):
            rows = measure()
            progress("")
            print_table(title, rows)
            met = met and all(row.met for row in rows)
    if options.only in (None, "pieces"):
        made_of = pieces.lines(1_000_000 // scale, 20_000 // scale, turns)
        progress("")
        print("\n### What a get is made of\n", *made_of, sep="\n")
    return 0 if met or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
