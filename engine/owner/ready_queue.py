"""The ready queue: orders the jobs that may be claimed, by priority and age.

It holds committed jobs and belongs to the owner. A storage that engines on many machines share
takes its place. It decides nothing: a claim checks each job again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from engine.domain.lifecycle import Lifecycle
from engine.owner.times import Times
from engine.storage.record import Record

Rank: TypeAlias = tuple[int, int]

_SPARE: Final = 1_000  # the heap may hold so many outdated lines before it is rebuilt


def rank(record: Record) -> Rank:
    """Return the sort key of a ready job: higher priorities first, then older jobs."""
    return (-record.execution.priority, record.position)


class ReadyQueue:
    """Holds the running jobs without an attempt.

    Args:
        lifecycle: Has the running status.
        find: Returns the committed job that has an id.
        retries: Takes the times at which jobs may be claimed again.
    """

    def __init__(
        self, lifecycle: Lifecycle[Any], find: Callable[[str], Record | None], retries: Times
    ) -> None:
        self._running = lifecycle.running_value
        self._find = find
        self._retries = retries
        self._ready: dict[str, Rank] = {}
        self._heap: list[tuple[Rank, str]] = []
        self._held: set[str] = set()
        self._dead_tokens: set[str] = set()

    def add_orphan(self, record: Record) -> None:
        """Note the attempt of a job from a newly opened storage: it died with its engine."""
        if record.execution.token is not None:
            self._dead_tokens.add(record.execution.token)

    def is_dead(self, token: str) -> bool:
        """Return whether an attempt died with its process: its job may be claimed again."""
        return token in self._dead_tokens

    def counts(self) -> tuple[int, int]:
        """Return the numbers of ready jobs and of jobs that an attempt has."""
        return len(self._ready), len(self._held)

    def is_empty(self) -> bool:
        """Return whether no job is ready and no attempt has one."""
        return not (self._ready or self._held)

    def note(self, record: Record) -> None:
        """Add, move or remove a job as it was committed."""
        job_id, execution = record.job_id, record.execution
        token, retry_at = execution.token, execution.retry_at
        if token in self._dead_tokens:
            token = None
        runs = record.status == self._running
        if runs and token is not None:
            self._held.add(job_id)
        else:
            self._held.discard(job_id)
        if runs and token is None and retry_at is None:
            self._add(job_id, rank(record))
        else:
            self._ready.pop(job_id, None)
        self._retries.set(job_id, retry_at if runs and token is None else None)

    def discard(self, job_id: str) -> None:
        """Remove a job that has no execution and does not run."""
        self._ready.pop(job_id, None)

    def _add(self, job_id: str, its_rank: Rank) -> None:
        if self._ready.get(job_id) != its_rank:
            self._ready[job_id] = its_rank
            heappush(self._heap, (its_rank, job_id))
            if len(self._heap) > 2 * len(self._ready) + _SPARE:
                self._heap = [(each, job_id) for job_id, each in self._ready.items()]
                heapify(self._heap)

    def advance(self, now: datetime) -> None:
        """Add the jobs whose next attempt is due."""
        for job_id in self._retries.due(now, len(self._retries)):
            self._retries.set(job_id, None)
            if (record := self._find(job_id)) is not None:
                self._add(job_id, rank(record))

    def in_order(self, without: Container[str]) -> Generator[Record, None, None]:
        """Iterate over the ready jobs in the order of claims, without some. All jobs stay.

        Don't note jobs meanwhile, and close the iterator: it then puts back the lines that it took.
        """
        seen: list[tuple[Rank, str]] = []
        try:
            while self._heap:
                line = its_rank, job_id = heappop(self._heap)
                if self._ready.get(job_id) != its_rank or line in seen[-1:]:
                    continue  # the line is outdated, or the same job stands here twice
                seen.append(line)
                if job_id not in without and (record := self._find(job_id)) is not None:
                    yield record
        finally:
            for line in seen:
                heappush(self._heap, line)
