"""Pause a kind or a gate: no engine claims its jobs, or calls its check."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import add_reason
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_pausable, pausable, tell
from engine.domain.exceptions import InvalidValueError
from engine.storage.inspection import Place


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``pause``."""
    add_pausable(parser)
    add_reason(parser, "why, for those who ask")


def pause(arguments: Namespace, console: Console) -> Exit:
    """Pause a kind or a gate, and say whether it was paused."""
    place = arguments.place
    try:
        what, name = pausable(arguments)
        done = tell(place, "pause", **{what: name}, reason=arguments.reason)
    except InvalidValueError as error:
        console.note(f"engine: {arguments.name} {error.problem}")
        return Exit.USAGE
    state = "is paused" if done["changed"] else f"was paused already{_since(place, what, name)}"
    console.line(f"{place.name}: the {what} {name} {state}")
    return Exit.OK


def _since(place: Place, what: str, name: str) -> str:
    """Return since when, by whom and why it is paused; nothing if it is no longer."""
    for paused in tell(place, "paused"):
        if paused[what] == name:
            who = "" if paused["by"] is None else f" by {paused['by']}"
            why = "" if not paused["reason"] else f": {paused['reason']}"
            return f", at {paused['at']}{who}{why}"
    return ""


COMMAND: Final = Command(
    name="pause",
    help_order=28,
    help="pause a kind or a gate: no engine claims its jobs, or calls its check",
    add_arguments=add_arguments,
    run=pause,
    examples=(
        "pause jobs.db report --reason fire",
        "pause postgresql://host/jobs --gate payments",
    ),
)
