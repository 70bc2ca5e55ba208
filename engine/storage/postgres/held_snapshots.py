"""Held snapshots: a warning of a transaction that keeps the database from cleaning up."""

from __future__ import annotations

import time
from typing import Final

from engine.portal.logs import TaskLogger
from engine.storage.postgres.beat_connection import BeatConnection

logger = TaskLogger("engine")

_HELD_SECONDS: Final = 60.0

# The times of other roles' transactions are hidden from a role without special rights, and their
# numbers are not. So the age of a transaction is how long the same number was seen. A vacuum holds
# nothing up.
_OLDEST: Final = """
SELECT pid, coalesce(backend_xid, backend_xmin), application_name FROM pg_stat_activity
WHERE datname = current_database() AND coalesce(backend_xid, backend_xmin) IS NOT NULL
AND pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
ORDER BY greatest(age(backend_xmin), age(backend_xid)) DESC LIMIT 1
"""


class HeldSnapshots:
    """Warns, once each, of transactions that are open for more than a minute.

    The server can't remove old versions of rows that such a transaction may still see, and each
    claim has to step over more of them.
    """

    def __init__(self) -> None:
        self._oldest: tuple[str | None, ...] = ()
        self._seen_at = 0.0
        self._is_reported = False

    def look(self, connection: BeatConnection) -> None:
        """Read the oldest snapshot of the database, and log a warning if it is too old."""
        now = time.monotonic()
        oldest = next(iter(connection.call(_OLDEST)), ())
        if oldest != self._oldest:
            self._oldest, self._seen_at, self._is_reported = oldest, now, False
        elif oldest and not self._is_reported and now - self._seen_at > _HELD_SECONDS:
            self._is_reported = True
            logger.warning(
                "process %s of the database server (application name %r) keeps a transaction open "
                "for more than %.0f s: the server can't clean up behind it, and claims get slower; "
                "end that transaction",
                oldest[0],
                oldest[2],
                _HELD_SECONDS,
            )
