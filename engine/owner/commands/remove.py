"""Remove ended jobs, as a rule of retention says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from engine.domain.retention import Retention
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.portal.time import read_clock

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class RemoveEnded(Read[int]):
    """Remove some of the ended jobs that a rule of retention doesn't keep, and count them.

    It is no write: it decides nothing, and no watcher hears of it. So the owner comes to it among
    the reads of its round.
    """

    __slots__ = ("limit", "retention")

    def __init__(self, retention: Retention, limit: int) -> None:
        super().__init__()
        self.retention = retention
        self.limit = limit

    async def read(self, sources: Sources) -> int:
        """See `Read.read`."""
        await sources.settle()
        now, age = read_clock(sources.clock), self.retention.max_age
        # A time of before the calendar begins is before every job.
        oldest = None if age is None or age > now - _FIRST_TIME else now - age
        removed = await sources.storage.remove_ended(oldest, self.retention.max_jobs, self.limit)
        sources.counters.removed += removed
        return removed
