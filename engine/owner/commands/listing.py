"""List and count the jobs that a filter admits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.domain.deadlines import check_time
from engine.domain.labels import check_kind, checked_labels
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import (
    MAX_INPUT_HASH_CHARACTERS,
    MAX_INTEGER,
    MAX_PAGE_JOBS,
    check_flag,
    check_integer,
    check_text,
)
from engine.owner.commands.command import Read
from engine.owner.cursors import position_of
from engine.owner.sources import Sources
from engine.storage.answers import StoredCount, StoredPage
from engine.storage.filter import JobFilter, Label


def checked_filter(
    lifecycle: Lifecycle[Any],
    status: object,
    kind: object,
    labels: Mapping[str, str] | None,
    created_after: datetime | None,
    created_before: datetime | None,
    *,
    input_hash: str | None,
    follow_ups: bool,
) -> JobFilter:
    """Check the parts of a filter.

    Raises:
        InvalidValueError: The lifecycle doesn't have the status; no job can have the kind, the
            labels or the hash; a time is no aware datetime; or ``follow_ups`` is no bool.
    """
    return JobFilter(
        None if status is None else lifecycle.value(status),
        None if kind is None else check_kind(kind),
        tuple(Label(*each) for each in checked_labels(labels).items()),
        None if created_after is None else check_time("created_after", created_after),
        None if created_before is None else check_time("created_before", created_before),
        follow_ups=check_flag("follow_ups", follow_ups),
        input_hash=None
        if input_hash is None
        else check_text("input_hash", input_hash, MAX_INPUT_HASH_CHARACTERS),
    )


class ListJobs(Read[StoredPage]):
    """List up to ``limit`` jobs behind a position; 0 is the beginning of either order."""

    __slots__ = ("after", "jobs", "limit", "newest_first")

    def __init__(
        self, jobs: JobFilter, limit: int, after: int, *, newest_first: bool = False
    ) -> None:
        super().__init__()
        self.jobs = jobs
        self.limit = limit
        self.after = after
        self.newest_first = newest_first

    @classmethod
    def checked(
        cls, jobs: JobFilter, limit: int, after: str | None, *, newest_first: bool
    ) -> ListJobs:
        """Check a size, a cursor and an order.

        Raises:
            InvalidValueError: One of them is not right, or the cursor is of the other order.
        """
        check_flag("newest_first", newest_first)
        limit = check_integer("limit", limit, 1, MAX_PAGE_JOBS)
        position = 0 if after is None else position_of(after, newest_first=newest_first)
        return cls(jobs, limit, position, newest_first=newest_first)

    async def read(self, sources: Sources) -> StoredPage:
        """See `Read.read`."""
        return await sources.storage.page(
            self.jobs, self.after, self.limit, newest_first=self.newest_first
        )


class CountJobs(Read[StoredCount]):
    """Count up to ``at_most`` jobs behind a position, or some of them; `Count` counts all."""

    __slots__ = ("after", "at_most", "jobs")

    def __init__(self, jobs: JobFilter, at_most: int, after: int) -> None:
        super().__init__()
        self.jobs = jobs
        self.at_most = at_most
        self.after = after

    async def read(self, sources: Sources) -> StoredCount:
        """See `Read.read`."""
        return await sources.storage.count(self.jobs, self.at_most, self.after)


class Count:
    """Counts jobs, in as many messages as it takes: others are answered in between.

    Args:
        jobs: Which jobs.
        at_most: Where to stop; None for no such number.

    Attributes:
        found: How many there are, so far.

    Raises:
        InvalidValueError: The number is none from 1 on.
    """

    def __init__(self, jobs: JobFilter, at_most: int | None = None) -> None:
        self.found = 0
        self._jobs = jobs
        self._at_most = MAX_INTEGER if at_most is None else check_integer("at_most", at_most, 1)

    def first(self) -> CountJobs:
        """Return the first message."""
        return CountJobs(self._jobs, self._at_most, 0)

    def following(self, counted: StoredCount) -> CountJobs | None:
        """Take the answer of a message; return the next one, or None at the end."""
        self.found += counted.jobs
        left = self._at_most - self.found
        if counted.next_after is None or not left:
            return None
        return CountJobs(self._jobs, left, counted.next_after)
