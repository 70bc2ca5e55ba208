"""Settled writes: rules, pauses, drains, lines of the audit, and removals of ended jobs.

Each takes the number of a batch, as a commit does, and its answer is kept with the number. If a
connection is lost before the answer is there, the storage asks for it by the number before it
answers itself. A write that the server has not finished then never takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from engine.domain.exceptions import (
    CommitUnknownError,
    StorageError,
    reason_of,
)
from engine.domain.follow_up_rules import StoredRules
from engine.portal.logs import TaskLogger
from engine.storage.audit import AuditLine, removal_line
from engine.storage.postgres import reading
from engine.storage.postgres.arrays import Rows
from engine.storage.postgres.database import Database, Number
from engine.storage.postgres.limited_thread import LimitedThread
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.removing import Removable, remove_ended
from engine.storage.postgres.statements import Statements

logger: Final = TaskLogger("engine")


class SettledWrites:
    """The writes of a storage beside its commits.

    Each raises a `StorageError` if nothing was applied, and a `CommitUnknownError` if the server
    can't be asked.

    Args:
        database: The engine's connection.
        thread: Makes the calls on it.
    """

    def __init__(self, database: Database, thread: LimitedThread) -> None:
        self._database = database
        self._thread = thread

    async def keep_rules(self, text: str, lines: Sequence[AuditLine]) -> StoredRules | None:
        """Keep other rules; see `engine.storage.Storage.keep_rules`."""
        number = self._database.known_rules.number
        if not await self._write(lambda each: each.keep_rules, lines, number, text):
            return None
        self._database.known_rules = StoredRules(number + 1, text)
        return self._database.known_rules

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine]) -> bool:
        """Keep other pauses; see `engine.storage.Storage.keep_pauses`."""
        return bool(await self._write(lambda each: each.keep_pauses, lines, text, before))

    async def drain(
        self, engine_id: int | None, lines: Sequence[AuditLine], *, draining: bool
    ) -> bool:
        """Drain an engine; see `engine.storage.Shared.drain`."""
        number = self._database.engine if engine_id is None else engine_id
        return bool(await self._write(lambda each: each.drain, lines, number, draining))

    async def note_acts(self, lines: Sequence[AuditLine]) -> None:
        """Keep lines of the audit that belong to no change."""
        await self._write(lambda each: each.note_acts, lines, None)

    async def remove_ended(self, which: Removable, line: AuditLine | None) -> list[str]:
        """Remove ended jobs; see `engine.storage.Storage.remove_ended`."""

        def write(cursor: Reader, statements: Statements, number: Number) -> list[str]:
            if line is None:
                return remove_ended(cursor, statements, which, None, number)
            self._database.audit_rows([])  # their type is read before the transaction begins
            return remove_ended(cursor, statements, which, rows_of(line), number)

        def rows_of(line: AuditLine) -> Callable[[int], Rows]:
            return lambda removed: self._database.audit_rows(
                [removal_line(line, removed)] if removed else []
            )

        return cast("list[str]", await self._settled(write))

    async def _write(
        self,
        statement: Callable[[Statements], bytes],
        lines: Sequence[AuditLine],
        *values: object,
    ) -> Any:  # noqa: ANN401 - JSON
        """Execute a statement with values, lines of the audit and a number; return its answer."""

        def write(cursor: Reader, statements: Statements, number: Number) -> Any:  # noqa: ANN401 - JSON
            rows = self._database.audit_rows(lines)
            return reading.one(cursor, statement(statements), (*values, rows, *number))[0]

        return await self._settled(write)

    async def _settled(self, write: Callable[[Reader, Statements, Number], Any]) -> Any:  # noqa: ANN401 - JSON
        """Return the answer of a write, also one that was lost."""
        try:
            return await self._thread.run(self._database.write, write)
        except CommitUnknownError as unknown:
            return await self._thread.run(self._lost_answer, unknown)

    def _lost_answer(self, unknown: CommitUnknownError) -> Any:  # noqa: ANN401 - JSON
        logger.error("the answer to a write was lost: asking the storage", exc_info=unknown)
        try:
            written = self._database.settle()
        except StorageError:
            raise unknown from unknown.__cause__
        if written is None:
            raise reason_of(unknown)
        return written.answer
