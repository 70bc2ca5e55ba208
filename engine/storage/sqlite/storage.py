"""The SQLite storage: one file, no server; commits survive a crash and a power cut."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, Unpack

from engine.domain.exceptions import StorageInUseError
from engine.domain.follow_up_rules import StoredRules
from engine.domain.validation import check_flag
from engine.portal import WorkThread, is_loop_thread
from engine.storage.answers import CheckedOut, Names, StoredCount, StoredPage
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine
from engine.storage.filter import JobFilter
from engine.storage.protocol import Opened, ProgressCallback
from engine.storage.record import AttemptRecord, Change, Entry
from engine.storage.sqlite import audit, file, listing, notes, reading
from engine.storage.sqlite.backup import back_up
from engine.storage.sqlite.database import Database
from engine.storage.sqlite.ownership import Ownership
from engine.storage.sqlite.pace import Pace
from engine.storage.sqlite.paths import check_usable, path_at
from engine.storage.sqlite.rights import GroupAccess, new_mode
from engine.storage.sqlite.schema import STEPS
from engine.storage.sqlite.throughput import read_throughput
from engine.storage.throughput import MinuteCount

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_MOST_CHANGES: Final = 16
_MOST_CHARACTERS: Final = 65_536


class SQLiteStorage:
    """Keeps jobs in one SQLite file; makes the file if it is missing.

    One engine at a time has the file. Any program may read it meanwhile; only the engine may write
    to it. ``jobs.db-wal`` and ``jobs.db-shm`` beside ``jobs.db`` are part of the database while it
    is open; ``jobs.db-lock`` names the process that has it, and ``jobs.db-control`` is the socket
    of its engine. Keep the file on a disk of this machine: SQLite's log does not work across a
    network.

    Args:
        path: The file, or a URL such as ``sqlite:///jobs.db``. Its folder must exist.
        group_access: What other members of the file's group may do with a new file: nothing by
            default (mode 0600), ``"read"`` (0640) or ``"write"`` (0660). A file that is there
            keeps its owner, its group and its mode, and the files beside it get them.
        inline_commits: Whether small commits (16 changes of 65,536 characters together at most)
            and reads of one ended job may be made on the event loop, without the way to a thread
            and back. They are, while the newest 16 have taken 1 ms at most each; a disk that then
            stalls stops the loop for as long as that call takes. None, the default: only in a
            `SyncJobEngine`, whose loop serves nothing but the process's blocking engines.

    Raises:
        InvalidValueError: The path is neither text nor a path, or is empty; or the access or
            ``inline_commits`` is another value.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        group_access: GroupAccess | None = None,
        inline_commits: bool | None = None,
    ) -> None:
        # Follow links, as SQLite does: a file has one log and one lock.
        self.path: Path = Path(os.path.realpath(path_at(path)))
        self._new_mode = new_mode(group_access)
        if inline_commits is not None:
            check_flag("inline_commits", inline_commits)
        self._inline_commits = inline_commits
        self._is_inline = False
        self._commits = Pace()
        self._reads = Pace()
        self._thread = WorkThread(f"engine storage {self.path.name}")
        self._database = Database(self.path, self.connect)
        self._ownership: Ownership | None = None
        self._users = 0  # engines that have opened it, refused ones too: each calls `aclose`

    def connect(self, path: Path) -> sqlite3.Connection:
        """Return a connection that writes to the file, which exists."""
        return file.connect(path, "rw")

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        """Lock the file, make or migrate it if needed, and read the live jobs.

        Raises:
            StorageInUseError: Another engine has it.
            StorageFormatError: It is no engine's, or of a newer version. It is left as it was.
            StorageDamagedError: SQLite can't read it.
            StorageReadOnlyError: It can't be written.
            StorageError: It can't be used for another reason, such as a missing folder.
        """
        self._users += 1
        if self._users > 1:
            raise StorageInUseError(str(self.path), "one of this process, given the same object")
        wanted = is_loop_thread() if self._inline_commits is None else self._inline_commits
        self._is_inline = wanted and bool(sqlite3.threadsafety)
        return await self._thread.run(self._open, outcomes, renamed, running)

    def _open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        check_usable(self.path)
        self._ownership = Ownership(self.path, self._new_mode)
        self._prepare()
        return self._database.open(outcomes, renamed, running, self._ownership)

    def _prepare(self) -> None:
        """Make the file ready: make it if it is missing, or migrate it."""
        file.prepare(self.path, STEPS, self._new_mode)

    async def keep_lifecycle(self, description: str) -> str | None:
        """Keep it in a note."""
        return await self._thread.run(self._database.keep_lifecycle, description)

    async def rules(self) -> StoredRules:
        """Read the note of them. Their number says nothing, as nobody else changes them."""
        return StoredRules(text=await self._read(notes.read_rules))

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules:
        """Keep them in a note."""
        await self._thread.run(self._database.keep_rules, text, lines)
        return StoredRules(text=text)

    async def pauses(self) -> str:
        """Read the note of them."""
        return await self._read(notes.read_pauses)

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        """Keep them in a note."""
        del before
        await self._thread.run(self._database.keep_pauses, text, lines)
        return True

    async def checkout(self, names: Names) -> CheckedOut:
        """Read ended jobs."""
        may_stay = self._is_inline and sum(map(len, names)) == 1
        return await self._run(self._reads, may_stay, self._database.checkout, names)

    async def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        return await self._thread.run(self._database.read, read)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        """Write the changes in one transaction, synced to the disk."""
        may_stay = self._is_inline and _are_small(changes)
        await self._run(self._commits, may_stay, self._database.commit, changes, lines)
        self._checkpoint_if_due()

    async def _run(
        self,
        pace: Pace,
        may_stay: bool,  # noqa: FBT001 - before the function's arguments
        function: Callable[[Unpack[Arguments]], Result],
        *args: *Arguments,
    ) -> Result:
        """Make a call: a short one that may stay on the event loop there."""
        if not may_stay:
            return await self._thread.run(function, *args)
        if pace.is_fast and self._thread.enter():
            try:
                return pace.measure(function, *args)
            finally:
                self._thread.leave()
        return await self._thread.run(lambda: pace.measure(function, *args))

    def _checkpoint_if_due(self) -> None:
        if self._database.has_long_log():
            self._thread.start(self._database.checkpoint)

    async def resolve(self, changes: Sequence[Change]) -> bool:
        """Find out whether the changes are in the file."""
        return await self._thread.run(self._database.resolve, changes)

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        """Return the count of a status, which each commit updates; count others in the file.

        After a removal of unknown outcome all are counted in the file, which settles it.
        """
        if jobs == JobFilter(jobs.status) and not self._database.is_unsettled:
            return StoredCount(min(self._counted(jobs.status), at_most))
        return await self._read(lambda connection: listing.count(connection, jobs, at_most, after))

    def _counted(self, status: str | None) -> int:
        counts = self._database.counts
        return sum(counts.values()) if status is None else counts.get(status, 0)

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Read a page of jobs."""
        return await self._read(
            lambda connection: listing.page(
                connection, jobs, after, limit, newest_first=newest_first
            )
        )

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        """Read the transitions of a job."""
        return await self._read(
            lambda connection: reading.history(connection, job_id, newest, before)
        )

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        """Read the failed attempts of a job."""
        return await self._read(lambda connection: reading.attempts(connection, job_id))

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Write lines of the audit in a transaction."""
        await self._thread.run(self._database.note_acts, lines)

    async def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Read lines of the audit."""
        return await self._read(
            lambda connection: audit.read_lines(connection, before, limit, job_id)
        )

    async def count_throughput(self) -> bool:
        """Count transitions in a transaction."""
        has_more = await self._thread.run(self._database.count_throughput)
        self._checkpoint_if_due()
        return has_more

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        """Read the counts."""
        return await self._read(lambda connection: read_throughput(connection, since))

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Read transitions in their order, of all jobs or of one."""
        return await self._read(
            lambda connection: reading.transitions(connection, after, limit, job_id)
        )

    async def removed_up_to(self) -> int:
        """Read the note of it."""
        return await self._read(lambda connection: notes.read_number(connection, "last_sequence"))

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        """Remove ended jobs in one transaction."""
        removed = await self._thread.run(self._database.remove_ended, before, keep, limit, line)
        self._checkpoint_if_due()
        return removed

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Copy the file by SQLite's own backup, with a connection of its own."""
        back_up(self.path, path, progress)

    async def aclose(self) -> None:
        """Close and unlock the file."""
        if self._users > 1:
            self._users -= 1
            return
        try:
            await self._thread.run(self._close)
        finally:
            self._thread.close()
            self._users -= 1  # now: until the file is closed, others are refused

    def _close(self) -> None:
        try:
            self._database.close()
        finally:
            if self._ownership is not None:
                self._ownership.release()
                self._ownership = None


def _are_small(changes: Sequence[Change]) -> bool:
    """Return whether writing these changes takes no longer than a few."""
    if len(changes) > _MOST_CHANGES:
        return False
    return sum(change.record.characters for change in changes) <= _MOST_CHARACTERS
