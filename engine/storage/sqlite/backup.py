"""Backup: a consistent copy of a file, made while an engine may write to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from engine.domain.exceptions import StorageError
from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.connection import make_durable, sync_folder
from engine.storage.sqlite.errors import translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.partial import partial_copy
from engine.storage.sqlite.paths import check_usable
from engine.storage.sqlite.rights import Rights, rights_beside
from engine.storage.sqlite.schema import APPLICATION_ID
from engine.storage.sqlite.writing import write_note

# Not ``nolock=1``, with which SQLite writes no log. Windows has no locks of ours.
_WITHOUT_LOCKS: Final = "?vfs=unix-none" if os.name == "posix" else ""
_STEP_PAGES: Final = 1_024  # 4 MiB, between two calls for progress
_TRIES: Final = 3


def back_up(source: Path, target: Path, progress: ProgressCallback) -> None:
    """Copy an engine's file by SQLite's own backup (https://www.sqlite.org/backup.html).

    The copy has all that was committed when the backup began, and its connection sees that state
    throughout. No writer waits for it; but the log can't be reused meanwhile, and grows. A note in
    the copy says that it is one: the first engine that opens it begins an epoch, because its
    history may go on in another way. It is made under another name: it is there whole or not at
    all. It has the source's mode, and its owner and group as far as the process may give them; a
    backup that was killed leaves a ``-partial-`` file, which the next one in the same folder
    removes.

    Raises:
        StorageError: The source can't be read; or the target exists, or can't be written.
    """
    check_usable(target)
    _check_free(target)
    with (
        translate_os_errors(f"{target} can't be written"),
        closing(connect_reader(source)) as reader,
    ):
        # A transaction keeps the state: without one, a backup starts anew when the file changes.
        with translate_sqlite_errors(source):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM engine").fetchone()
        for _ in range(_TRIES):
            if _is_copied(reader, target, rights_beside(source), progress):
                sync_folder(target.parent)
                return
    raise StorageError(f"{target} can't be written: its unfinished copy was removed each time")


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise StorageError(f"{target} is there already: choose another name, or delete it first")


def _is_copied(
    reader: sqlite3.Connection, target: Path, rights: Rights, progress: ProgressCallback
) -> bool:
    """Make a copy, and return whether it has got its name; see `PartialCopy.publish`."""
    with partial_copy(target, rights) as partial:
        with translate_sqlite_errors(f"copying to {target}"):
            _copy(reader, partial.path, progress)
        _check_free(target)  # another program may have made it meanwhile
        return partial.publish(target)


def _copy(reader: sqlite3.Connection, partial: Path, progress: ProgressCallback) -> None:
    # SQLite's locks and ours would meet on some systems; nobody else opens this file.
    address = f"{partial.absolute().as_uri()}{_WITHOUT_LOCKS}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as copy:
        copy.execute("PRAGMA locking_mode = EXCLUSIVE")  # a log without locks needs it
        make_durable(copy)
        # From its first byte on, everyone can see what it is; SQLite writes the first page last.
        copy.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        reader.backup(
            copy,
            pages=_STEP_PAGES,
            progress=lambda _, left, pages: progress(pages - left, pages),
            sleep=0,
        )
        write_note(copy, "is_copy", 1)
        # Closing would do it, too, but not tell of an error.
        is_busy, *_ = copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise StorageError(f"{partial} can't be completed: another program has opened it")
