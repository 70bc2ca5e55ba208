"""Rates: how many jobs came and ended lately, from the transitions of a place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from engine.storage.inspection import View
from engine.storage.overview import Statuses
from engine.storage.record import Entry
from engine.storage.throughput import Periods, Throughput, throughput_by

WINDOW: Final = timedelta(minutes=1)
_MOST_LINES: Final = 10_000  # read at one look: a place that is busier shows at least so many
_PAGE_LINES: Final = 1_000


class Rates(NamedTuple):
    """What has happened in the last minute."""

    created: int
    succeeded: int
    failed: int
    is_complete: bool
    """Whether these are all: a look reads the newest 10,000 transitions."""


class LastHour(NamedTuple):
    """What has happened in the last hour."""

    throughput: Throughput
    are_all: bool
    """Whether these are all: a program that keeps no counts leaves some out of very many."""


def last_hour(view: View, statuses: Statuses, now: datetime) -> LastHour:
    """Count the jobs that came and ended in the last 60 minutes, of which one is not over."""
    periods = Periods.until(now, minutes=1, count=60)
    counts, are_all = view.throughput(periods.first)
    happened = throughput_by(periods, counts, statuses.status_outcomes)
    return LastHour(Throughput.sum(happened.values()), are_all)


class RecentTransitions:
    """The transitions of the last minute; each look reads only those that are new."""

    def __init__(self) -> None:
        self._after = 0
        self._lines: deque[tuple[datetime, str]] = deque()
        self._is_complete_from: datetime | None = None

    def look(self, view: View, statuses: Statuses, now: datetime) -> Rates:
        """Read what is new, and count.

        Raises:
            StorageDamagedError: A transition can't be read.
        """
        last = view.last_sequence()
        after = self._after
        if is_too_far := last - after > _MOST_LINES:
            after = last - _MOST_LINES
        while lines := view.transitions(after, _PAGE_LINES):
            self._add(lines, statuses)
            if is_too_far:
                self._is_complete_from, is_too_far = lines[0].at, False
            after = lines[-1].sequence
        self._after = max(after, last)
        while self._lines and self._lines[0][0] < now - WINDOW:
            self._lines.popleft()
        names = [name for _, name in self._lines]
        begin = self._is_complete_from
        return Rates(
            names.count("created"),
            names.count("succeeded"),
            names.count("failed"),
            is_complete=begin is None or begin <= now - WINDOW,
        )

    def _add(self, lines: Iterable[Entry], statuses: Statuses) -> None:
        for line in lines:
            if line.from_status is None:
                self._lines.append((line.at, "created"))
            if (end := statuses.end(line.to_status)) is not None:
                self._lines.append((line.at, end))
