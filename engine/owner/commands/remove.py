"""Remove ended jobs as a retention rule says, and note it if a caller has asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from engine.domain.deadlines import kept_deadline
from engine.domain.retention import Retention
from engine.owner.acts import Acted, acted
from engine.owner.commands.audit import lines_of, time_in
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.storage.record import NO_ACT, Act

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class RemoveEnded(Read[int]):
    """Remove some of the ended jobs that the retention rule doesn't keep, and count them.

    A removal decides nothing and publishes no event, so it is no write: the owner makes it among
    the reads of a round.

    Attributes:
        retention: The rule.
        limit: The most jobs to remove.
        acted: What the audit keeps of a caller's call, beside the number of jobs; None: nothing.
    """

    __slots__ = ("acted", "limit", "retention")
    acts = True

    def __init__(self, retention: Retention, limit: int, act: Act = NO_ACT) -> None:
        super().__init__()
        self.acted = _acted(retention, act)
        self.retention = retention
        self.limit = limit

    async def read(self, sources: Sources) -> int:
        """See `Read.read`."""
        await sources.settle()
        now, age = time_in(sources), self.retention.max_age
        # A time before the calendar begins is older than every job.
        oldest = None if age is None or age > now - _FIRST_TIME else now - age
        line = next(iter(lines_of(self.acted, now)), None)
        try:
            removed = await sources.storage.remove_ended(
                oldest, self.retention.max_jobs, self.limit, line
            )
        except BaseException:
            sources.state.forget_all()  # they may be gone all the same
            raise
        sources.state.forget(removed)
        sources.counters.removed += len(removed)
        return len(removed)


def _acted(retention: Retention, act: Act) -> Acted | None:
    age = retention.max_age
    arguments = {
        "older_than": None if age is None else kept_deadline(age),
        "keep": retention.max_jobs,
    }
    return acted("prune", act, arguments)
