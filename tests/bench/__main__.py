"""``python -m tests.bench``: measure everything and print the tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.bench import picture
from tests.bench.against import compare
from tests.bench.checkouts import ComparisonError
from tests.bench.git import GitError
from tests.bench.machine import commit_of
from tests.bench.measure import Best, progress
from tests.bench.options import Options, read_options, table_names
from tests.bench.page import Page, PageError
from tests.bench.tables import TABLES, Run, measured

_ROOT: Final = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmarks; the exit code is 1 if a target is missed, or a scenario is worse."""
    options = read_options()
    scale = 100 if options.quick else 1
    try:
        if options.against is None:
            met = _print_tables(options, Run(scale, turns=1 if options.quick else 5))
        else:
            met = compare(_ROOT, options.against, options.only, options.rounds, 1 / scale)
    except (ComparisonError, GitError, PageError) as error:
        print(f"python -m tests.bench: error: {error}", file=sys.stderr)
        return 2
    return 0 if met or options.quick else 1


def _print_tables(options: Options, run: Run) -> bool:
    """Measure, print and write the wanted tables; return whether every target is met."""
    page = None if options.page is None else Page(options.page, TABLES)
    commit = commit_of(_ROOT, options.page)
    names = table_names(options)
    if page is not None:
        page.check(names)
    met = True
    for name, table in TABLES.items():
        if name in names:
            measurement = measured(table, run, commit)
            progress("")
            print(f"\n### {table.title}\n", *measurement.lines, sep="\n")
            if page is not None:
                page.write(name, "\n".join(measurement.lines))
            met = met and measurement.met
    if options.picture is not None:
        _draw(options.picture, run.ours, run.theirs if "peers" in names else None)
    return met


def _draw(path: Path, ours: Best, theirs: Best | None) -> None:
    if picture.is_drawable():
        picture.draw(path, ours, theirs)
    else:
        print("the picture is left out: matplotlib is not installed (pip install -e '.[bench]')")


if __name__ == "__main__":
    sys.exit(main())
