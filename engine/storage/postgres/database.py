"""The database: an engine's connection to it. Blocks; calls come one at a time, on one thread.

A round's changes are one statement in autocommit. While the outcome of a commit is unknown, all but
`Database.resolve` is refused. While that of another write is unknown, each call finds it out first.
A lost connection is made anew by the next call.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import psycopg

from engine.domain.epochs import Epoch
from engine.domain.exceptions import (
    CommitsLostError,
    CommitUnknownError,
    StorageError,
    reason_of,
)
from engine.domain.follow_up_rules import NO_RULES, Rules, StoredRules
from engine.portal.logs import TaskLogger
from engine.storage.answers import CheckedOut, Committed, Names
from engine.storage.audit import AuditLine
from engine.storage.postgres import reading
from engine.storage.postgres.arrays import Rows, numbers, texts
from engine.storage.postgres.arriving import Arriving
from engine.storage.postgres.batches import AUDIT_LINE
from engine.storage.postgres.connection import connect, use_utc
from engine.storage.postgres.errors import (
    FENCED,
    OTHER_RULES,
    TAKEN,
    ends_connection,
    is_bug,
    is_definite,
    storage_error,
    translated_errors,
)
from engine.storage.postgres.location import Location
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.rows import BatchRows, RowTypes, batch_rows, names_given
from engine.storage.postgres.schema import lock_opening, prepare
from engine.storage.postgres.statements import Statements
from engine.storage.postgres.statuses import fit_some
from engine.storage.protocol import Opened
from engine.storage.record import Change, Record
from engine.storage.shared import Shared
from engine.storage.table import Table
from engine.storage.throughput import STEP_TRANSITIONS

logger: Final = TaskLogger("engine")

Result = TypeVar("Result")

Number: TypeAlias = tuple[int, int]
"""That of an engine, and that of a batch of it."""


class Written(NamedTuple):
    """A write that was applied."""

    answer: Any
    """What it answers, a value of JSON."""
    bases: Sequence[int | None]
    """The numbers behind which its own begin: of a commit."""


class Database:
    """An engine's connection to a shared database.

    Args:
        location: The database.
        schema: The name of the schema.
        prepare: After how many uses a statement is prepared; None for never.
        fits: Whether an opening makes the jobs fit the lifecycle of its engine.

    Attributes:
        engine: The number of the engine, once it has opened the database.
        running: The running status.
        statuses: All that the engine knows.
        arriving: Puts jobs into transactions of callers, once the database is open.
        held_back: The ids of jobs that stay reserved for this engine.
        known_rules: The rules of follow-ups by which the owner decides.
    """

    def __init__(
        self, location: Location, schema: str, prepare: int | None, *, fits: bool = True
    ) -> None:
        self.engine = 0
        self.running = ""
        self.statuses: Sequence[str] = ()
        self.held_back: Container[str] = ()
        self._location = location
        self._subject = str(location)
        self._schema = schema
        self._prepare = prepare
        self._fits = fits
        self._statements = Statements(schema)
        self._cursor: Reader | None = None
        self._row_types: RowTypes | None = None
        self.known_rules = NO_RULES
        self._number = 0  # of this engine's newest batch whose outcome is known
        self._undecided: BatchRows | None = None  # the outcome of its commit is unknown
        self._is_unsettled = False  # so is that of another call that takes a number

    def open(
        self,
        name: str,
        lease_seconds: float,
        outcomes: Mapping[str, str | None],
        renamed: Mapping[str, str],
        running: str,
        shared: Shared,
    ) -> Opened:
        """Connect, make or fit what is there, and join the engines."""
        self.running, self.statuses = running, [*outcomes]
        self._number, self._undecided, self._is_unsettled = 0, None, False
        with translated_errors(self._subject):
            cursor, statements = self._connected(), self._statements
            prepare(cursor.connection, self._schema)
            has_joined = False
            while not has_joined:
                with cursor.connection.transaction():
                    lock_opening(cursor.connection, self._schema)
                    has_joined = not self._fits or fit_some(
                        cursor, statements, outcomes, renamed, running
                    )
                    if has_joined:
                        [self.engine] = reading.one(cursor, statements.join, (name, lease_seconds))
            sequence, position = reading.one(cursor, statements.numbers)
            [place] = reading.one(cursor, statements.place)
            epochs = [Epoch(*row) for row in cursor.execute(statements.epochs)]
            self.known_rules = StoredRules(*reading.one(cursor, statements.rules))
        self.arriving = Arriving(self._subject, self._schema, self.running, json.loads(place))
        return Opened(Table(), sequence, position, epochs, rules=self.known_rules, shared=shared)

    def keep_lifecycle(self, description: str) -> str | None:
        """Keep the description of a lifecycle; return the one before."""

        def keep(cursor: Reader, statements: Statements) -> str | None:
            before = reading.note(cursor, statements, "lifecycle")
            cursor.execute(statements.write_note, ("lifecycle", description))
            return before

        return self.call(keep)

    def rules(self) -> StoredRules:
        """Return the rules of follow-ups, by which the owner decides from now on.

        Raises:
            StorageDamagedError: They can't be read, so no transition can be committed.
        """
        stored = self.call(
            lambda cursor, statements: StoredRules(*reading.one(cursor, statements.rules))
        )
        Rules.read(stored)  # else the owner would go on by older ones, under the new number
        self.known_rules = stored
        return stored

    def _connected(self) -> Reader:
        """Return a cursor of the connection; connect again if it was lost.

        Raises:
            StorageError: It can't connect.
        """
        if self._cursor is None or self._cursor.connection.closed:
            self._row_types = None
            self._cursor = connect(self._location, self._prepare).cursor(binary=True)
            use_utc(self._cursor.connection, self._location)  # which `cut` can end now
        return self._cursor

    def cut(self) -> None:
        """End a call that another thread makes: its server doesn't answer."""
        cursor = self._cursor
        with suppress(OSError, psycopg.Error):
            if cursor is not None:
                number = os.dup(cursor.connection.pgconn.socket)
                with socket.socket(fileno=number) as connected:
                    connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. An engine that has joined and never beat leaves no row behind."""
        cursor = self._cursor
        if cursor is not None and not cursor.connection.closed:
            with suppress(psycopg.Error):
                cursor.execute(self._statements.give_up, (self.engine,))
            cursor.connection.close()

    def call(self, function: Callable[[Reader, Statements], Result]) -> Result:
        """Return what a function reads, or writes that may be written again.

        Raises:
            StorageError: The server's error; or the outcome of a write before is still unknown.
        """
        self._check_decided()
        return self._call(function)

    def _check_decided(self) -> None:
        if self._undecided is not None:
            raise StorageError(f"{self._subject}: the outcome of a commit is not yet known")
        if self._is_unsettled:
            was = "not applied" if self.settle() is None else "applied"
            logger.warning("%s: a write of unknown outcome was %s", self._subject, was)

    def _call(self, function: Callable[[Reader, Statements], Result]) -> Result:
        cursor = self._connected()
        try:
            return function(cursor, self._statements)
        except psycopg.Error as error:
            if is_bug(error):
                raise
            raise self._translated(error) from error

    def _translated(self, error: psycopg.Error) -> StorageError:
        """Return the engine's error; let the next call connect again if it has to."""
        cursor = self._cursor
        if cursor is not None and ends_connection(error):
            cursor.connection.close()
        elif cursor is not None and error.sqlstate == FENCED and self._knows_more_than(cursor):
            return CommitsLostError(self._subject)
        return storage_error(self._subject, error)

    def _knows_more_than(self, cursor: Reader) -> bool:
        """Return whether the database has an older batch of this engine than it has acknowledged.

        The death of an engine makes the number of its batch higher, never lower.
        """
        with suppress(psycopg.Error):
            [number] = reading.one(cursor, self._statements.batch_number, (self.engine,))
            return (number or 0) < self._number
        return False

    def checkout(self, names: Names) -> CheckedOut:
        """Read jobs; see `engine.storage.Storage.checkout`."""
        return self.call(lambda cursor, statements: reading.checkout(cursor, statements, names))

    # Claiming.

    def take(self, kinds: Mapping[str, int], limit: int, *, suspects: bool) -> Sequence[Record]:
        """Reserve jobs; see `engine.storage.Shared.take`."""
        which = (texts([*kinds]), numbers([*kinds.values()]), limit, self.running, suspects)
        values = (self.engine, self._number, *which)
        return self.call(
            lambda cursor, statements: reading.records(cursor, statements.take, values)
        )

    def held(self, known: Collection[str]) -> Sequence[Record]:
        """Return jobs of this engine; a call of `take` whose answer was lost takes none now."""
        names = texts([*known])
        try:
            return self.write(
                lambda cursor, statements, number: reading.records(
                    cursor, statements.held, (*number, names)
                )
            )
        except CommitUnknownError as unknown:  # no caller's change depends on it
            raise reason_of(unknown) from unknown

    # Writing.

    def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine]) -> Committed:
        """Write a round's changes; see `engine.storage.Storage.commit`."""
        self._check_decided()
        types = self._known_types()
        batch = batch_rows(changes, lines, self.running, self.engine, self.held_back, types)
        cursor = self._connected()
        values = (self.engine, self._number + 1, self.known_rules.number, *batch.arrays)
        try:
            stale, is_taken, *bases = reading.one(cursor, self._statements.commit, values)
        except psycopg.Error as error:
            if error.sqlstate == OTHER_RULES:
                return Committed(in_the_way=CheckedOut(), rules=self.rules())
            if error.sqlstate != TAKEN:
                unknown = self._unknown(error)
                self._undecided = batch
                raise unknown from unknown.__cause__
            stale, is_taken = None, True
        if is_taken:
            return Committed(in_the_way=self.checkout(names_given(changes)))
        if stale is not None:
            return self._changed(stale)
        self._number += 1
        return batch.committed(*bases)

    def _known_types(self) -> RowTypes:
        """Return the numbers of the types of rows; a database that was restored has others."""
        self._connected()
        if self._row_types is None:
            self._row_types = self._call(
                lambda cursor, statements: RowTypes(*reading.one(cursor, statements.row_types))
            )
        return self._row_types

    def _unknown(self, error: psycopg.Error) -> CommitUnknownError:
        """Return the error of a write of which nobody knows whether it was applied.

        Raises:
            StorageError: It was not.
            psycopg.Error: A bug.
        """
        if is_bug(error):
            raise error
        translated = self._translated(error)
        if is_definite(error):
            raise translated from error
        return CommitUnknownError(translated)

    def write(self, function: Callable[[Reader, Statements, Number], Result]) -> Result:
        """Return the answer of a function that writes no changes of jobs, and takes a number last.

        Raises:
            StorageError: Nothing was applied.
            CommitUnknownError: It is not known whether it was applied: call `settle`.
        """
        self._check_decided()
        cursor, number = self._connected(), (self.engine, self._number + 1)
        try:
            answer = function(cursor, self._statements, number)
        except psycopg.Error as error:
            unknown = self._unknown(error)
            self._is_unsettled = True
            raise unknown from unknown.__cause__
        self._number += 1
        return answer

    def count_throughput(self) -> bool:
        """Count the next transitions; see `engine.storage.Storage.count_throughput`."""
        [has_more] = self.call(
            lambda cursor, statements: reading.one(
                cursor, statements.count_throughput, (STEP_TRANSITIONS,)
            )
        )
        return bool(has_more)

    def settle(self) -> Written | None:
        """Return what the newest `write` has written; None if it is not applied, and never will be.

        Raises:
            StorageError: It is not known yet.
        """
        written = self._taken()
        self._is_unsettled = False
        return written

    def audit_rows(self, lines: Sequence[AuditLine]) -> Rows:
        """Return lines of the audit for a statement."""
        return AUDIT_LINE.rows(self._known_types().audit_line, lines)

    def _changed(self, job_ids: Sequence[str]) -> Committed:
        """Return the jobs that others have written, and which of them are gone."""
        found = self.checkout(Names(job_ids))
        gone = set(job_ids) - found.ids.jobs.keys() - found.ids.left_out
        return Committed(in_the_way=found, gone=gone)

    def resolve(self) -> bool | Committed:
        """Find out the outcome of a commit; see `engine.storage.Storage.resolve`."""
        written = self._taken()
        batch, self._undecided = self._undecided, None
        return batch.committed(*written.bases) if written and batch else False

    def _taken(self) -> Written | None:
        """Return what has taken the next number of a batch; None if nothing has, and never will.

        The engine takes the number itself, if nothing has. The server waits for what is under way.
        """
        values = (self.engine, self._number + 1)
        is_applied, *bases, answer = self._call(
            lambda cursor, statements: reading.one(cursor, statements.resolve, values)
        )
        if is_applied is None:
            raise CommitsLostError(self._subject)
        self._number += 1
        return Written(answer, bases) if is_applied else None
