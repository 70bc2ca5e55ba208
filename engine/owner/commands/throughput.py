"""Count transitions by minute, in steps, and read how many jobs came and ended lately."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from engine.owner.commands.audit import time_in
from engine.owner.commands.command import Read
from engine.owner.sources import Sources
from engine.storage.throughput import Periods, Throughput, throughput_by


class Lately(NamedTuple):
    """How many jobs came and ended in each of some periods."""

    periods: Periods
    until: datetime
    """The time of the engines: the last period is not over."""
    throughput: Mapping[datetime, Throughput]
    """By the beginning of each period in which something happened, in their order."""


class CountThroughput(Read[bool]):
    """Count some of the transitions that are not counted yet; return whether more are left.

    It decides nothing, as a removal: the owner makes it among the reads of a round.
    """

    __slots__ = ()

    async def read(self, sources: Sources) -> bool:
        """See `Read.read`."""
        await sources.settle()
        return await sources.storage.count_throughput()


class ReadThroughput(Read[Lately]):
    """Read how many jobs came and ended, as far as that is counted.

    Attributes:
        minutes: The length of a period.
        periods: How many, up to the present one.
    """

    __slots__ = ("minutes", "periods")

    def __init__(self, minutes: int, periods: int) -> None:
        super().__init__()
        self.minutes = minutes
        self.periods = periods

    async def read(self, sources: Sources) -> Lately:
        """See `Read.read`."""
        now = time_in(sources)
        periods = Periods.until(now, self.minutes, self.periods)
        counts = await sources.storage.throughput(periods.first)
        outcomes = sources.state.lifecycle.status_outcomes
        return Lately(periods, now, throughput_by(periods, counts, outcomes))
