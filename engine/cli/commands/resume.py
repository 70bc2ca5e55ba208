"""Resume a paused kind: engines claim its jobs again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_kind, add_reason, tell


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``resume``."""
    add_kind(parser)
    add_reason(parser)


def resume(arguments: Namespace, console: Console) -> Exit:
    """Resume a kind, and say whether it was paused."""
    place, kind = arguments.place, arguments.kind
    done = tell(place, "resume", kind=kind, reason=arguments.reason)
    state = "is resumed" if done["changed"] else "was not paused"
    console.line(f"{place.name}: the kind {kind} {state}")
    return Exit.OK


COMMAND: Final = Command(
    name="resume",
    help_order=29,
    help="resume a paused kind",
    add_arguments=add_arguments,
    run=resume,
    examples=("resume jobs.db report",),
)
