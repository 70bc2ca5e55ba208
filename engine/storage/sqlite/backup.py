"""Backup: a consistent copy of a file, made while an engine may write to it."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from engine.domain.exceptions import StorageError
from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.connection import make_durable, sync_folder
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.paths import beside, check_usable

_STEP_PAGES: Final = 1_024  # 4 MiB, between two calls for progress


def back_up(source: Path, target: Path, progress: ProgressCallback) -> None:
    """Copy an engine's file by SQLite's own backup (https://www.sqlite.org/backup.html).

    The copy has all that was committed when the backup began, and its connection sees that state
    throughout. No writer waits for it; but the log can't be reused meanwhile, and grows. The copy
    is made under another name: it is there whole or not at all.

    Raises:
        StorageError: The source can't be read; or the target exists, or can't be written.
    """
    check_usable(target)
    _check_free(target)
    partial = beside(target, f"-partial-{token_hex(4)}")
    try:
        with translate_os_errors(f"{target} can't be written"):
            with (
                closing(connect_reader(source)) as reader,
                translate_sqlite_errors(f"copying {source} to {target}"),
            ):
                _make(partial, like=source)
                _copy(reader, partial, progress)
            _check_free(target)  # another program may have made it meanwhile
            partial.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            beside(partial, "-journal").unlink(missing_ok=True)


def _check_free(target: Path) -> None:
    if target.exists():
        raise StorageError(f"{target} is there already: choose another name, or delete it first")


def _make(partial: Path, *, like: Path) -> None:
    """Make an empty file with the permissions of another, which we may write."""
    mode = stat.S_IMODE(like.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR
    partial.touch(mode)
    partial.chmod(mode)  # the process's mask does not count


def _copy(reader: sqlite3.Connection, partial: Path, progress: ProgressCallback) -> None:
    with closing(sqlite3.connect(partial)) as copy:
        make_durable(copy)
        # A transaction keeps the state: without one, a backup starts anew when the file changes.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM engine").fetchone()
        reader.backup(
            copy,
            pages=_STEP_PAGES,
            progress=lambda _, left, pages: progress(pages - left, pages),
            sleep=0,
        )
