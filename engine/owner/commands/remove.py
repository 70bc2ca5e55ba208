"""Remove ended jobs as a retention rule says, and note it if a caller has asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from engine.domain.deadlines import kept_deadline
from engine.domain.retention import Retention
from engine.owner.acts import acted
from engine.owner.commands.audit import note_act
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.portal.time import read_clock
from engine.storage.audit import arguments_text
from engine.storage.record import Act

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class NotePruning(Read[int]):
    """Note what a caller has removed by the messages before this one; answer how many jobs.

    Attributes:
        acted: What the audit keeps of the call; None: nothing.
        arguments: Those of the call.
        removed: How many jobs are removed so far.
    """

    __slots__ = ("acted", "arguments", "removed")

    def __init__(self, retention: Retention, act: Act) -> None:
        super().__init__()
        age = retention.max_age
        self.arguments: dict[str, object] = {
            "older_than": None if age is None else kept_deadline(age),
            "keep": retention.max_jobs,
        }
        self.acted = acted("prune", act)
        self.removed = 0

    async def read(self, sources: Sources) -> int:
        """See `Read.read`."""
        if self.acted is not None and self.removed:
            arguments = arguments_text({**self.arguments, "removed": self.removed})
            await sources.settle()
            await note_act(sources, self.acted._replace(arguments=arguments))
        return self.removed


class RemoveEnded(Read[int]):
    """Remove some of the ended jobs that the retention rule doesn't keep, and count them.

    A removal decides nothing and publishes no event, so it is no write: the owner makes it among
    the reads of a round.

    Attributes:
        retention: The rule.
        limit: The most jobs to remove.
        note: Counts the jobs for a caller; None for the engine's own rule.
    """

    __slots__ = ("limit", "note", "retention")

    def __init__(self, retention: Retention, limit: int, note: NotePruning | None = None) -> None:
        super().__init__()
        self.note = note
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
        if self.note is not None:
            self.note.removed += len(removed)
        return len(removed)
