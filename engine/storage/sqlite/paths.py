"""Paths: the file at a location, the files beside it, and the paths that no file can have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from engine.domain.exceptions import InvalidValueError, StorageError, shown
from engine.storage.sqlite.errors import translate_os_errors

IN_MEMORY: Final = frozenset({":memory:", "sqlite://", "sqlite:///", "sqlite:///:memory:"})
"""Locations without a file, as SQLite and SQLAlchemy write them."""

_URL: Final = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]+://")
_USER: Final = re.compile("://.*@", re.DOTALL)  # up to the last @: a password may have others
_SQLITE_URL: Final = "sqlite:///"


def path_at(location: object, field: str = "storage") -> Path:
    """Return the path at a location: a text, a path, or a URL such as ``sqlite:///jobs.db``.

    The path follows the three slashes; an absolute one begins with a fourth.

    Args:
        location: As a user gave it.
        field: The argument's name, for the error.

    Raises:
        InvalidValueError: It is something else, or can't be a path.
    """
    if not isinstance(location, str | os.PathLike):
        kinds = "a storage, a path or a URL" if field == "storage" else "a path or a URL"
        raise InvalidValueError(field, f"must be {kinds}, not {shown(location)}")
    text = os.fspath(location)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidValueError(field, f"must be the path of a file, not {_shown(text)}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise InvalidValueError(field, f"must be a path, not {_shown(text)}") from None
    if text in IN_MEMORY:
        raise InvalidValueError(field, f"must be the path of a file; {text} is in memory")
    if isinstance(location, str) and _URL.match(text):
        return Path(_path_of_url(text, field))
    return Path(text)


def _path_of_url(text: str, field: str) -> str:
    if not text.startswith(_SQLITE_URL):
        raise InvalidValueError(
            field, f"must be a path, or a URL such as sqlite:///jobs.db, not {_shown(text)}"
        )
    path = text.removeprefix(_SQLITE_URL)
    if "?" in path:
        raise InvalidValueError(field, f"must be a URL without options, not {_shown(text)}")
    return path


def _shown(text: object) -> str:
    """Return a text for an error message, without the user and the password of a URL."""
    return shown(_USER.sub("://…@", text) if isinstance(text, str) else text)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to another, such as ``jobs.db-wal``."""
    return path.with_name(f"{path.name}{suffix}")


def check_usable(path: Path) -> None:
    """Check that a path has a regular file, or that one can be made there.

    Raises:
        StorageError: Its folder is missing or no folder; or it is a folder, or has two names.
    """
    with translate_os_errors(f"{path} can't be reached"):
        problem = _problem(path)
    if problem is not None:
        raise StorageError(f"{path} {problem}")


def _problem(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"can't be made: there is no folder {path.parent}"
    if not path.exists():
        return None
    if path.is_dir():
        return "is a folder: give the path of a file"
    if not path.is_file():
        return "is no regular file"
    if path.stat().st_nlink > 1:
        # https://www.sqlite.org/howtocorrupt.html, 2.4: each name would have a log of its own.
        return "has other names (hard links): remove those first"
    return None
