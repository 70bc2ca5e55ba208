"""Drain an engine: it claims no more jobs, and goes on with those that it has."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import add_place, add_reason, whole_number
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import drain as drain_engine
from engine.domain.exceptions import InvalidValueError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``drain``."""
    add_place(parser)
    parser.add_argument(
        "engine",
        nargs="?",
        type=whole_number(1),
        metavar="ENGINE",
        help="the number of the engine, as `stats` shows it",
    )
    add_reason(parser, "why, for the audit")
    parser.add_argument("--undo", action="store_true", help="let it claim jobs again")


def drain(arguments: Namespace, console: Console) -> Exit:
    """Drain an engine, or let it claim again."""
    place, engine, undo = arguments.place, arguments.engine, arguments.undo
    try:
        drain_engine(place, engine, arguments.reason, undo=undo)
    except InvalidValueError as error:
        console.note(f"engine: ENGINE {error.problem}{_living(arguments)}")
        return Exit.USAGE
    state = "claims jobs again" if undo else "is drained: `stats` shows how many jobs it still has"
    name = "its engine" if engine is None else f"engine {engine}"
    console.line(f"{place.name}: {name} {state}")
    return Exit.OK


def _living(arguments: Namespace) -> str:
    """Return words about the engines of a database that can be drained."""
    if arguments.place.file is not None:
        return ""
    with arguments.place.reading() as view:
        living = [f"{each.engine_id} ({each.name})" for each in view.engines() if not each.is_dead]
    return f"; those that live: {', '.join(living) or 'none'}"


COMMAND: Final = Command(
    name="drain",
    help_order=30,
    help="let an engine claim no more jobs, before you stop it",
    add_arguments=add_arguments,
    run=drain,
    examples=(
        "drain jobs.db",
        "drain postgresql://host/jobs 7",
        "drain postgresql://host/jobs 7 --undo",
    ),
)
