"""The program: takes the arguments, runs a command, and makes an exit code of how it ended."""

from __future__ import annotations

import sqlite3
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from engine import __version__
from engine.cli import commands
from engine.cli.console import Console
from engine.cli.exits import MEANINGS, Exit
from engine.domain.exceptions import InvalidValueError, StorageDamagedError, StorageError
from engine.domain.validation import MAX_IDENTIFIER_CHARACTERS, MAX_INTEGER, check_text
from engine.storage.sqlite.paths import path_at

Run: TypeAlias = Callable[[Namespace, Console], Exit]
Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"

EPILOG: Final = "exit codes:\n" + "\n".join(
    f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items()
)

_SHARED: Final[dict[str, Any]] = {
    "epilog": EPILOG,
    "formatter_class": RawDescriptionHelpFormatter,
    "allow_abbrev": False,
}
_LIMIT: Final = 100


def main(arguments: Sequence[str] | None = None, *, program: str = "engine") -> int:
    """Run the program; return its exit code.

    Args:
        arguments: The arguments behind the program's name; by default those of the process.
        program: The program's name in help and usage: the command that users type.

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
        console.drop()
        console.note(f"engine: the output can't be written: {error.strerror}")
        return Exit.UNREADABLE
    if code in {Exit.INTERRUPTED, Exit.PIPE_CLOSED}:
        console.drop()
    return code


def _run(arguments: Sequence[str] | None, program: str, console: Console) -> Exit:
    given = _parser(program).parse_args(arguments)
    try:
        code: Exit = given.run(given, console)
    except StorageDamagedError as error:
        console.note(f"engine: {error}")
        return Exit.DAMAGED
    except StorageError as error:
        console.note(f"engine: {error}")
        return Exit.UNREADABLE
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Our statements fit each sound file: this one's tables have changed, or their names.
        console.note(f"engine: {given.file} is damaged: {error}")
        return Exit.DAMAGED
    return code


def _parser(program: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=program,
        description="Look into an engine's file, also while an engine uses it.",
        **_SHARED,
    )
    parser.add_argument("--version", action="version", version=f"engine {__version__}")
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(added)
    _add_show(added)
    _add_check(added)
    _add_backup(added)
    return parser


def _add_list(added: Commands) -> None:
    parser = _added(added, "list", commands.list_jobs, "list jobs in the order of their creation")
    parser.add_argument("--status", type=_text, help="only jobs that have this status")
    parser.add_argument(
        "--limit", type=_whole(1), default=_LIMIT, metavar="N", help="how many; 100 by default"
    )
    parser.add_argument(
        "--after", type=_whole(0), default=0, metavar="N", help="begin after the N-th job created"
    )
    _add_json(parser, "write each job as a JSON object, one a line")


def _add_show(added: Commands) -> None:
    parser = _added(added, "show", commands.show_job, "show a job and its history")
    parser.add_argument("job_id", type=_text, metavar="JOB_ID", help="the job")
    _add_json(parser, "write one JSON object, the history in it")


def _add_check(added: Commands) -> None:
    parser = _added(added, "check", commands.check, "say whether all of a file is sound")
    _add_json(parser, "write one JSON object")


def _add_backup(added: Commands) -> None:
    parser = _added(added, "backup", commands.backup, "make a consistent copy")
    parser.add_argument("copy", type=_path, metavar="COPY", help="the copy; must not be there yet")


def _added(added: Commands, name: str, run: Run, told: str) -> ArgumentParser:
    parser: ArgumentParser = added.add_parser(
        name, help=told, description=f"{told[0].upper()}{told[1:]}.", **_SHARED
    )
    parser.add_argument("file", type=_path, metavar="FILE", help="the engine's file")
    parser.set_defaults(run=run)
    return parser


def _add_json(parser: ArgumentParser, told: str) -> None:
    parser.add_argument("--json", action="store_true", help=told)


def _path(text: str) -> Path:
    try:
        return path_at(text)
    except InvalidValueError as error:
        raise ArgumentTypeError(error.problem) from error


def _text(text: str) -> str:
    try:
        return check_text("text", text, MAX_IDENTIFIER_CHARACTERS)
    except InvalidValueError as error:
        raise ArgumentTypeError(error.problem) from error


def _whole(smallest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text[:20]) <= MAX_INTEGER:
            raise ArgumentTypeError(f"must be a whole number from {smallest} on, not {text!r}")
        return int(text)

    return number
