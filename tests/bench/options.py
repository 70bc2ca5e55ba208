"""The command line of ``python -m tests.bench``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.bench import peers, postgres_peers, working_peers
from tests.bench.tables import TABLES

_PEERS = {
    "peers": peers.NAMES,
    "working_peers": working_peers.NAMES,
    "postgres": postgres_peers.NAMES,
}
_WITHOUT_PEERS = {"postgres"}  # it has other rows, too
_ROUNDS = 7


@dataclass(frozen=True)
class Options:
    """The arguments of the command."""

    quick: bool
    only: list[str] | None
    """The names of tables; of scenarios if there is a revision."""
    picture: Path | None
    page: Path | None
    """Where the tables are written to."""
    against: str | None
    rounds: int


def read_options() -> Options:
    """Parse the command line; exit with code 2 if it is wrong."""
    parser = _parser()
    arguments = parser.parse_args()
    only = None if arguments.only is None else arguments.only.split(",")
    if arguments.against is None:
        _check_tables(parser, arguments, only)
    else:
        for name in ("picture", "write"):
            if getattr(arguments, name) is not None:
                parser.error(f"--{name} is for one tree: leave it or --against out")
    rounds = _ROUNDS if arguments.rounds is None else arguments.rounds
    if rounds < 1:
        parser.error(f"--rounds must be 1 or more, not {rounds}")
    return Options(
        arguments.quick, only, arguments.picture, arguments.write, arguments.against, rounds
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure everything and print the tables."
    )
    parser.add_argument(
        "--quick", action="store_true", help="small counts, no peers: a smoke test, no figures"
    )
    parser.add_argument("--only", metavar="A,B", help="these tables, or these scenarios, only")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the durable figures (SVG or PNG)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the tables to this page, too"
    )
    parser.add_argument(
        "--against", metavar="REV", help="compare with a commit, scenario by scenario, instead"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"how often to compare each scenario: {_ROUNDS}"
    )
    return parser


def _check_tables(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, only: list[str] | None
) -> None:
    for name in only or ():
        if name not in TABLES:
            parser.error(f"there is no table {name!r}: choose from {', '.join(TABLES)}")
    if arguments.picture is not None and only is not None and "durable" not in only:
        parser.error("the picture shows the durable table: leave --only out, or --only durable")
    if arguments.rounds is not None:
        parser.error("--rounds is for --against")


def table_names(options: Options) -> set[str]:
    """Return the tables to print; print the peers that are missing."""
    if options.only is None and options.quick:
        return {*TABLES} - {*_PEERS}
    names = {*TABLES} if options.only is None else {*options.only}
    for table, its_peers in _PEERS.items():
        reasons = {name: peers.why_left_out(name) for name in its_peers if table in names}
        for name, reason in reasons.items():
            if reason is not None:
                print(f"{table}: {name} is left out: {reason}")
        if reasons and all(reasons.values()) and table not in _WITHOUT_PEERS:
            names.remove(table)
    return names
