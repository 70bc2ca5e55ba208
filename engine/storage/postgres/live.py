"""Live: the engines of a shared database, and the live jobs of each kind, counted."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from engine.storage.overview import COUNTED_JOBS, EngineRow, KindCounts, Statuses
from engine.storage.postgres.columns import has_died
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.statements import Statements

_HELD: Final = f"(token IS NOT NULL AND NOT {has_died()})"
_READY: Final = f"(status = %b AND NOT {_HELD} AND (retry_at IS NULL OR retry_at <= %b))"


def kinds(
    cursor: Reader, statements: Statements, statuses: Statuses, now: datetime
) -> list[KindCounts]:
    """Count the live jobs of each kind; see `engine.storage.inspection.View.kinds`."""
    of_status = (
        "(SELECT kind, status, token, updated_at, claimed_at, retry_at "
        f"FROM {statements.schema}.jobs WHERE (status, position) > (%b, 0) AND status <= %b "
        f"ORDER BY status, position LIMIT {COUNTED_JOBS})"  # by its index, as `listing` does it
    )
    live = " UNION ALL ".join([of_status] * len(statuses.live))
    rows = cursor.execute(
        f"SELECT kind, count(*) FILTER (WHERE is_ready), count(*) FILTER (WHERE {_HELD}), "
        f"count(*) FILTER (WHERE NOT is_ready AND NOT {_HELD}), "
        "min(greatest(updated_at, claimed_at, retry_at)) FILTER (WHERE is_ready) "
        f"FROM (SELECT *, {_READY} AS is_ready FROM ({live}) AS live) AS judged "
        "GROUP BY kind ORDER BY kind".encode(),
        (statuses.running, now, *(each for each in statuses.live for _ in range(2))),
    )
    return [KindCounts(*row) for row in rows]


def engines(cursor: Reader, statements: Statements) -> list[EngineRow]:
    """Return the engines, the oldest first."""
    s = statements.schema
    rows = cursor.execute(
        "SELECT engine_id, name, dead, draining, lease_seconds, kinds, "
        f"(SELECT count(*) FROM {s}.jobs WHERE holder = engine_id) "
        f"FROM {s}.engines ORDER BY engine_id".encode()
    )
    return [EngineRow(*row) for row in rows]
