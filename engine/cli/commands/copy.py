"""Copy all of a file or a database into a new one of either sort."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import completes_files, place
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import counted
from engine.storage.copying import copy_contents


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``copy``."""
    add = parser.add_argument
    completes_files(add("place", type=place, metavar="FROM", help="where the jobs are now"))
    help_text = "the copy; must not be there yet, or be empty"
    completes_files(add("to", type=place, metavar="TO", help=help_text))


def copy(arguments: Namespace, console: Console) -> Exit:
    """Copy a place, compare the copy with it, and write how many rows it has."""
    source, target = arguments.place, arguments.to
    with (
        console.progress(f"copying {source.name}", "rows") as progress,
        source.contents() as contents,
    ):
        counts = target.make(lambda draft: copy_contents(contents, draft, progress))
    sizes = f"{counted(counts.jobs, 'job')}, {counted(counts.transitions, 'transition')}"
    console.line(f"{target.name}: {sizes}, the same as {source.name}")
    console.line(f"cursors go on in the copy: no engine may open {source.name} from now on")
    return Exit.OK


COMMAND: Final = Command(
    name="copy",
    help_order=9,
    help="move jobs to another file or database (export and import)",
    add_arguments=add_arguments,
    run=copy,
    examples=("copy jobs.db postgresql://localhost/jobs",),
)
