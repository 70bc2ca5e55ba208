"""Removing: ended jobs leave the database, with a line of the audit if somebody prunes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from engine.storage.families import EndedFamily, count_removable
from engine.storage.postgres.arrays import Rows
from engine.storage.postgres.database import Number
from engine.storage.postgres.reading import Reader, one
from engine.storage.postgres.statements import Statements
from engine.storage.record import MAX_NUMBER

_WITHIN_SECONDS: Final = b"SET LOCAL idle_in_transaction_session_timeout = '3s'"


class Removable(NamedTuple):
    """Which jobs to remove; see `engine.storage.Storage.remove_ended`."""

    before: datetime | None
    keep: int | None
    limit: int


def count_to_remove(
    cursor: Reader, statements: Statements, before: datetime | None, keep: int | None
) -> int:
    """Count all jobs to remove."""
    jobs = f"{statements.schema}.jobs"
    its = f"FROM {jobs} AS its WHERE its.root_id = root.job_id"
    [ended] = cursor.execute(
        f"SELECT count(*) FROM {jobs} WHERE ended_at IS NOT NULL".encode()
    ).fetchone() or (0,)
    rows = cursor.execute(
        f"SELECT 1 + (SELECT count(*) {its}), root.ended_at < given.before "
        f"AND NOT EXISTS (SELECT {its} AND its.ended_at >= given.before) "
        f"FROM {jobs} AS root, (SELECT %b::timestamptz AS before) AS given "
        "WHERE root.ended_at IS NOT NULL AND root.root_id IS NULL "
        f"AND NOT EXISTS (SELECT {its} AND its.ended_at IS NULL) "
        "ORDER BY root.ended_at, root.position".encode(),
        (before,),
    )
    families = (EndedFamily(*row) for row in rows)
    return count_removable(families, 0 if keep is None else ended - keep)


def remove_ended(
    cursor: Reader,
    statements: Statements,
    which: Removable,
    rows_of: Callable[[int], Rows] | None,
    number: Number,
) -> list[str]:
    """Remove ended jobs; see `engine.storage.Storage.remove_ended`.

    Without a line of the audit it is one statement. The line is in the last statement of a
    transaction, because it takes the order of all transitions, and others wait for that. They wait
    for the removed jobs, too, so the server ends a transaction whose client stands still.

    Args:
        cursor: A cursor in autocommit.
        statements: Those of the schema.
        which: The jobs.
        rows_of: Returns the lines of the audit for a number of jobs; None: there is none.
        number: That of the write.
    """
    keep = None if which.keep is None else min(which.keep, MAX_NUMBER)
    chosen = (which.before, keep, which.limit)
    if rows_of is None:
        return [*one(cursor, statements.remove_alone, (*chosen, *number))[0]]
    with cursor.connection.transaction():
        cursor.execute(_WITHIN_SECONDS)
        rows = cursor.execute(statements.remove, chosen)
        removed = [str(row[0]) for row in rows]
        values = (json.dumps(removed), rows_of(len(removed)))
        cursor.execute(statements.note_acts, (*values, *number))
    return removed
