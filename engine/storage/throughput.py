"""Throughput: how many transitions there were in each minute, and into which status.

A commit counts nothing. A storage counts when somebody asks: in steps, from the last transition
that it has counted on, so that no call takes long. Transitions that leave with their jobs are
counted as they leave.

All of it is relative to the newest transition: what is more than `KEPT_SPAN` away from it is
neither counted nor kept, also if a clock was wrong. So the counts are bounded, and no count begins
earlier than a day back, however long ago the last one was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from engine.domain.outcomes import Outcome

KEPT_SPAN: Final = timedelta(hours=25)
"""Longer than the longest look, which is one of a day, by an hour for clocks that differ."""
STEP_TRANSITIONS: Final = 5_000
"""A step counts so many at most, which takes some milliseconds."""
SEEN_TRANSITIONS: Final = 100_000
"""A program that keeps no counts counts so many at most, which takes some 50 ms."""
_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)
_LAST_TIME: Final = datetime.max.replace(tzinfo=UTC)


class MinuteCount(NamedTuple):
    """How many transitions of one sort there were in a minute."""

    minute: datetime
    """Its beginning."""
    status: str
    """The status that the jobs have entered."""
    is_created: bool
    """Whether they were created in it."""
    transitions: int


class SeenThroughput(NamedTuple):
    """The transitions of some time, for a program that counts without keeping the counts."""

    counts: Sequence[MinuteCount]
    are_all: bool
    """Whether no transition was left out, because there are too many to be counted at once."""


class Span(NamedTuple):
    """The minutes whose counts are kept."""

    first: datetime
    """The beginning of the first one."""
    last: datetime
    """A time in the last one."""

    @classmethod
    def around(cls, newest: datetime) -> Span:
        """Return those around the time of the newest transition."""
        before = min(KEPT_SPAN, newest - _FIRST_TIME)
        behind = min(KEPT_SPAN, _LAST_TIME - newest)
        return cls(minute_of(newest - before), newest + behind)


class MinuteCounts:
    """Counts in memory."""

    def __init__(self) -> None:
        self._counts: dict[tuple[datetime, str, bool], int] = {}

    def add(self, counts: Iterable[MinuteCount], newest: datetime) -> None:
        """Add counts, and keep what is near enough to the time of the newest transition."""
        for each in counts:
            place = (each.minute, each.status, each.is_created)
            self._counts[place] = self._counts.get(place, 0) + each.transitions
        first, last = Span.around(newest)
        for place in [each for each in self._counts if not first <= each[0] <= last]:
            del self._counts[place]

    def rename(self, names: Mapping[str, str]) -> None:
        """Give statuses other names."""
        counts, self._counts = self._counts, {}
        for (minute, status, is_created), transitions in counts.items():
            place = (minute, names.get(status, status), is_created)
            self._counts[place] = self._counts.get(place, 0) + transitions

    def since(self, since: datetime) -> list[MinuteCount]:
        """Return the counts of the minutes from one on, in their order."""
        kept = ((place, count) for place, count in self._counts.items() if place[0] >= since)
        return sorted(MinuteCount(*place, count) for place, count in kept)


class Throughput(NamedTuple):
    """How many jobs came and ended in some time."""

    created: int = 0
    succeeded: int = 0
    failed: int = 0
    """Those whose process has died are among them."""
    given_up: int = 0
    """Cancelled, or expired."""

    @classmethod
    def sum(cls, parts: Iterable[Throughput]) -> Throughput:
        """Return the sum of some."""
        return cls(*map(sum, zip(cls(), *parts, strict=True)))


_CREATED: Final = Throughput._fields.index("created")
_PLACE_OF: Final[Mapping[str | None, int]] = {
    Outcome.SUCCEEDED: Throughput._fields.index("succeeded"),
    Outcome.FAILED: Throughput._fields.index("failed"),
    Outcome.DIED: Throughput._fields.index("failed"),
    Outcome.CANCELLED: Throughput._fields.index("given_up"),
    Outcome.EXPIRED: Throughput._fields.index("given_up"),
}


class Periods(NamedTuple):
    """Periods of the same length, one behind the other."""

    first: datetime
    """The beginning of the first one."""
    last: datetime
    """The beginning of the last one."""
    minutes: int
    """The length of each. All begin at a multiple of it since midnight, if that divides a day."""

    @classmethod
    def until(cls, now: datetime, minutes: int, count: int) -> Periods:
        """Return some periods; the last one is not over."""
        length = timedelta(minutes=minutes)
        last = now - (now - _FIRST_TIME) % length
        return cls(last - min((count - 1) * length, last - _FIRST_TIME), last, minutes)

    def begin_of(self, time: datetime) -> datetime:
        """Return the beginning of the period that has a time."""
        return time - (time - self.first) % timedelta(minutes=self.minutes)


def throughput_by(
    periods: Periods, counts: Iterable[MinuteCount], outcomes: Mapping[str, str | None]
) -> dict[datetime, Throughput]:
    """Return what happened in each period, by its beginning, in their order; none of nothing.

    Args:
        periods: The periods. What is outside them, such as by a wrong clock, counts nothing.
        counts: The transitions.
        outcomes: The outcome of each final status. What a final status does not say, such as that
            a caller has cancelled a job which is therefore ``failed``, is not known here.
    """
    sums: dict[datetime, list[int]] = {}
    places = {status: _PLACE_OF.get(outcome) for status, outcome in outcomes.items()}
    for minute, status, is_created, transitions in counts:
        place = places.get(status)
        if not is_created and place is None:
            continue
        begin = periods.begin_of(minute)
        if periods.first <= begin <= periods.last:
            found = sums.setdefault(begin, [0] * len(Throughput._fields))
            if is_created:
                found[_CREATED] += transitions
            if place is not None:
                found[place] += transitions
    return {begin: Throughput(*sums[begin]) for begin in sorted(sums)}


def minute_of(time: datetime) -> datetime:
    """Return the beginning of a time's minute."""
    return time.replace(second=0, microsecond=0)
