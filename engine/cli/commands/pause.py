"""Pause a kind: no engine claims its jobs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_kind, add_reason
from engine.cli.instructions import pause as pause_kind
from engine.cli.texts import printable
from engine.domain.exceptions import InvalidValueError
from engine.domain.models import PausedKind
from engine.storage.sqlite.rows import time_text


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``pause``."""
    add_kind(parser)
    add_reason(parser)


def pause(arguments: Namespace, console: Console) -> Exit:
    """Pause a kind, and say whether it was paused."""
    place, kind = arguments.place, arguments.kind
    try:
        before = pause_kind(place, kind, arguments.reason).by_kind.get(kind)
    except InvalidValueError as error:
        console.note(f"engine: {kind} {error.problem}")
        return Exit.USAGE
    state = "is paused" if before is None else f"was paused already, {_since(before)}"
    console.line(f"{place.name}: the kind {kind} {state}")
    return Exit.OK


def _since(paused: PausedKind) -> str:
    """Return since when, by whom and why."""
    who = "" if paused.by is None else f" by {printable(paused.by)}"
    why = "" if not paused.reason else f": {printable(paused.reason)}"
    return f"at {time_text(paused.at)}{who}{why}"


COMMAND: Final = Command(
    name="pause",
    help_order=28,
    help="pause a kind: no engine claims its jobs; none may have a file meanwhile",
    add_arguments=add_arguments,
    run=pause,
    examples=(
        "pause jobs.db report --reason fire",
        "pause postgresql://host/jobs report",
    ),
)
