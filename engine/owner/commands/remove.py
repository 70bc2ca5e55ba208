"""Remove ended jobs as the retention rule says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from engine.domain.retention import Retention
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.portal.time import read_clock

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class RemoveEnded(Read[int]):
    """Remove some of the ended jobs that the retention rule doesn't keep, and count them.

    A removal decides nothing and publishes no event, so it is no write: the owner makes it among
    the reads of a round.

    Attributes:
        retention: The rule.
        limit: The most jobs to remove.
    """

    __slots__ = ("limit", "retention")

    def __init__(self, retention: Retention, limit: int) -> None:
        super().__init__()
        self.retention = retention
        self.limit = limit

    async def read(self, sources: Sources) -> int:
        """See `Read.read`."""
        await sources.settle()
        now, age = sources.state.time_of(read_clock(sources.clock)), self.retention.max_age
        # A time before the calendar begins is older than every job.
        oldest = None if age is None or age > now - _FIRST_TIME else now - age
        try:
            removed = await sources.storage.remove_ended(
                oldest, self.retention.max_jobs, self.limit
            )
        except BaseException:
            sources.state.forget_all()  # they may be gone all the same
            raise
        sources.state.forget(removed)
        sources.counters.removed += len(removed)
        return len(removed)
