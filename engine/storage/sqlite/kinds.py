"""Kinds: the live jobs of each kind in a file, counted."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import datetime
from typing import Final

from engine.domain.labels import DEFAULT_KIND
from engine.domain.time_text import time_text
from engine.storage.overview import COUNTED_JOBS, KindCounts, Statuses
from engine.storage.record import DEAD

_OF_STATUS: Final = """
    SELECT * FROM (
        SELECT kind, status, token, updated_at, claimed_at, retry_at FROM jobs
        WHERE status = ? ORDER BY position LIMIT ?
    )
"""
_NEWEST: Final = "max(updated_at, coalesce(claimed_at, ''), coalesce(retry_at, ''))"


def kinds(connection: sqlite3.Connection, statuses: Statuses, now: datetime) -> list[KindCounts]:
    """Count the live jobs of each kind; see `engine.storage.inspection.View.kinds`."""
    live = " UNION ALL ".join([_OF_STATUS] * len(statuses.live))
    chosen = (each for status in statuses.live for each in (status, COUNTED_JOBS))
    is_held = f"(token IS NOT NULL AND token NOT GLOB '{DEAD}*')"
    is_ready = f"(status = ? AND NOT {is_held} AND coalesce(retry_at, '') <= ?)"
    rows = connection.execute(
        f"""
        SELECT coalesce(kind, '{DEFAULT_KIND}'), sum(is_ready), sum(is_held),
            count(*) - sum(is_ready) - sum(is_held), min(CASE WHEN is_ready THEN newest END)
        FROM (
            SELECT kind, {is_ready} AS is_ready, {is_held} AS is_held, {_NEWEST} AS newest
            FROM ({live})
        )
        GROUP BY 1 ORDER BY 1
        """,
        (statuses.running, time_text(now), *chosen),
    )
    return [
        KindCounts(str(kind), ready, running, waiting, _time(oldest))
        for kind, ready, running, waiting, oldest in rows
    ]


def _time(text: object) -> datetime | None:
    """Return the time in a column; None for nothing, and for what is no time."""
    with suppress(ValueError):
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    return None
