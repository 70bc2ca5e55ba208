"""The database: what is done with the one writing connection, blocking, all on one thread.

A batch is one transaction. ``synchronous = FULL`` makes SQLite sync the log before a COMMIT
returns, so that what is committed survives a power cut; with NORMAL it would not.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sqlite3
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, cast

from engine.domain.exceptions import (
    CommitUnknownError,
    DuplicateJobIdError,
    StorageDamagedError,
    StorageError,
    StorageFullError,
)
from engine.storage.protocol import CheckedOut, Opened
from engine.storage.record import (
    Change,
    Damaged,
    Entry,
    Record,
)
from engine.storage.sqlite import file, reading, writing
from engine.storage.sqlite.errors import storage_error, translate_os_errors, translate_sqlite_errors
from engine.storage.sqlite.file import Connect
from engine.storage.sqlite.ownership import Ownership
from engine.storage.sqlite.paths import beside
from engine.storage.sqlite.rows import BatchRows, batch_rows, time_text
from engine.storage.table import Table

logger = logging.getLogger("engine")

# After so many commits or changes the log is moved into the database: it has some 1,000 pages then.
_LOG_COMMITS: Final = 200
_LOG_CHANGES: Final = 4_000
# A log of so many pages, 32 MiB, is moved by SQLite itself: jobs with long results make it so.
_LOG_PAGES: Final = 8_192
# What a long read has made longer is cut to this again.
_LOG_BYTES: Final = 64 * 1_048_576
_BLOCK_BYTES: Final = 1_048_576


class Database:
    """An engine's file, open for writing.

    Args:
        path: The file, which `engine.storage.sqlite.file.prepare` has made ready.
        connect: Returns a connection that writes to it.

    Attributes:
        counts: How many committed jobs have each status.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self.counts: dict[str, int] = {}
        self._path = path
        self._connect_to = connect
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._final_statuses: Collection[str] = ()
        self._undecided = False  # what became of a commit is to be found out by `resolve`
        self._log_commits = 0  # since it was last moved into the database
        self._log_changes = 0

    def open(self, final_statuses: Collection[str], ownership: Ownership) -> Opened:
        """Connect, and read the jobs that have not ended and the newest numbers."""
        self._final_statuses = frozenset(final_statuses)
        self._ownership = ownership
        self._identity = _identity(self._path)
        self._undecided = False
        with translate_sqlite_errors(self._path):
            connection = self._connect()
            self.counts = reading.counts(connection)
            statuses = reading.readable_statuses(self.counts)
            self._correct_ends(connection, statuses)
            return Opened(
                Table(reading.jobs_in_statuses(connection, statuses - self._final_statuses)),
                last_sequence=reading.newest_number(connection, "sequence", "transitions"),
                last_position=reading.newest_number(connection, "position", "jobs"),
            )

    def _correct_ends(self, connection: sqlite3.Connection, statuses: Collection[str]) -> None:
        """Set ``ended_at`` anew where an earlier engine had other final statuses."""
        final = json.dumps(sorted(self._final_statuses))
        if reading.read_note(connection, "final_statuses") == final:
            return
        with self._writing_aside():
            for status in statuses:
                ended = status in self._final_statuses
                for rows in reading.wrong_ends(connection, status, ended=ended):
                    writing.write_ends(connection, rows)
            writing.write_note(connection, "final_statuses", final)

    def _connect(self) -> sqlite3.Connection:
        connection = self._connection = self._connect_to(self._path)
        _connected.add(self)
        file.make_durable(connection)
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(f"{self._path} can't be used: its journal mode is {mode}, not WAL")
        return connection

    def close(self) -> None:
        """Let go of the file; what is in the log goes into the database."""
        if self._connection is not None and _identity(self._path) != self._identity:
            logger.error(
                "%s was moved, deleted or replaced: what its log, %s-wal, still has is not in it",
                self._path,
                self._path.name,
            )
        with translate_sqlite_errors(self._path):
            self._disconnect()

    def leave_to_parent(self) -> None:
        """In a forked child: never close the connection, not even at the interpreter's exit.

        SQLite would take itself for the last that uses the file, and delete its log, which may by
        then be that of another engine (https://www.sqlite.org/howtocorrupt.html, 2.6).
        """
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, and tell of its errors.

        Raises:
            StorageError: What SQLite said; or it has to be found out first what became of a commit.
        """
        if self._undecided:
            raise StorageError(f"{self._path}: it is not yet known what became of a commit")
        with translate_sqlite_errors(self._path):
            yield self._connection or self._connect_again()

    def _connect_again(self) -> sqlite3.Connection:
        """Connect after a connection was given up, because something failed on it."""
        self._rewrite_log()
        connection = self._connect()
        self.counts = reading.counts(connection)
        return connection

    # Writing.

    def commit(self, changes: Sequence[Change]) -> None:
        """Write a batch; see `engine.storage.Storage.commit`."""
        rows = batch_rows(changes, self._final_statuses)
        try:
            with self._writing() as connection:
                self._put(connection, changes, rows)
        except CommitUnknownError:
            self._undecided = True
            raise
        self._log_changes += len(changes)
        for change in changes:
            self._count(change.record.status, 1)
            if change.from_status is not None:
                self._count(change.from_status, -1)

    def _put(
        self, connection: sqlite3.Connection, changes: Sequence[Change], rows: BatchRows
    ) -> None:
        try:
            writing.write_batch(connection, rows)
        except sqlite3.IntegrityError as error:
            self._roll_back()
            raise self._conflict(connection, changes) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or roll it back.

        Raises:
            StorageError: It is not committed.
            CommitUnknownError: The commit itself failed, see `_commit`.
        """
        with self._using() as connection:
            self._check_identity()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                self._roll_back()
                raise
            self._commit(connection)
        self._log_commits += 1

    @contextmanager
    def _writing_aside(self) -> Iterator[sqlite3.Connection]:
        """Commit what is no batch: if it should be there though its commit failed, it does no harm.

        Raises:
            StorageError: The commit failed.
        """
        try:
            with self._writing() as connection:
                yield connection
        except CommitUnknownError as unknown:
            reason = cast("StorageError", unknown.__cause__)
            raise reason from reason.__cause__

    def _commit(self, connection: sqlite3.Connection) -> None:
        """Commit.

        Raises:
            StorageFullError: It is not committed: the last frame of the log, the one that would
                say that it is, had no room.
            CommitUnknownError: Anything else: the log may be complete, and only not be synced.
        """
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            told = storage_error(self._path, error)
            self._roll_back()
            if told is None:
                raise
            if isinstance(told, StorageFullError):
                raise told from error
            raise CommitUnknownError(told) from told

    def _roll_back(self) -> None:
        """Roll back, if SQLite has not done so by itself."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    def _conflict(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> Exception:
        """Return the error for a row that can't be written because of one that is there."""
        new = [change.record.job_id for change in changes if change.from_status is None]
        there = reading.checkout(connection, new, ())
        for job_id in (*there.jobs, *there.damaged):
            return DuplicateJobIdError(job_id)
        return StorageDamagedError(f"{self._path}: the number or key of a new row is there already")

    def _count(self, status: str, jobs: int) -> None:
        self.counts[status] = self.counts.get(status, 0) + jobs

    def _check_identity(self) -> None:
        """Refuse to write into a file that nobody will find again, or that is somebody else's.

        Raises:
            StorageError: The path has no file, or another one; or the lock is gone.
        """
        self._ownership.check()
        if _identity(self._path) != self._identity:
            raise StorageError(
                f"{self._path} was moved, deleted or replaced while the engine had it open"
            )

    def has_long_log(self) -> bool:
        """Tell whether it is time to `tidy`."""
        return self._log_commits >= _LOG_COMMITS or self._log_changes >= _LOG_CHANGES

    def tidy(self) -> None:
        """Move the log into the database.

        SQLite would do it in a commit, while callers wait. Here it is done after one, while they
        are being answered. Readers may keep it from being done; then the next time does it.
        """
        self._log_commits = self._log_changes = 0
        try:
            with self._using() as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except Exception:  # nobody waits for it
            logger.exception("the log of %s could not be moved into the database", self._path)

    def resolve(self, changes: Sequence[Change]) -> bool:
        """Find out what became of a batch; see `engine.storage.Storage.resolve`.

        To the connection that failed, the batch was never visible. A new commit there writes over
        what is left of it in the log: then it is not applied, and can't come back. Where that fails
        too, the file is closed, its log made durable, and the file opened again, when SQLite takes
        all from the log that is complete.
        """
        try:
            return self._resolve(changes)
        except StorageError:
            return self._resolve(changes)

    def _resolve(self, changes: Sequence[Change]) -> bool:
        with translate_sqlite_errors(self._path):
            self._check_identity()
            try:
                connection = self._connection or self._connect_again()
                # All of them, because one may be as it was before.
                rows = batch_rows(changes, self._final_statuses)
                applied = reading.contains_rows(connection, rows.jobs())
                if not applied:
                    self._overwrite(connection)
                self.counts = reading.counts(connection)
            except BaseException:
                self._disconnect()
                raise
        self._undecided = False
        return applied

    def _overwrite(self, connection: sqlite3.Connection) -> None:
        """Commit a note, which takes the place in the log of the changes that had failed."""
        connection.execute("BEGIN IMMEDIATE")
        writing.note_failed_commit(connection)
        connection.execute("COMMIT")

    def _rewrite_log(self) -> None:
        """Write the log once more, where it is, because a sync of it has failed.

        To sync it again would not help: the operating system may have dropped what it could not
        write (https://wiki.postgresql.org/wiki/Fsync_Errors), and still show it to readers. Each
        byte is written as it was read, so that a crash in between does no harm; and SQLite then
        opens a log that is as durable as it is long.
        """
        path = beside(self._path, "-wal")
        if not path.exists():
            return
        with translate_os_errors(f"{path} can't be written"), path.open("r+b") as log:
            while block := log.read(_BLOCK_BYTES):
                log.seek(-len(block), os.SEEK_CUR)
                log.write(block)
            log.flush()
            file.sync(log.fileno())

    # Reading.

    def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        """Read jobs by their ids and keys; see `engine.storage.Storage.checkout`."""
        with self._using() as connection:
            return reading.checkout(connection, job_ids, keys)

    def page(self, status: str | None, after: int, limit: int) -> list[Record | Damaged]:
        """Read jobs in their order; see `engine.storage.Storage.page`."""
        with self._using() as connection:
            return reading.page(connection, status, after, limit)

    def history(self, job_id: str) -> list[Entry] | None:
        """Read a job's transitions; see `engine.storage.Storage.history`."""
        with self._using() as connection:
            return reading.history(connection, job_id)

    def transitions(self, after: int, limit: int, job_id: str | None) -> list[Entry]:
        """Read transitions in their order; see `engine.storage.Storage.transitions`."""
        with self._using() as connection:
            return reading.transitions(connection, after, limit, job_id)

    # Removing.

    def remove_ended(self, before: datetime | None, keep: int | None, limit: int) -> int:
        """Remove ended jobs; see `engine.storage.Storage.remove_ended`."""
        with self._using() as connection:
            status_of = self._removable(connection, before, keep, limit)
        if not status_of:
            return 0
        with self._writing_aside() as connection:
            writing.delete_jobs(connection, list(status_of))
        for status in status_of.values():
            self._count(status, -1)
        return len(status_of)

    def _removable(
        self, connection: sqlite3.Connection, before: datetime | None, keep: int | None, limit: int
    ) -> dict[int, str]:
        """Return the positions and statuses of ended jobs to remove, oldest end first.

        Damaged ones are passed over: of them it is not known when they ended.
        """
        ended = sum(self.counts.get(status, 0) for status in self._final_statuses)
        too_many = 0 if keep is None else ended - keep
        if too_many > 0:
            found = reading.ended_jobs(connection, self._final_statuses, None)
            return {job.position: job.status for job in islice(found, min(limit, too_many))}
        if before is not None:
            found = reading.ended_jobs(connection, self._final_statuses, time_text(before))
            return {job.position: job.status for job in islice(found, limit)}
        return {}


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another that has its name later; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


_connected: weakref.WeakSet[Database] = weakref.WeakSet()


def _leave_all() -> None:
    for database in list(_connected):
        database.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
