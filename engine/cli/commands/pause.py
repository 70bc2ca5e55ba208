"""Pause a kind: no engine claims its jobs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_kind, add_reason, tell
from engine.domain.exceptions import InvalidValueError
from engine.storage.inspection import Place


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``pause``."""
    add_kind(parser)
    add_reason(parser)


def pause(arguments: Namespace, console: Console) -> Exit:
    """Pause a kind, and say whether it was paused."""
    place, kind = arguments.place, arguments.kind
    try:
        done = tell(place, "pause", kind=kind, reason=arguments.reason)
    except InvalidValueError as error:
        console.note(f"engine: {kind} {error.problem}")
        return Exit.USAGE
    state = "is paused" if done["changed"] else f"was paused already{_since(place, kind)}"
    console.line(f"{place.name}: the kind {kind} {state}")
    return Exit.OK


def _since(place: Place, kind: str) -> str:
    """Return since when, by whom and why a kind is paused; nothing if it is no longer."""
    for paused in tell(place, "paused"):
        if paused["kind"] == kind:
            who = "" if paused["by"] is None else f" by {paused['by']}"
            why = "" if not paused["reason"] else f": {paused['reason']}"
            return f", at {paused['at']}{who}{why}"
    return ""


COMMAND: Final = Command(
    name="pause",
    help_order=28,
    help="pause a kind: no engine claims its jobs",
    add_arguments=add_arguments,
    run=pause,
    examples=(
        "pause jobs.db report --reason fire",
        "pause postgresql://host/jobs report",
    ),
)
