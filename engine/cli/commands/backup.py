"""Copy a file while an engine may write to it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

import anyio

from engine.cli.arguments import add_reason, completes_files, file_place, path
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.domain.exceptions import EngineError, StorageInUseError
from engine.domain.visible_text import visible
from engine.operating import note_at
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.inspection import check_is_file
from engine.storage.sqlite.paths import check_usable


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``backup``."""
    add = parser.add_argument
    completes_files(add("place", type=file_place, metavar="FILE", help="the engine's file"))
    completes_files(add("copy", type=path, metavar="COPY", help="the copy; must not be there yet"))
    add_reason(parser, "why, for the audit of the file, if no engine has it open")


def backup(arguments: Namespace, console: Console) -> Exit:
    """Copy a file, and write the size of the copy; note it in the file's audit behind that."""
    file = arguments.place.path
    check_is_file(file)
    check_usable(arguments.copy)
    with console.progress(f"copying {file}", "pages") as progress:
        back_up(file, arguments.copy, progress)
    size = arguments.copy.stat().st_size
    console.line(f"{arguments.copy}: a copy of {file}, {size:,} bytes")
    _note(arguments, console)
    return Exit.OK


def _note(arguments: Namespace, console: Console) -> None:
    """Note the copy in the audit, unless an engine has the file: nothing of it is written then."""
    given = {"path": str(arguments.copy)}
    try:
        anyio.run(note_at, arguments.place, "backup", arguments.reason, given)
    except StorageInUseError:
        return
    except EngineError as error:  # the copy is good nevertheless
        console.note(visible(f"the audit has no line of this copy: {error}"))


COMMAND: Final = Command(
    name="backup",
    help_order=8,
    help="copy a file, consistent also while an engine writes to it",
    add_arguments=add_arguments,
    run=backup,
    examples=("backup jobs.db /mnt/backups/monday.db",),
)
