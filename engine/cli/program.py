"""The program: reads the arguments, runs a command, and returns its exit code."""

from __future__ import annotations

import sqlite3
import sys
import textwrap
from argparse import Action, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from engine import __version__
from engine.cli.command import Command
from engine.cli.commands import COMMANDS
from engine.cli.console import Console
from engine.cli.exits import MEANINGS, Exit
from engine.domain.exceptions import EngineError, StorageDamagedError, StorageFormatError

EPILOG: Final = "exit codes:\n" + "\n".join(
    f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items()
)


class _Page(HelpFormatter):
    """Fills the lines of a text, but for those that are indented, such as examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            line if line.startswith(" ") else textwrap.fill(line, width, subsequent_indent=indent)
            for line in text.split("\n")
        )


_SHARED: Final[dict[str, Any]] = {
    "epilog": EPILOG,
    "formatter_class": _Page,
    "allow_abbrev": False,
}


def main(arguments: Sequence[str] | None = None, *, program: str = "engine") -> int:
    """Run the program; return its exit code.

    Args:
        arguments: The arguments behind the program's name; by default those of the process.
        program: The program's name in help, usage and hints: the command that users type.

    Raises:
        SystemExit: The usage is wrong, or the arguments ask for help or the version.
    """
    console = Console()
    try:
        code = _run(arguments, program, console)
        console.flush()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        code = Exit.PIPE_CLOSED
    except OSError as error:
        console.discard()
        console.note(f"engine: the output can't be written: {error.strerror}")
        return Exit.UNREADABLE
    if code in {Exit.INTERRUPTED, Exit.PIPE_CLOSED}:
        console.discard()
    return code


def _run(arguments: Sequence[str] | None, program: str, console: Console) -> Exit:
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    given = _parser(program).parse_args(words, Namespace(words=words))
    try:
        code: Exit = given.run(given, console)
    except _OF_THE_PLACE as error:
        code, problem = _outcome(error, given.place.name)
        console.note(f"engine: {problem}")
    return code


_OF_THE_PLACE: Final = (
    EngineError,
    sqlite3.Error,
    UnicodeDecodeError,
    MemoryError,
    RecursionError,
)
"""The errors of a command on any place, whatever it holds."""


def _outcome(error: Exception, name: str) -> tuple[Exit, str]:
    """Return the exit code for an error, and what to tell about it."""
    if isinstance(error, StorageDamagedError):
        return Exit.DAMAGED, str(error)
    if isinstance(error, StorageFormatError) and isinstance(error.__cause__, sqlite3.Error):
        # SQLite refuses a file that is no database; its text says nothing about engines.
        return Exit.UNREADABLE, f"{name} was not made by engine"
    if isinstance(error, EngineError):
        return Exit.UNREADABLE, str(error)
    if isinstance(error, MemoryError):
        return Exit.UNREADABLE, f"{name} has a value that is too large for this system's memory"
    # Every statement of ours can be executed on a sound file: the tables of this one differ. And
    # its JSON has no more levels than Python's reader can take.
    return Exit.DAMAGED, f"{name} is damaged: {error}"


class _WriteCompletion(Action):
    """Writes a completion script for a shell, and ends the program."""

    def __call__(
        self,
        parser: ArgumentParser,
        _namespace: Namespace,
        values: object,
        _option: str | None = None,
    ) -> NoReturn:
        """See `argparse.Action`."""
        try:
            import shtab  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            parser.error("completion needs the package shtab: pip install 'engine[cli]'")
        if values not in shtab.SUPPORTED_SHELLS:
            known = ", ".join(shtab.SUPPORTED_SHELLS)
            parser.error(f"argument --completion: must be one of {known}, not {values!r}")
        print(shtab.complete(_parser("engine"), values))  # noqa: T201 - the result, before there is a console
        parser.exit()


def _epilog(command: Command, program: str) -> str:
    if not command.examples:
        return EPILOG
    lines = [f"  {program} {example}" for example in command.examples]
    return "\n".join(["examples:", *lines, "", EPILOG])


def _parser(program: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=program,
        description="Inspect an engine's file or database, even while engines use it, and act on "
        f"its jobs. `{program} COMMAND --help` says more of each command.",
        **_SHARED,
    )
    parser.add_argument("--version", action="version", version=f"engine {__version__}")
    parser.add_argument(
        "--completion",
        action=_WriteCompletion,
        metavar="SHELL",
        help="write the script by which a shell, such as bash or zsh, completes the command line",
    )
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        own: ArgumentParser = added.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            **{**_SHARED, "epilog": _epilog(command, program)},
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run, program=program)
    return parser
