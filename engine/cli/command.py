"""A command of the program, as its file in `engine.cli.commands` defines it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from engine.cli.console import Console
from engine.cli.exits import Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command, which every file in `engine.cli.commands` has by the name ``COMMAND``.

    Its first argument is a place: an engine's file or database.
    """

    name: str
    help_order: int
    """The help lists commands with a lower one first."""
    help: str
    """One line, as "list jobs"; with a capital and a full stop it begins the command's own help."""
    add_arguments: Callable[[ArgumentParser], object]
    """Adds its arguments; the first one has the name ``place``."""
    run: Callable[[Namespace, Console], Exit]
    """Runs it. For hints, its arguments have ``program``, the program's name, and ``words``, all
    behind that as they were given."""
    examples: tuple[str, ...] = ()
    """What its help shows, behind the program's name."""
