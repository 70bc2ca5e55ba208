"""Removing: which jobs have ended, with all their follow-ups, and may leave.

A root is a job that is no follow-up; it leaves with its follow-ups, and theirs, once all of these
have ended. The last of their ends is that of all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from engine.domain.time_text import time_text
from engine.storage.families import EndedFamily, count_removable
from engine.storage.record import Record
from engine.storage.sqlite.reading import SELECT_JOBS, sound

# By the end of the root: those of its follow-ups mostly come soon after it.
_ROOTS: Final = f"""
    {SELECT_JOBS} WHERE ended_at < :before AND root_id IS NULL AND NOT EXISTS (
        SELECT 1 FROM jobs AS its WHERE its.root_id = jobs.job_id
        AND (its.ended_at IS NULL OR its.ended_at >= :before)
    ) ORDER BY ended_at, position
"""
_FINAL: Final = "status IN (SELECT value FROM json_each(:final))"
_COUNT_ENDED: Final = f"SELECT count(*) FROM jobs WHERE {_FINAL}"
_ITS: Final = "FROM jobs AS its WHERE its.root_id = jobs.job_id"
_FAMILIES: Final = f"""
    SELECT 1 + (SELECT count(*) {_ITS}),
        ended_at < :before AND NOT EXISTS (SELECT 1 {_ITS} AND its.ended_at >= :before)
    FROM jobs WHERE ended_at IS NOT NULL AND root_id IS NULL AND {_FINAL}
        AND NOT EXISTS (SELECT 1 {_ITS} AND its.ended_at IS NULL)
    ORDER BY ended_at, position
"""
_NO_LIMIT: Final = "~"  # behind all times
_FOLLOW_UPS: Final = f"{SELECT_JOBS} WHERE root_id = ? ORDER BY position"


def removable_jobs(
    connection: sqlite3.Connection,
    final_statuses: Collection[str],
    before: datetime | None,
    too_many: int,
    limit: int,
) -> list[Record]:
    """Return about ``limit`` ended jobs to remove: whole families, oldest end of a root first.

    A family with a damaged job is passed over: the time of its end is not known.

    Args:
        connection: The file.
        final_statuses: The engine's.
        before: Jobs that ended before are removable; None for no such rule.
        too_many: So many jobs are removable, whenever they ended.
        limit: After so many, no other family follows.
    """
    if too_many:
        before, limit = None, min(limit, too_many)
    elif before is None:
        return []
    found: list[Record] = []
    for root in _roots(connection, final_statuses, before):
        found += _family(connection, root)
        if len(found) >= limit:
            break
    return found


def count_to_remove(
    connection: sqlite3.Connection,
    final_statuses: Collection[str],
    before: datetime | None,
    keep: int | None,
) -> int:
    """Count all jobs to remove; a family with a damaged job may be among them."""
    values = {
        "final": json.dumps(sorted(final_statuses)),
        "before": None if before is None else time_text(before),
    }
    [ended] = connection.execute(_COUNT_ENDED, values).fetchone()
    families = (EndedFamily(*row) for row in connection.execute(_FAMILIES, values))
    return count_removable(families, 0 if keep is None else ended - keep)


def _family(connection: sqlite3.Connection, root: Record) -> list[Record]:
    """Return a job with its follow-ups; nothing if one of these is damaged."""
    rows = connection.execute(_FOLLOW_UPS, (root.job_id,)).fetchall()
    follow_ups = [*sound(rows)]
    return [root, *follow_ups] if len(follow_ups) == len(rows) else []


def _roots(
    connection: sqlite3.Connection, final_statuses: Collection[str], before: datetime | None
) -> Iterator[Record]:
    rows = connection.execute(
        _ROOTS, {"before": _NO_LIMIT if before is None else time_text(before)}
    )
    # A status that was final in an earlier lifecycle need not be final in this one.
    return (record for record in sound(rows) if record.status in final_statuses)
