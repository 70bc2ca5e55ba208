"""Arguments: texts of the command line become values, or wrong usage."""

from __future__ import annotations

from argparse import Action, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.cli.times import duration, moment
from engine.domain.epochs import Cursor, parsed_cursor
from engine.domain.exceptions import InvalidValueError
from engine.domain.labels import check_kind, check_label
from engine.domain.validation import (
    MAX_BY_CHARACTERS,
    MAX_IDENTIFIER_CHARACTERS,
    MAX_INPUT_HASH_CHARACTERS,
    MAX_INTEGER,
    check_text,
)
from engine.owner.acts import checked_act
from engine.owner.commands.create import check_payment_name
from engine.portal.time import utc_now
from engine.storage.inspection import Place
from engine.storage.locations import POSTGRES_URLS
from engine.storage.places import place_at
from engine.storage.sqlite.inspection import FilePlace
from engine.storage.sqlite.paths import path_at


def add_json(parser: ArgumentParser, help_text: str) -> None:
    """Add the flag ``--json``."""
    parser.add_argument("--json", action="store_true", help=help_text)


def add_place(parser: ArgumentParser) -> None:
    """Add the argument ``PLACE``."""
    completes_files(
        parser.add_argument(
            "place",
            type=place,
            metavar="PLACE",
            help="the engine's file, or the URL of its database",
        )
    )


def completes_files(argument: Action) -> None:
    """Let shells complete names of files there, as the package shtab has it."""
    argument.complete = _FILES  # type: ignore[attr-defined]


_FILES: Final = {  # as `shtab.FILE`, an extra
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "tcsh": "f",
    "fish": "(__fish_complete_path (commandline -ct))",
    "powershell": "_shtab_powershell_compgen_files",
}


def add_reason(parser: ArgumentParser, help_text: str) -> None:
    """Add the argument ``--reason``."""
    parser.add_argument("--reason", type=reason, metavar="TEXT", help=help_text)


def add_dry_run(parser: ArgumentParser) -> None:
    """Add the flag ``--dry-run``."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only tell what would be done; change nothing"
    )


@contextmanager
def _usage() -> Iterator[None]:
    """Tell a wrong value as wrong usage.

    Raises:
        ArgumentTypeError: It is one.
    """
    try:
        yield
    except InvalidValueError as error:
        raise ArgumentTypeError(error.problem) from error


def place(text: str) -> Place:
    """Return the place with this name.

    Raises:
        ArgumentTypeError: There can't be one.
    """
    try:
        return place_at(text)
    except (InvalidValueError, RuntimeError) as error:
        raise ArgumentTypeError(getattr(error, "problem", str(error))) from error


def file_place(text: str) -> FilePlace:
    """Return the engine's file at a path.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    if text.startswith(POSTGRES_URLS):
        raise ArgumentTypeError("must be a file; pg_dump backs up a database")
    return FilePlace(path(text))


def path(text: str) -> Path:
    """Return the path of a file.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return path_at(text)


def identifier(text: str) -> str:
    """Return a text that can be a job id or a status.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return check_text("text", text, MAX_IDENTIFIER_CHARACTERS)


def actor(text: str) -> str:
    """Return a text that can say who has acted.

    Raises:
        ArgumentTypeError: It can't.
    """
    with _usage():
        return check_text("by", text, MAX_BY_CHARACTERS)


def kind(text: str) -> str:
    """Return a text that can be a kind.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return check_kind(text)


def label(text: str) -> tuple[str, str]:
    """Return the name and the value of a label, which stand before and after the first ``=``.

    Raises:
        ArgumentTypeError: One of them can't be one.
    """
    name, _, value = text.partition("=")
    try:
        return check_label(name, value)
    except InvalidValueError as error:
        problem = f"must be NAME=VALUE, and its {'value' if name else 'name'} {error.problem}"
        raise ArgumentTypeError(problem) from error


def payment(text: str) -> str:
    """Return a text that can name a payment.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return check_payment_name(text)


def input_hash(text: str) -> str:
    """Return a text that can be the hash of an input.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return check_text("input_hash", text, MAX_INPUT_HASH_CHARACTERS)


def reason(text: str) -> str | None:
    """Return the reason of an act that a text gives.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    with _usage():
        return checked_act(None, text).reason


def age(text: str) -> str:
    """Return a text that says a length of time.

    Raises:
        ArgumentTypeError: It says none, or one that reaches before the calendar.
    """
    duration(text)
    return time(text)


def time(text: str) -> str:
    """Return a text that says a time, or an age.

    Raises:
        ArgumentTypeError: It says none.
    """
    moment(text, utc_now())
    return text


def cursor(text: str) -> Cursor:
    """Return the cursor in a text; 0 is the beginning.

    Raises:
        ArgumentTypeError: It can't be one.
    """
    try:
        return Cursor(0) if text == "0" else parsed_cursor(text)
    except InvalidValueError as error:
        raise ArgumentTypeError(error.problem) from error


def whole_number(smallest: int) -> Callable[[str], int]:
    """Return a function that returns a whole number from ``smallest`` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text[:20]) <= MAX_INTEGER:
            raise ArgumentTypeError(f"must be a whole number from {smallest} on, not {text!r}")
        return int(text)

    return number
