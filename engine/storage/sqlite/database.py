"""The database: an engine's file, open for writing. Blocks; calls come one at a time.

A round's changes are one transaction. A commit whose outcome is unknown is resolved before anything
else is read or written: that of changes by `Database.resolve`, that of another write by itself.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar, cast

from engine.domain.exceptions import (
    CommitUnknownError,
    DuplicateJobIdError,
    StorageDamagedError,
    StorageError,
    reason_of,
)
from engine.domain.follow_up_rules import StoredRules
from engine.portal.logs import TaskLogger
from engine.storage.answers import CheckedOut, Names
from engine.storage.audit import AuditLine, removal_line
from engine.storage.protocol import Opened
from engine.storage.record import Change
from engine.storage.sqlite import notes, reading, removing, throughput, writing
from engine.storage.sqlite.connection import Connect, WritingConnection, rewrite_log
from engine.storage.sqlite.epochs import read_epochs, sound_epochs, write_epochs
from engine.storage.sqlite.errors import translate_sqlite_errors
from engine.storage.sqlite.ownership import Ownership
from engine.storage.sqlite.rows import batch_rows
from engine.storage.sqlite.statuses import (
    correct_ends,
    correct_starts,
    has_wrong_starts,
    rename_statuses,
)
from engine.storage.table import Table

logger: Final = TaskLogger("engine")

Result = TypeVar("Result")

# The log is moved into the database after so many commits or changes: it has some 1,000 pages then.
_LOG_COMMITS: Final = 200
_LOG_CHANGES: Final = 4_000
_OTHER_WRITES: Final = "other_writes"


class Database:
    """An engine's file, open for writing.

    Args:
        path: The file, which `engine.storage.sqlite.file.prepare` has made ready.
        connect: Returns a connection that writes to it.
        fits: Whether an opening makes the jobs fit the lifecycle of its engine.

    Attributes:
        counts: The number of committed jobs by status.
    """

    def __init__(self, path: Path, connect: Connect, *, fits: bool = True) -> None:
        self.counts: dict[str, int] = {}
        self._path = path
        self._name = os.fspath(path)  # looked up at each commit
        self._connect = connect
        self._fits = fits
        self._connection: WritingConnection | None = None
        self._identity: tuple[int, int] | None = None
        self._outcomes: Mapping[str, str | None] = {}
        self._final_statuses: Collection[str] = ()
        self._is_undecided = False  # a commit's outcome is unknown until `resolve` finds it out
        self._unsettled: int | None = None  # the number of another write; its outcome is unknown
        self._log_commits = 0  # since the log was last moved into the database
        self._log_changes = 0

    def open(
        self,
        outcomes: Mapping[str, str | None],
        renamed: Mapping[str, str],
        running: str,
        ownership: Ownership,
    ) -> Opened:
        """Connect, and read the live jobs and the newest numbers."""
        self._outcomes = dict(outcomes)
        self._final_statuses = {status for status, outcome in outcomes.items() if outcome}
        self._ownership = ownership
        self._identity = _identity(self._name)
        self._is_undecided, self._unsettled = False, None
        with translate_sqlite_errors(self._path):
            self._connection = WritingConnection(self._path, self._connect)
            connection = self._connection.sqlite
            self.counts = reading.counts(connection)
            if self._fits:
                self._fit(connection, renamed, running)
            self._begin_epoch(connection)
            statuses = reading.readable_statuses(self.counts)
            return Opened(
                Table(reading.jobs_in_statuses(connection, statuses - self._final_statuses)),
                last_sequence=notes.newest_number(connection, "sequence", "transitions"),
                last_position=notes.newest_number(connection, "position", "jobs"),
                epochs=read_epochs(connection),
                rules=StoredRules(text=notes.read_rules(connection)),
            )

    def _fit(
        self, connection: sqlite3.Connection, renamed: Mapping[str, str], running: str
    ) -> None:
        """Make the jobs fit the lifecycle, unless it doesn't know the status of one."""
        strange = reading.readable_statuses(self.counts) - self._outcomes.keys() - renamed.keys()
        if not any(reading.jobs_in_statuses(connection, strange)):
            self._rename(connection, renamed, running)
            self._correct_ends(connection, running)
            self._correct_starts(connection, running)

    def _rename(
        self, connection: sqlite3.Connection, renamed: Mapping[str, str], running: str
    ) -> None:
        """Rename statuses in all rows, unless an engine has done it before."""
        names = json.dumps(dict(sorted(renamed.items())))
        if notes.has_note(connection, "renamed", names):
            return

        def rename(writer: sqlite3.Connection) -> None:
            rename_statuses(writer, renamed, self._outcomes, running)
            writing.write_note(writer, "renamed", names)

        self._write_repeatably(rename)
        self.counts = reading.counts(connection)

    def _correct_ends(self, connection: sqlite3.Connection, running: str) -> None:
        """Correct the jobs after an engine with other final statuses."""
        final = json.dumps(sorted(self._final_statuses))
        if notes.has_note(connection, "final_statuses", final):
            return

        def correct(writer: sqlite3.Connection) -> None:
            correct_ends(writer, self._outcomes, running)
            writing.write_note(writer, "final_statuses", final)

        self._write_repeatably(correct)

    def _correct_starts(self, connection: sqlite3.Connection, running: str) -> None:
        """Correct the jobs after an engine with another running status."""
        if has_wrong_starts(connection, running):
            self._write_repeatably(lambda writer: correct_starts(writer, self._outcomes, running))

    def _begin_epoch(self, connection: sqlite3.Connection) -> None:
        """Begin an epoch in a new file, in a copy, and in the place of a damaged one."""
        found = read_epochs(connection)
        if (sound := sound_epochs(connection, found, self._path)) == found:
            return

        def begin(writer: sqlite3.Connection) -> None:
            write_epochs(writer, sound)
            writing.write_note(writer, "is_copy", 0)

        self._write_repeatably(begin)

    def keep_lifecycle(self, description: str) -> str | None:
        """Keep the description of a lifecycle; return the one before.

        Raises:
            StorageError: It can't be written.
        """
        before = self.read(lambda connection: notes.read_text(connection, "lifecycle"))
        if before != description:
            self._write_repeatably(
                lambda writer: writing.write_note(writer, "lifecycle", description)
            )
        return before

    def keep_rules(self, text: str, lines: Sequence[AuditLine]) -> None:
        """Keep the rules of follow-ups; see `_write_settled`."""
        self._write_settled(lambda writer: writing.write_told(writer, "rules", text, lines))

    def keep_pauses(self, text: str, lines: Sequence[AuditLine]) -> None:
        """Keep the pauses; see `_write_settled`."""
        self._write_settled(lambda writer: writing.write_told(writer, "pauses", text, lines))

    def close(self) -> None:
        """Close the file; the log goes into it."""
        is_open = self._connection is not None and self._connection.is_open
        if is_open and _identity(self._name) != self._identity:
            logger.error(
                "%s was moved, deleted or replaced: it lacks the changes that are still in its "
                "log, %s-wal",
                self._path,
                self._path.name,
            )
        with translate_sqlite_errors(self._path):
            self._close_connection()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what a function reads.

        Raises:
            StorageError: SQLite's error; or a commit's outcome is unknown.
        """
        with translate_sqlite_errors(self._path):
            return function(self._decided_connection().sqlite)

    def _decided_connection(self) -> WritingConnection:
        """Return the connection.

        Raises:
            StorageError: A commit's outcome is still unknown.
        """
        if self._is_undecided:
            raise StorageError(f"{self._path}: the outcome of a commit is not yet known")
        if self._unsettled is not None:
            was = "applied" if self._settle() else "not applied"
            logger.warning("%s: a write of unknown outcome was %s", self._path, was)
        return self._open_connection()

    def _open_connection(self) -> WritingConnection:
        """Return the connection; connect again if it was closed because something failed on it."""
        connection = self._connection
        if connection is None or not connection.is_open:
            rewrite_log(self._path)
            connection = self._connection = WritingConnection(self._path, self._connect)
            self.counts = reading.counts(connection.sqlite)
        return connection

    @property
    def is_unsettled(self) -> bool:
        """Whether `counts` may not know of a removal that was applied; a read settles that."""
        return self._unsettled is not None

    def checkout(self, names: Names) -> CheckedOut:
        """Read ended jobs; see `engine.storage.Storage.checkout`."""
        return self.read(lambda connection: reading.checkout(connection, names))

    # Writing.

    def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        """Write a round's changes; see `engine.storage.Storage.commit`."""
        rows = batch_rows(changes)

        def write(connection: sqlite3.Connection) -> None:
            writing.write_batch(connection, rows)
            if lines:
                writing.write_audit(connection, lines)

        try:
            self._write(write)
        except CommitUnknownError:
            self._is_undecided = True
            raise
        except sqlite3.IntegrityError as error:
            raise self._conflict(changes) from error
        self._log_changes += len(changes)
        for change in changes:
            status = change.record.status
            if change.from_status != status:
                self._count(status, 1)
                if change.from_status is not None:
                    self._count(change.from_status, -1)

    def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Keep lines of the audit that belong to no change; see `_write_settled`."""
        self._write_settled(lambda writer: writing.write_audit(writer, lines))

    def count_throughput(self) -> bool:
        """Count the next transitions; see `engine.storage.Storage.count_throughput`."""
        if not self.read(throughput.has_uncounted):
            return False
        self._write_repeatably(throughput.count_some)
        return self.read(throughput.has_uncounted)

    def _count(self, status: str, jobs: int) -> None:
        self.counts[status] = self.counts.get(status, 0) + jobs

    def _conflict(self, changes: Sequence[Change]) -> Exception:
        """Return the error for changes that were rolled back because another row is there."""
        new = [change.record.job_id for change in changes if change.from_status is None]
        there = self.checkout(Names(new)).ids
        for job_id in (*there.jobs, *there.damaged):
            return DuplicateJobIdError(job_id)
        return StorageDamagedError(f"{self._path}: the number or key of a new row is there already")

    def _write(self, write: Callable[[sqlite3.Connection], object]) -> None:
        """Write in one transaction; see `WritingConnection.transaction`.

        Raises:
            StorageError: SQLite's error; or a commit's outcome is unknown, or the file is not ours.
        """
        with translate_sqlite_errors(self._path):
            connection = self._decided_connection()
            self._check_identity()
            connection.transaction(write)
        self._log_commits += 1

    def _write_repeatably(self, write: Callable[[sqlite3.Connection], object]) -> None:
        """Write what does no harm if its commit fails and takes effect nevertheless.

        Raises:
            StorageError: The commit failed.
        """
        try:
            self._write(write)
        except CommitUnknownError as unknown:
            reason = reason_of(unknown)
            raise reason from reason.__cause__

    def _write_settled(self, write: Callable[[sqlite3.Connection], object]) -> None:
        """Write in one transaction, with a number in a note, which tells what became of it.

        Raises:
            StorageError: Nothing was applied.
            CommitUnknownError: It can't be found out now; the next call does it first, or refuses.
        """
        number = 0

        def write_with_number(writer: sqlite3.Connection) -> None:
            nonlocal number
            write(writer)
            number = writing.count_up(writer, _OTHER_WRITES)

        try:
            self._write(write_with_number)
        except CommitUnknownError as unknown:
            logger.exception("the outcome of a write is unknown: looking for it")
            self._unsettled = number
            try:
                is_applied = self._settle()
            except StorageError:
                raise unknown from unknown.__cause__
            if not is_applied:
                raise reason_of(unknown) from unknown

    def _settle(self) -> bool:
        """Find out whether the newest other write was applied.

        Raises:
            StorageError: It can't be found out now.
        """
        number = cast("int", self._unsettled)
        return self._find_out(lambda connection: notes.has_note(connection, _OTHER_WRITES, number))

    def _check_identity(self) -> None:
        """Refuse to write into a file that has lost its name, or that another engine may have.

        Raises:
            StorageError: The path has no file, or another one; or the lock is gone.
        """
        self._ownership.check()
        if _identity(self._name) != self._identity:
            raise StorageError(
                f"{self._path} was moved, deleted or replaced while the engine had it open"
            )

    def resolve(self, changes: Sequence[Change]) -> bool:
        """Find out the outcome of a commit; see `engine.storage.Storage.resolve`."""
        rows = batch_rows(changes).jobs()
        # Look for all of them, because a job's row may be as it was before.
        return self._find_out(lambda connection: reading.contains_rows(connection, rows))

    def _find_out(self, is_there: Callable[[sqlite3.Connection], bool]) -> bool:
        """Find out whether a write whose commit failed was applied; if not, it never will be.

        The changes were never visible to the connection that failed. A new commit on it overwrites
        them in the log: then they are not applied and can't come back. If that fails too, the file
        is closed, its log made durable, and the file opened again; SQLite then takes all complete
        transactions from the log.

        Raises:
            StorageError: It can't be found out now.
        """
        try:
            return self._look(is_there)
        except StorageError:
            return self._look(is_there)

    def _look(self, is_there: Callable[[sqlite3.Connection], bool]) -> bool:
        with translate_sqlite_errors(self._path):
            self._check_identity()
            try:
                connection = self._open_connection().sqlite
                is_applied = is_there(connection)
                if not is_applied:
                    _overwrite_failed_commit(connection)
                self.counts = reading.counts(connection)
            except BaseException:
                self._close_connection()
                raise
        self._is_undecided, self._unsettled = False, None
        return is_applied

    def has_long_log(self) -> bool:
        """Tell whether it is time for a `checkpoint`."""
        return self._log_commits >= _LOG_COMMITS or self._log_changes >= _LOG_CHANGES

    def checkpoint(self) -> None:
        """Move the log into the database.

        SQLite would do it in a commit, while callers wait. Here it runs after one, while they get
        their answers. If readers prevent it, the next one does it.
        """
        self._log_commits = self._log_changes = 0
        try:
            with translate_sqlite_errors(self._path):
                self._decided_connection().checkpoint()
        except Exception:  # no caller waits for it
            logger.exception("the log of %s could not be moved into the database", self._path)

    def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> list[str]:
        """Remove ended jobs; see `engine.storage.Storage.remove_ended`."""
        jobs = self.read(
            lambda connection: removing.removable_jobs(
                connection, self._final_statuses, before, self._too_many(keep), limit
            )
        )
        if not jobs:
            return []
        positions = [job.position for job in jobs]

        def remove(writer: sqlite3.Connection) -> None:
            throughput.count_removed(writer, positions)
            writing.delete_jobs(writer, positions)
            if line is not None:
                writing.write_audit(writer, [removal_line(line, len(jobs))])

        counts = Counter(self.counts)
        self._write_settled(remove)  # which may count anew
        counts.subtract(job.status for job in jobs)
        self.counts = counts
        return [job.job_id for job in jobs]

    def _too_many(self, keep: int | None) -> int:
        """Return how many ended jobs a rule doesn't keep. Settle before: that may count anew."""
        ended = sum(self.counts.get(status, 0) for status in self._final_statuses)
        return 0 if keep is None else max(ended - keep, 0)


def _overwrite_failed_commit(connection: sqlite3.Connection) -> None:
    """Commit a note, which takes the place of the failed changes in the log."""
    connection.execute("BEGIN IMMEDIATE")
    writing.count_up(connection, "failed_commits")
    connection.execute("COMMIT")


def _identity(name: str) -> tuple[int, int] | None:
    """Return the identity of the file that has a name now; None if there is none."""
    try:
        status = os.stat(name)  # noqa: PTH116 - at a third of the cost of `Path.stat`
    except OSError:
        return None
    return status.st_dev, status.st_ino
