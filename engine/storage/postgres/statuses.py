"""Statuses: make the rows fit the engine's lifecycle, when it opens the database.

Statuses may have new names, and others than before may be final or running. The caller's
transaction makes all of it, or none, while nobody else opens the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.storage.postgres.arrays import texts
from engine.storage.postgres.batches import update_of
from engine.storage.postgres.columns import JOB_COLUMNS
from engine.storage.postgres.reading import Reader, note
from engine.storage.postgres.rows import columns_of, job_row, kept_of, record_of
from engine.storage.postgres.statements import Statements
from engine.storage.record import Record

_STEP_ROWS: Final = 1_000
_NOTE: Final = "statuses"
_NAME: Final = "coalesce((SELECT new FROM unnest(%b, %b) AS name (old, new) WHERE old = {0}), {0})"


def fit_statuses(
    cursor: Reader,
    statements: Statements,
    outcomes: Mapping[str, str | None],
    renamed: Mapping[str, str],
    running: str,
) -> None:
    """Make all rows fit, unless they do by the note of the opening before.

    Statuses of other lifecycles are those of engines that run beside this one: jobs in them stay as
    they are.
    """
    final = sorted(status for status, outcome in outcomes.items() if outcome is not None)
    wanted = {
        "final": final,
        "live": sorted(outcomes.keys() - set(final)),
        "renamed": dict(sorted(renamed.items())),
        "running": running,
    }
    noted: dict[str, Any] = json.loads(note(cursor, statements, _NOTE) or "{}")
    if noted == wanted:
        return
    names = {} if noted.get("renamed") == wanted["renamed"] else renamed
    runnings = {running, noted.get("running", running)}
    others = runnings if len(runnings) > 1 else ()  # they are ready, or no longer
    affected = _select(statements)
    after = 0
    values = (texts([*names]), bool(names), texts([*outcomes]), texts(final), texts([*others]))
    while rows := cursor.execute(affected, (after, *values, _STEP_ROWS)).fetchall():
        before = [record_of(row) for row in rows]
        after = before[-1].position
        reopened = [each.reopened(names, outcomes, running) for each in before]
        _write(cursor, statements, reopened, running)
    # After the jobs, whose locks others take first: see `engine.storage.postgres.batches`.
    _rename_transitions(cursor, statements, names)
    cursor.execute(statements.write_note, (_NOTE, json.dumps(wanted)))


def _rename_transitions(cursor: Reader, statements: Statements, names: Mapping[str, str]) -> None:
    if names:
        old, new = texts([*names]), texts([*names.values()])
        before, after = _NAME.format("from_status"), _NAME.format("to_status")
        cursor.execute(
            f"UPDATE {statements.schema}.transitions SET from_status = {before}, "
            f"to_status = {after} WHERE from_status = ANY (%b) OR to_status = ANY (%b)".encode(),
            (old, new, old, new, old, old),
        )


def _select(statements: Statements) -> bytes:
    return statements.select(
        f"{statements.schema}.jobs AS job WHERE position > %b AND (status = ANY (%b) "
        "OR (%b AND deadlines IS NOT NULL) "
        "OR (status = ANY (%b) AND (ended_at IS NULL) = (status = ANY (%b))) "
        "OR status = ANY (%b)) ORDER BY position LIMIT %b FOR UPDATE"
    )


def _write(cursor: Reader, statements: Statements, records: Sequence[Record], running: str) -> None:
    """Write jobs as they are now. Whoever had one has it still, unless it has ended."""
    rows = [job_row(each, kept_of(each, running, 0, ()), each.position) for each in records]
    arrays = ", ".join(["%b"] * len(JOB_COLUMNS))
    cursor.execute(
        f"UPDATE {statements.schema}.jobs AS job SET {update_of(JOB_COLUMNS, '0')} "
        f"FROM unnest({arrays}) AS given ({', '.join(JOB_COLUMNS)}) "
        "WHERE job.position = given.position".encode(),
        columns_of(JOB_COLUMNS, rows),
    )
