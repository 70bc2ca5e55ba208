"""Statuses: make the rows fit the engine's lifecycle, when it opens the database.

Statuses may have new names, and others than before may be final or running. Statuses of other
lifecycles are those of engines that run beside this one: jobs in them stay as they are.

Each step is a transaction, so that no engine waits for the locks of many jobs. None locks both jobs
and transitions, as removals do. A note has what is being done, and how far. If an engine dies
meanwhile, the next one that opens the database goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.storage.postgres.arrays import texts
from engine.storage.postgres.batches import MOVED_JOB, update_of
from engine.storage.postgres.reading import Reader, note, one, records
from engine.storage.postgres.rows import RowTypes, kept_of, moved_row
from engine.storage.postgres.statements import Statements
from engine.storage.postgres.throughput import rename_counted
from engine.storage.record import Record

_STEP_ROWS: Final = 1_000
_NOTE: Final = "statuses"
_STEP: Final = "fitting"
_NAME: Final = "coalesce((SELECT new FROM unnest(%b, %b) AS name (old, new) WHERE old = {0}), {0})"

Step = dict[str, Any]


def fit_some(
    cursor: Reader,
    statements: Statements,
    outcomes: Mapping[str, str | None],
    renamed: Mapping[str, str],
    running: str,
) -> bool:
    """Make some rows fit, in the caller's transaction, while nobody else does.

    Returns:
        Whether all fit. If not, call it again in another transaction.
    """
    begun: Step | None = json.loads(note(cursor, statements, _STEP) or "null")
    if begun is not None:
        step = _fit_jobs(cursor, statements, begun)
    elif (step := _first_step(cursor, statements, outcomes, renamed, running)) is None:
        return True
    cursor.execute(statements.write_note, (_STEP, json.dumps(step)))
    return False


def _first_step(
    cursor: Reader,
    statements: Statements,
    outcomes: Mapping[str, str | None],
    renamed: Mapping[str, str],
    running: str,
) -> Step | None:
    """Return what is to be done; None for nothing, by the note of the opening before."""
    wanted = {
        "final": sorted(each for each, outcome in outcomes.items() if outcome is not None),
        "live": sorted(each for each, outcome in outcomes.items() if outcome is None),
        "renamed": dict(sorted(renamed.items())),
        "running": running,
    }
    noted = json.loads(note(cursor, statements, _NOTE) or "{}")
    is_renamed = noted.get("renamed") == wanted["renamed"] and not _has_one_in(
        cursor, statements, [*renamed]
    )
    if noted == wanted and is_renamed:
        return None
    runnings = {running, noted.get("running", running)}
    return {
        "outcomes": dict(outcomes),
        "names": {} if is_renamed else dict(renamed),
        "runnings": [*runnings] if len(runnings) > 1 else [],  # they are ready, or no longer
        "after": 0,
        "wanted": wanted,
    }


def _has_one_in(cursor: Reader, statements: Statements, statuses: Sequence[str]) -> bool:
    """Return whether a job has one of these statuses: an engine that knows them may still run."""
    query = f"SELECT EXISTS (SELECT FROM {statements.schema}.jobs WHERE status = ANY (%b))"
    return bool(one(cursor, query.encode(), (texts(statuses),))[0])


def _fit_jobs(cursor: Reader, statements: Statements, step: Step) -> Step | None:
    """Make the next jobs fit, or after the last one all transitions; return what is left to do."""
    cursor.execute(statements.write_note, ("ended", "0 0"))  # removals wait, and count anew
    outcomes, names, runnings = step["outcomes"], step["names"], step["runnings"]
    running = step["wanted"]["running"]
    final = [each for each, outcome in outcomes.items() if outcome is not None]
    values = (texts([*names]), bool(names), texts([*outcomes]), texts(final), texts(runnings))
    found = records(cursor, _select(statements), (step["after"], *values, _STEP_ROWS))
    if not found:
        _rename_transitions(cursor, statements, names)
        cursor.execute(statements.write_note, (_NOTE, json.dumps(step["wanted"])))
        return None
    reopened = [(each, each.reopened(names, outcomes, running)) for each in found]
    changed = [new for old, new in reopened if old != new or new.status in runnings]
    _write(cursor, statements, changed, running)
    return {**step, "after": found[-1].position}


def _rename_transitions(cursor: Reader, statements: Statements, names: Mapping[str, str]) -> None:
    if names:
        old, new = texts([*names]), texts([*names.values()])
        before, after = _NAME.format("from_status"), _NAME.format("to_status")
        cursor.execute(
            f"UPDATE {statements.schema}.transitions SET from_status = {before}, "
            f"to_status = {after} WHERE from_status = ANY (%b) OR to_status = ANY (%b)".encode(),
            (old, new, old, new, old, old),
        )
        rename_counted(cursor, statements, names)


def _select(statements: Statements) -> bytes:
    return statements.select(
        f"{statements.schema}.jobs AS job WHERE position > %b AND (status = ANY (%b) "
        "OR (%b AND deadlines IS NOT NULL) "
        "OR (status = ANY (%b) AND (ended_at IS NULL) = (status = ANY (%b))) "
        "OR status = ANY (%b)) ORDER BY position LIMIT %b FOR UPDATE"
    )


def _write(cursor: Reader, statements: Statements, records: Sequence[Record], running: str) -> None:
    """Write jobs as they are now. Whoever had one has it still, unless it has ended."""
    rows = [moved_row(each, kept_of(each, running, 0, ())) for each in records]
    types = RowTypes(*one(cursor, statements.row_types))
    cursor.execute(
        f"UPDATE {statements.schema}.jobs AS job {update_of('0')} "
        f"FROM unnest(%b::{statements.schema}.moved_job_1[]) AS given "
        "WHERE job.position = given.position".encode(),
        (MOVED_JOB.rows(types.moved_job, rows),),
    )
