"""The commands, one file each: its arguments and its function. A new file here is a new command.

Public: nothing.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from engine.cli.command import Command


def _commands() -> list[Command]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return sorted((module.COMMAND for module in modules), key=lambda command: command.help_order)


COMMANDS: Final = _commands()
"""All commands, in the order of the help."""
