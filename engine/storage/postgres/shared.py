"""The shared part: what a database of many engines has beside a storage of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from engine.domain.models import Progress
from engine.storage.answers import Names
from engine.storage.audit import AuditLine
from engine.storage.overview import CountedKinds, EngineRow
from engine.storage.postgres import live, reading
from engine.storage.postgres.arrays import doubles, numbers, texts
from engine.storage.postgres.database import Database
from engine.storage.postgres.heartbeat import Heartbeat
from engine.storage.postgres.limited_thread import LimitedThread
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.rows import record_of
from engine.storage.postgres.settled import SettledWrites
from engine.storage.postgres.statements import Statements
from engine.storage.record import Record
from engine.storage.shared import Decide, DueJobs, ReadyCounts

Result = TypeVar("Result")

_COUNTED_AT_ONCE: Final = 2_000  # which takes some milliseconds


class PostgresShared:
    """The shared part of a PostgreSQL storage; see `engine.storage.Shared`.

    Args:
        database: The engine's connection.
        thread: Makes the calls on it.
        heartbeat: Tells of the other engines.
        writes: Those whose outcome is found out.
    """

    def __init__(
        self,
        database: Database,
        thread: LimitedThread,
        heartbeat: Heartbeat,
        writes: SettledWrites,
    ) -> None:
        self._database = database
        self._thread = thread
        self._heartbeat = heartbeat
        self._writes = writes
        self._progress: dict[str, Progress] = {}  # of the other engines
        self._progress_since = 0  # the transaction from which on it may have changed

    @property
    def clock_offset(self) -> timedelta:
        """Return what the newest beat has measured."""
        return self._heartbeat.clock_offset

    @property
    def listens(self) -> bool:
        """Return whether notifications arrive."""
        return self._heartbeat.listens

    async def _call(self, function: Callable[[Reader, Statements], Result]) -> Result:
        return await self._thread.run(self._database.call, function)

    async def take(
        self, kinds: Mapping[str, int], limit: int, *, suspects: bool
    ) -> Sequence[Record]:
        """Reserve jobs in one statement, which skips those that others have locked."""
        return await self._thread.run(partial(self._database.take, kinds, limit, suspects=suspects))

    async def arrive(self, connection: object, names: Names, decide: Decide) -> None:
        """Put jobs into a table, which a trigger empties when the transaction commits."""
        await self._database.arriving.arrive(connection, names, decide)

    def arrive_blocking(self, connection: object, names: Names, decide: Decide) -> None:
        """Do as `arrive`."""
        self._database.arriving.arrive_blocking(connection, names, decide)

    async def held(self, known: Collection[str] = ()) -> Sequence[Record]:
        """Read the jobs that this engine has, once no lost call can take any more."""
        return await self._thread.run(self._database.held, known)

    async def changed(self, records: Sequence[Record]) -> Sequence[Record | None]:
        """Read those of these jobs that have another revision now, or are gone."""
        values = (
            numbers([record.position for record in records]),
            numbers([record.revision for record in records]),
        )
        changed = await self._call(
            lambda cursor, statements: {
                row[0]: None if row[1] is None else record_of(row[1:])
                for row in cursor.execute(statements.changed, values)
            }
        )
        return [changed.get(record.position, record) for record in records]

    async def newest_sequence(self) -> int:
        """Read the number of the newest transition."""
        return await self._call(
            lambda cursor, statements: int(reading.one(cursor, statements.numbers)[0])
        )

    async def due(self, now: datetime, limit: int) -> DueJobs:
        """Make jobs ready, and keep those whose deadline has passed, in one statement."""
        values = (now, limit, texts(self._database.statuses))
        return await self._call(
            lambda cursor, statements: DueJobs(*reading.one(cursor, statements.due, values))
        )

    async def news(self, seconds: float) -> None:
        """Wait for the heartbeat."""
        await self._heartbeat.news(seconds)

    def wake(self) -> None:
        """Wake who waits for news."""
        self._heartbeat.wake()

    async def ready_counts(self, kinds: Collection[str], paused: Collection[str]) -> ReadyCounts:
        """Count jobs by their indexes."""
        values = (texts([*kinds]), texts([*paused]))
        return await self._call(
            lambda cursor, statements: ReadyCounts(
                *reading.one(cursor, statements.ready_counts, values)
            )
        )

    async def kinds(
        self, status: str, after: int, now: datetime, *, is_running: bool
    ) -> CountedKinds:
        """Count some rows by the index of a status."""
        part = live.Part(status, is_running, _COUNTED_AT_ONCE, after)
        return await self._call(partial(live.kinds_of, part=part, now=now))

    async def engines(self) -> Sequence[EngineRow]:
        """Read the table of engines."""
        return await self._call(live.engines)

    async def unhandled_kinds(self, kinds: Collection[str], limit: int) -> Sequence[str]:
        """Go from kind to kind."""
        values = (texts([*kinds]), limit)
        return await self._call(
            lambda cursor, statements: [
                str(row[0]) for row in cursor.execute(statements.unhandled, values)
            ]
        )

    @property
    def instructions(self) -> object:
        """Return what the newest beat has found."""
        return self._heartbeat.instructions

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine] = (), *, draining: bool
    ) -> bool:
        """Write it to the row of the engine, and notify all."""
        return await self._writes.drain(engine_id, lines, draining=draining)

    async def is_draining(self) -> bool:
        """Read the row of this engine."""
        values = (self._database.engine,)
        return await self._call(
            lambda cursor, statements: bool(reading.one(cursor, statements.is_draining, values)[0])
        )

    async def exchange_progress(
        self, reports: Sequence[Progress], ended: Sequence[str]
    ) -> Sequence[Progress]:
        """Write the table of progress, and read what others have changed, in one statement."""
        values = (
            self._database.engine,
            texts(ended),
            texts([each.job_id for each in reports]),
            numbers([each.attempt for each in reports]),
            doubles([each.done for each in reports]),
            doubles([each.total for each in reports]),
            texts([each.note for each in reports]),
            self._progress_since,
        )
        rows = await self._call(
            lambda cursor, statements: cursor.execute(statements.progress, values).fetchall()
        )
        before, self._progress = self._progress, {}
        for job_id, attempt, done, total, note, self._progress_since in rows:
            if attempt is not None:
                self._progress[job_id] = Progress(
                    job_id=job_id, attempt=attempt, done=done, total=total, note=note
                )
            elif job_id in before:
                self._progress[job_id] = before[job_id]
        return [*self._progress.values()]

    async def lead(self, name: str) -> bool:
        """Take the place of a leader that has ended or is dead."""
        values = (self._database.engine, name)
        return await self._call(
            lambda cursor, statements: bool(reading.one(cursor, statements.lead, values)[0])
        )

    async def resign(self, name: str) -> None:
        """Leave the place of the leader."""
        values = (name, self._database.engine)
        await self._call(lambda cursor, statements: cursor.execute(statements.resign, values))

    def hold_back(self, job_ids: Container[str]) -> None:
        """Let each commit look at them."""
        self._database.held_back = job_ids

    def handles(self, kinds: Collection[str]) -> None:
        """Publish them with the next beat."""
        self._heartbeat.handles(kinds)
