"""Resume a paused kind: engines claim its jobs again."""

from __future__ import annotations

from argparse import Namespace
from typing import Final

from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.instructions import add_kind
from engine.cli.instructions import resume as resume_kind


def resume(arguments: Namespace, console: Console) -> Exit:
    """Resume a kind, and say whether it was paused."""
    place, kind = arguments.place, arguments.kind
    state = "is resumed" if kind in resume_kind(place, kind) else "was not paused"
    console.line(f"{place.name}: the kind {kind} {state}")
    return Exit.OK


COMMAND: Final = Command(
    name="resume",
    help_order=29,
    help="resume a paused kind; no engine may have a file meanwhile",
    add_arguments=add_kind,
    run=resume,
    examples=("resume jobs.db report",),
)
