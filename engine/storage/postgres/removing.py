"""Removing: ended jobs leave the database, with a line of the audit if somebody prunes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from engine.storage.postgres.arrays import Rows
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.statements import Statements
from engine.storage.record import MAX_NUMBER


def remove_ended(
    cursor: Reader,
    statements: Statements,
    before: datetime | None,
    keep: int | None,
    limit: int,
    line_of: Callable[[int], Rows] | None,
) -> list[str]:
    """Remove ended jobs; see `engine.storage.Storage.remove_ended`.

    The line is the last statement of the transaction, because it takes the order of all
    transitions, and others wait for that.

    Args:
        cursor: A cursor in autocommit.
        statements: Those of the schema.
        before: See the protocol.
        keep: The same.
        limit: The same.
        line_of: Returns the line of the audit for a number of jobs; None for no line.
    """
    values = (before, None if keep is None else min(keep, MAX_NUMBER), limit)
    if line_of is None:
        return [str(row[0]) for row in cursor.execute(statements.remove, values)]
    with cursor.connection.transaction():
        removed = [str(row[0]) for row in cursor.execute(statements.remove, values)]
        if removed:
            cursor.execute(statements.note_acts, (line_of(len(removed)),))
    return removed
