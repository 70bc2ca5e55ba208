"""The PostgreSQL storage: any number of engines, on any number of machines, over one database."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from engine.domain.exceptions import InvalidValueError, StorageError, StorageInUseError
from engine.domain.follow_up_rules import StoredRules
from engine.domain.validation import (
    MAX_IDENTIFIER_CHARACTERS,
    check_flag,
    check_seconds,
    check_text,
)
from engine.storage.answers import CheckedOut, Committed, Names, StoredCount, StoredPage
from engine.storage.audit import AuditLine, DamagedAuditLine, KeptAuditLine
from engine.storage.filter import JobFilter
from engine.storage.postgres import listing, reading
from engine.storage.postgres.beat_connection import connector
from engine.storage.postgres.beating import BEATS_PER_LEASE
from engine.storage.postgres.database import Database
from engine.storage.postgres.heartbeat import Heartbeat
from engine.storage.postgres.limited_thread import LimitedThread
from engine.storage.postgres.location import Location, schema_name
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.removing import Removable
from engine.storage.postgres.settled import SettledWrites
from engine.storage.postgres.shared import PostgresShared
from engine.storage.postgres.statements import Statements
from engine.storage.postgres.throughput import read_throughput
from engine.storage.protocol import Opened, ProgressCallback
from engine.storage.record import AttemptRecord, Change, Entry
from engine.storage.throughput import MinuteCount

Result = TypeVar("Result")

_OPENING_SECONDS: Final = 600.0  # it may have to rename the statuses of all jobs
_CLOSING_SECONDS: Final = 0.2  # only a call that nobody waits for any more can be under way
_PREPARED_AFTER: Final = 5
_LEAST_LEASE_SECONDS: Final = 1.0


class PostgresStorage:
    """Keeps jobs in a PostgreSQL database, which any number of engines share.

    The server is PostgreSQL 15 or newer, and the database's encoding is UTF8. The first engine that
    opens it makes the schema, and needs the right to; the others need USAGE of the schema, and
    SELECT, INSERT, UPDATE and DELETE of its tables. An engine has two connections: one of them
    beats, so that the others know that it lives. A third one, for a moment, finds out whether
    notifications come; without it the engine polls until there is one.

    Args:
        url: Such as ``postgresql://user@host:5432/database``, with libpq's parameters; several
            hosts are tried in turn for one that can be written. libpq's environment, service file
            and password file give what the URL lacks.
        schema: The schema that has the tables, 63 bytes at most; by default the parameter
            ``schema`` of the URL, or else ``engine``. Each schema has its own jobs.
        lease_seconds: After how long a silence the others take this engine for dead, and run its
            jobs; at least 1. An engine whose own is longer waits for that.
        name: The engine's name, for people; by default the host's name and the process's id.
        prepare: Whether the server prepares the statements that are used often. Say False for a
            pooler in transaction mode that can't keep them.

    Attributes:
        name: The engine's name.

    Raises:
        InvalidValueError: An argument has a wrong type or size, or the URL is none.
    """

    _fits: ClassVar = True  # the jobs, when it is opened, to the lifecycle of its engine

    def __init__(
        self,
        url: str,
        *,
        schema: str | None = None,
        lease_seconds: float = 15.0,
        name: str | None = None,
        prepare: bool = True,
    ) -> None:
        location = Location(url)
        self._lease_seconds = lease = check_seconds("lease_seconds", lease_seconds)
        if lease < _LEAST_LEASE_SECONDS:
            raise InvalidValueError("lease_seconds", f"must be at least 1, not {lease_seconds}")
        self._subject = str(location)
        self.name = _default_name() if name is None else name
        check_text("name", self.name, MAX_IDENTIFIER_CHARACTERS)
        prepared_after = _PREPARED_AFTER if check_flag("prepare", prepare) else None
        schema = location.schema if schema is None else schema_name(schema)
        self._database = Database(location, schema, prepared_after, fits=self._fits)
        self._thread = LimitedThread(f"engine storage {self._subject}", self._database.cut)
        self._writes = SettledWrites(self._database, self._thread)
        connect = connector(location, lease / BEATS_PER_LEASE)
        self._heartbeat = Heartbeat(self._subject, schema, lease, connect)
        self._users = 0  # engines that have opened it, refused ones too: each calls `aclose`

    def __repr__(self) -> str:
        return f"<PostgresStorage {self._subject}>"

    async def open(
        self, outcomes: Mapping[str, str | None], renamed: Mapping[str, str], running: str
    ) -> Opened:
        """Connect, make what is missing, and join the engines of the database.

        Raises:
            StorageInUseError: An engine of this process has it open, by the same object.
            StorageFormatError: The schema is no engine's, or a newer one's that this one can't use.
            StorageReadOnlyError: The server can only be read.
            StorageError: It can't be used for another reason.
        """
        self._users += 1
        if self._users > 1:
            raise StorageInUseError(self._subject, "one of this process, given the same object")
        shared = PostgresShared(self._database, self._thread, self._heartbeat, self._writes)
        how = (self.name, self._lease_seconds, dict(outcomes), dict(renamed), running, shared)
        opened = await self._thread.run(self._database.open, *how, seconds=_OPENING_SECONDS)
        await self._heartbeat.start(self._database.engine)
        return opened

    async def keep_lifecycle(self, description: str) -> str | None:
        """Keep it in a note."""
        return await self._thread.run(self._database.keep_lifecycle, description)

    async def rules(self) -> StoredRules:
        """Read the rules of follow-ups."""
        return await self._thread.run(self._database.rules)

    async def keep_rules(self, text: str, lines: Sequence[AuditLine] = ()) -> StoredRules | None:
        """Keep other rules, behind all transitions so far."""
        return await self._writes.keep_rules(text, lines)

    async def pauses(self) -> str:
        """Read the note of them."""
        return await self._call(reading.pauses)

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        """Keep them in a note, and notify all engines."""
        return await self._writes.keep_pauses(text, before, lines)

    async def checkout(self, names: Names) -> CheckedOut:
        """Read jobs."""
        return await self._thread.run(self._database.checkout, names)

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> Committed:
        """Write the changes in one statement."""
        committed = await self._thread.run(self._database.commit, changes, lines)
        if committed.in_the_way is None:
            self._heartbeat.tell()
        return committed

    async def resolve(self, changes: Sequence[Change]) -> bool | Committed:
        """Ask for the number of the batch."""
        del changes  # those of the newest commit
        committed = await self._thread.run(self._database.resolve)
        if committed:
            self._heartbeat.tell()
        return committed

    async def _call(self, function: Callable[[Reader, Statements], Result]) -> Result:
        return await self._thread.run(self._database.call, function)

    async def count(self, jobs: JobFilter, at_most: int, after: int = 0) -> StoredCount:
        """Count jobs."""
        return await self._call(
            lambda cursor, statements: listing.count(cursor, statements, jobs, at_most, after)
        )

    async def page(
        self, jobs: JobFilter, after: int, limit: int, *, newest_first: bool = False
    ) -> StoredPage:
        """Read a page of jobs."""
        return await self._call(
            lambda cursor, statements: listing.page(
                cursor, statements, jobs, after, limit, newest_first=newest_first
            )
        )

    async def history(
        self, job_id: str, newest: int | None = None, before: int | None = None
    ) -> Sequence[Entry] | None:
        """Read the transitions of a job."""
        return await self._call(
            lambda cursor, statements: reading.history(cursor, statements, job_id, newest, before)
        )

    async def attempts(self, job_id: str) -> Sequence[AttemptRecord] | None:
        """Read the failed attempts of a job."""
        return await self._call(
            lambda cursor, statements: reading.attempts(cursor, statements, job_id)
        )

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Write lines of the audit in one statement."""
        await self._writes.note_acts(lines)

    async def audit(
        self, before: int | None, limit: int, job_id: str | None = None
    ) -> Sequence[KeptAuditLine | DamagedAuditLine]:
        """Read lines of the audit."""
        return await self._call(
            lambda cursor, statements: reading.audit(cursor, statements, before, limit, job_id)
        )

    async def count_throughput(self) -> bool:
        """Count transitions in one statement."""
        return await self._thread.run(self._database.count_throughput)

    async def throughput(self, since: datetime) -> Sequence[MinuteCount]:
        """Read the counts."""
        return await self._call(
            lambda cursor, statements: read_throughput(cursor, statements, since)
        )

    async def transitions(
        self, after: int, limit: int, job_id: str | None = None
    ) -> Sequence[Entry]:
        """Read transitions in their order, of all jobs or of one."""
        return await self._call(
            lambda cursor, statements: reading.transitions(cursor, statements, after, limit, job_id)
        )

    async def removed_up_to(self) -> int:
        """Read the note of it."""
        return await self._call(
            lambda cursor, statements: int(reading.note(cursor, statements, "last_sequence") or 0)
        )

    async def remove_ended(
        self,
        before: datetime | None,
        keep: int | None,
        limit: int,
        line: AuditLine | None = None,
    ) -> Sequence[str]:
        """Remove ended jobs in one transaction."""
        return await self._writes.remove_ended(Removable(before, keep, limit), line)

    def backup(self, path: Path, progress: ProgressCallback) -> None:
        """Refuse: PostgreSQL's own programs copy databases.

        Raises:
            StorageError: Always.
        """
        del progress
        raise StorageError(
            f"{self._subject} can't be copied to {path}: copy the database by pg_dump, or the "
            "server by pg_basebackup"
        )

    async def aclose(self) -> None:
        """Leave the other engines, close the connections, and cut an opening that was cancelled."""
        if self._users > 1:
            self._users -= 1
            return
        try:
            await self._heartbeat.aclose()
            await self._thread.run(self._database.close, seconds=_CLOSING_SECONDS)
        finally:
            self._thread.close()
            self._users -= 1


def _default_name() -> str:
    return f"{socket.gethostname()} {os.getpid()}"[:MAX_IDENTIFIER_CHARACTERS]
