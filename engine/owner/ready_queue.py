"""The agenda: which jobs are ready to be run, which come later, and when time runs out for which.

It is made of what is committed, and belongs to the owner; a storage that is shared by engines on
many machines answers the same questions instead. Nothing is decided here: what stands on the agenda
is looked at again by the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from engine.domain.lifecycle import Lifecycle
from engine.storage.record import NO_EXECUTION, Change, Record, newest_records

Rank: TypeAlias = tuple[int, int]

_SPARE: Final = 1_000  # so many outdated lines are kept before they are cleared away


def rank(record: Record) -> Rank:
    """Return what ready jobs are ordered by: higher priorities first, then older jobs."""
    return (-record.execution.priority, record.position)


class _Times:
    """Jobs by a time that each has, the earliest first."""

    def __init__(self) -> None:
        self._time_of: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._time_of)

    def set(self, job_id: str, at: datetime | None) -> bool:
        """Give a job its time, or none; return whether it is the earliest now, and new."""
        if at is None:
            if self._time_of:
                self._time_of.pop(job_id, None)
            return False
        if self._time_of.get(job_id) == at:
            return False
        self._time_of[job_id] = at
        heappush(self._heap, (at, job_id))
        if len(self._heap) > 2 * len(self._time_of) + _SPARE:
            self._heap = [(at, job_id) for job_id, at in self._time_of.items()]
            heapify(self._heap)
        return self.earliest() == at

    def earliest(self) -> datetime | None:
        """Return the earliest time."""
        while self._heap:
            at, job_id = self._heap[0]
            if self._time_of.get(job_id) == at:
                return at
            heappop(self._heap)
        return None

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return up to so many jobs whose time has come, the earliest first. They stay."""
        found: list[tuple[datetime, str]] = []
        while len(found) < limit and (at := self.earliest()) is not None and at <= now:
            found.append(heappop(self._heap))
        for each in found:
            heappush(self._heap, each)
        return list(dict.fromkeys(job_id for _, job_id in found))


class Agenda:
    """What is to be done, and when.

    Args:
        lifecycle: Says in which status jobs are run, and in which their time may run out.
        find: Returns the committed job that has an id.

    Attributes:
        on_earlier: Called when something is to be done earlier than all that was known.
    """

    def __init__(self, lifecycle: Lifecycle[Any], find: Callable[[str], Record | None]) -> None:
        self.on_earlier: Callable[[], object] = lambda: None
        self._running = lifecycle.running_value
        self._expires = lifecycle.expiry_of
        self._find = find
        self._ready: dict[str, Rank] = {}
        self._ready_heap: list[tuple[Rank, str]] = []
        self._later = _Times()
        self._deadlines = _Times()
        self._held: set[str] = set()
        self._dead_tokens: set[str] = set()

    def open(self, records: Iterable[Record]) -> None:
        """Take in what a storage holds that was just opened. No attempt outlived its engine."""
        for record in records:
            if record.execution is NO_EXECUTION and record.status != self._running:
                continue
            if record.status == self._running and record.execution.token is not None:
                self._dead_tokens.add(record.execution.token)
            self._note(record)

    def is_dead(self, token: str) -> bool:
        """Tell whether the process of an attempt has ended, so that its job may be claimed anew."""
        return token in self._dead_tokens

    def counts(self) -> tuple[int, int, int]:
        """Return how many jobs are ready, are held by an attempt, and come later."""
        return len(self._ready), len(self._held), len(self._later)

    def note(self, changes: Sequence[Change]) -> None:
        """Take in what has been committed."""
        running, ready, held = self._running, self._ready, self._held
        for record in newest_records(changes).values():
            if record.execution is not NO_EXECUTION or record.status == running:
                self._note(record)
            elif ready or held:  # most jobs have nothing to do with handlers
                ready.pop(record.job_id, None)

    def _note(self, record: Record) -> None:
        job_id, execution = record.job_id, record.execution
        token, retry_at = execution.token, execution.retry_at
        deadline_at = execution.deadline_at if record.status in self._expires else None
        if token in self._dead_tokens:
            token = None
        runs = record.status == self._running
        if runs and token is not None:
            self._held.add(job_id)
        else:
            self._held.discard(job_id)
        if runs and token is None and retry_at is None:
            self._add_ready(job_id, rank(record))
        else:
            self._ready.pop(job_id, None)
        earlier = self._later.set(job_id, retry_at if runs and token is None else None)
        if self._deadlines.set(job_id, deadline_at) or earlier:
            self.on_earlier()

    def _add_ready(self, job_id: str, its_rank: Rank) -> None:
        if self._ready.get(job_id) != its_rank:
            self._ready[job_id] = its_rank
            heappush(self._ready_heap, (its_rank, job_id))
            if len(self._ready_heap) > 2 * len(self._ready) + _SPARE:
                self._ready_heap = [(each, job_id) for job_id, each in self._ready.items()]
                heapify(self._ready_heap)

    # What is to be done.

    def turn_to(self, now: datetime) -> None:
        """Let those be ready whose next attempt's time has come."""
        for job_id in self._later.due(now, len(self._later)):
            self._later.set(job_id, None)
            if (record := self._find(job_id)) is not None:
                self._add_ready(job_id, rank(record))

    def ready(self, limit: int, but: Collection[str]) -> list[Record]:
        """Return the first jobs that are ready and none of these. They stay."""
        found: list[Record] = []
        seen: list[tuple[Rank, str]] = []
        while self._ready_heap and len(found) < limit:
            line = its_rank, job_id = heappop(self._ready_heap)
            if self._ready.get(job_id) != its_rank or line in seen[-1:]:
                continue  # it isn't ready, or has been so before and stands here twice
            seen.append(line)
            if job_id not in but and (record := self._find(job_id)) is not None:
                found.append(record)
        for line in seen:
            heappush(self._ready_heap, line)
        return found

    def next_time(self) -> datetime | None:
        """Return when there will be something to do; it may have passed."""
        times = (self._later.earliest(), self._deadlines.earliest())
        return min((at for at in times if at is not None), default=None)

    def expired(self, now: datetime, limit: int) -> list[str]:
        """Return jobs whose time in their status has run out. They stay until they are moved."""
        return self._deadlines.due(now, limit)
