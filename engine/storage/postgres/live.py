"""Live: the engines of a shared database, and the live jobs of each kind, counted."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from engine.storage.overview import (
    COUNTED_JOBS,
    CountedKinds,
    EngineRow,
    KindCounts,
    Statuses,
    merged,
)
from engine.storage.postgres.columns import has_died
from engine.storage.postgres.reading import Reader
from engine.storage.postgres.statements import Statements

_HELD: Final = f"(token IS NOT NULL AND NOT {has_died()})"
_READY: Final = f"(%b AND NOT {_HELD} AND (retry_at IS NULL OR retry_at <= %b))"


def kinds(
    cursor: Reader, statements: Statements, statuses: Statuses, now: datetime
) -> list[KindCounts]:
    """Count the live jobs of each kind; see `engine.storage.inspection.View.kinds`."""
    counted = (
        kinds_of(cursor, statements, Part(status, status == statuses.running, COUNTED_JOBS), now)
        for status in statuses.live
    )
    return merged(each for part in counted for each in part.kinds)


class Part(NamedTuple):
    """Some of the jobs of a status: the first ones behind a position."""

    status: str
    is_running: bool
    """Whether it is the running status."""
    most: int
    after: int = 0


def kinds_of(cursor: Reader, statements: Statements, part: Part, now: datetime) -> CountedKinds:
    """Count some of the jobs of a status by kind."""
    rows = cursor.execute(
        f"SELECT kind, count(*) FILTER (WHERE is_ready), count(*) FILTER (WHERE {_HELD}), "
        f"count(*) FILTER (WHERE NOT is_ready AND NOT {_HELD}), "
        "min(greatest(updated_at, claimed_at, retry_at)) FILTER (WHERE is_ready), max(position) "
        f"FROM (SELECT *, {_READY} AS is_ready FROM ("
        "SELECT kind, token, updated_at, claimed_at, retry_at, position "
        f"FROM {statements.schema}.jobs WHERE (status, position) > (%b, %b) AND status <= %b "
        "ORDER BY status, position LIMIT %b"  # by its index, as `listing` does it
        ") AS live) AS judged GROUP BY kind".encode(),
        (part.is_running, now, part.status, part.after, part.status, part.most),
    ).fetchall()
    found = [KindCounts(*row[:-1]) for row in rows]
    is_full = sum(each.jobs for each in found) == part.most
    return CountedKinds(found, max(row[-1] for row in rows) if is_full else None)


def engines(cursor: Reader, statements: Statements) -> list[EngineRow]:
    """Return the engines, the oldest first."""
    s = statements.schema
    rows = cursor.execute(
        "SELECT engine_id, name, dead, draining, lease_seconds, kinds, "
        f"(SELECT count(*) FROM {s}.jobs WHERE holder = engine.engine_id), "
        f"ARRAY(SELECT name FROM {s}.leaders WHERE engine_id = engine.engine_id ORDER BY name) "
        f"FROM {s}.engines AS engine ORDER BY engine_id".encode()
    )
    return [EngineRow(*row) for row in rows]
