"""Resume a paused kind or gate: engines claim its jobs, or call its check, again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import add_reason
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_pausable, pausable, tell
from engine.domain.exceptions import InvalidValueError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``resume``."""
    add_pausable(parser)
    add_reason(parser, "why, for the audit")


def resume(arguments: Namespace, console: Console) -> Exit:
    """Resume a kind or a gate, and say whether it was paused."""
    try:
        what, name = pausable(arguments)
    except InvalidValueError as error:
        console.note(f"engine: {arguments.name} {error.problem}")
        return Exit.USAGE
    done = tell(arguments.place, "resume", **{what: name}, reason=arguments.reason)
    state = "is resumed" if done["changed"] else "was not paused"
    console.line(f"{arguments.place.name}: the {what} {name} {state}")
    return Exit.OK


COMMAND: Final = Command(
    name="resume",
    help_order=29,
    help="resume a paused kind or gate",
    add_arguments=add_arguments,
    run=resume,
    examples=("resume jobs.db report", "resume jobs.db --gate payments"),
)
