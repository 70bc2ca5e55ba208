"""Backup: a consistent copy of a file, made while an engine may write to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from engine.storage.protocol import ProgressCallback
from engine.storage.sqlite.errors import translate_sqlite_errors
from engine.storage.sqlite.file import connect_reader
from engine.storage.sqlite.partial import open_partial, publish_whole
from engine.storage.sqlite.rights import rights_beside
from engine.storage.sqlite.writing import write_note

_STEP_PAGES: Final = 1_024  # 4 MiB, between two calls for progress


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
    with closing(connect_reader(source)) as reader:
        # A transaction keeps the state: without one, a backup starts anew when the file changes.
        with translate_sqlite_errors(source):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM engine").fetchone()

        def fill(partial: Path) -> None:
            with translate_sqlite_errors(f"copying to {target}"):
                _copy(reader, partial, progress)

        publish_whole(target, rights_beside(source), fill)


def _copy(reader: sqlite3.Connection, partial: Path, progress: ProgressCallback) -> None:
    with open_partial(partial) as copy:
        reader.backup(
            copy,
            pages=_STEP_PAGES,
            progress=lambda _, left, pages: progress(pages - left, pages),
            sleep=0,
        )
        write_note(copy, "is_copy", 1)
