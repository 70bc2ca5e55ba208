"""Times: order jobs by the moment at which they are due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Any, Final, Generic, TypeVar

from engine.domain.deadlines import LAST_TIME
from engine.domain.lifecycle import Event, Lifecycle
from engine.storage.record import Record

Moment = TypeVar("Moment", datetime, timedelta)

_SPARE: Final = 1_000  # the heap may hold so many outdated lines before it is rebuilt
_MICROSECOND: Final = timedelta(microseconds=1)


class Times(Generic[Moment]):
    """Orders jobs by a time that each has, the earliest first.

    A heap, whose outdated lines are skipped when they come up.

    Args:
        on_earlier: Called when a job gets an earlier time than all others have.
    """

    def __init__(self, on_earlier: Callable[[], object]) -> None:
        self._on_earlier = on_earlier
        self._time_of: dict[str, Moment] = {}
        self._heap: list[tuple[Moment, str]] = []

    def __len__(self) -> int:
        return len(self._time_of)

    def __contains__(self, name: object) -> bool:
        return name in self._time_of

    def set(self, job_id: str, at: Moment | None) -> None:
        """Set the time of a job; None removes the job."""
        if at is None:
            if self._time_of:
                self._time_of.pop(job_id, None)
            return
        if self._time_of.get(job_id) == at:
            return
        self._time_of[job_id] = at
        heappush(self._heap, (at, job_id))
        if len(self._heap) > 2 * len(self._time_of) + _SPARE:
            self._heap = [(at, job_id) for job_id, at in self._time_of.items()]
            heapify(self._heap)
        if self.earliest() == at:
            self._on_earlier()

    def earliest(self) -> Moment | None:
        """Return the earliest time; None if no job has one."""
        while self._heap:
            at, job_id = self._heap[0]
            if self._time_of.get(job_id) == at:
                return at
            heappop(self._heap)
        return None

    def due(self, now: Moment, limit: int) -> list[str]:
        """Return up to ``limit`` due jobs, the earliest first. They keep their times."""
        found: list[tuple[Moment, str]] = []
        while len(found) < limit and (at := self.earliest()) is not None and at <= now:
            found.append(heappop(self._heap))
        for each in found:
            heappush(self._heap, each)
        return list(dict.fromkeys(job_id for _, job_id in found))


class JobTimes:
    """Holds the times at which an engine's jobs are due.

    Args:
        lifecycle: Has the statuses in which a job can expire.

    Attributes:
        retries: When running jobs may be claimed again.
        deadlines: When jobs expire.
        notices: When to warn of a kind that has ready jobs and no handler.
        on_earlier: Called when a job is due earlier than all others.
    """

    def __init__(self, lifecycle: Lifecycle[Any]) -> None:
        self.on_earlier: Callable[[], object] = lambda: None
        self.retries: Times[datetime] = Times(self._notify)
        self.deadlines: Times[datetime] = Times(self._notify)
        self.notices: Times[datetime] = Times(self._notify)
        # When relative times began, counted back from the end of the calendar: the latest first.
        self._begins: Times[timedelta] = Times(lambda: None)
        self._expiring = frozenset(lifecycle.able(Event.EXPIRE))

    def _notify(self) -> None:
        self.on_earlier()

    def note(self, record: Record) -> None:
        """Take the deadline of a committed job, and when its relative times began."""
        execution = record.execution
        at, since, retry_since = None, None, execution.retry_since
        if execution.deadline_at is not None and record.status in self._expiring:
            at, since = execution.deadline_at, execution.deadline_since
        self.deadlines.set(record.job_id, at)
        if since is None or (retry_since is not None and retry_since > since):
            since = retry_since
        self._begins.set(record.job_id, None if since is None else LAST_TIME - since)

    def earliest(self) -> datetime | None:
        """Return the time at which the next thing is due, even if it has passed; None for none."""
        times = (each.earliest() for each in (self.retries, self.deadlines, self.notices))
        return min((at for at in times if at is not None), default=None)

    def latest_begin(self) -> datetime | None:
        """Return when the newest relative time began; None if no job has one."""
        first = self._begins.earliest()
        return None if first is None else LAST_TIME - first

    def begun_after(self, now: datetime, limit: int) -> list[str]:
        """Return up to ``limit`` jobs with a relative time that began after now."""
        return self._begins.due(LAST_TIME - now - _MICROSECOND, limit)
