"""Ranked jobs: jobs in the order of claims, by priority and age."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

from engine.storage.record import Record

Rank: TypeAlias = tuple[int, int]

_SPARE: Final = 1_000  # the heap may hold so many outdated lines before it is rebuilt


def rank(record: Record) -> Rank:
    """Return the sort key of a ready job: higher priorities first, then older jobs."""
    return (-record.execution.priority, record.position)


class RankedJobs:
    """Holds committed jobs in their order.

    Args:
        find: Returns the committed job that has an id.
    """

    def __init__(self, find: Callable[[str], Record | None]) -> None:
        self._find = find
        self._rank_of: dict[str, Rank] = {}
        self._heap: list[tuple[Rank, str]] = []

    def __len__(self) -> int:
        return len(self._rank_of)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._rank_of

    def add(self, record: Record) -> None:
        """Add a job; nothing happens if it is here."""
        job_id, its_rank = record.job_id, rank(record)
        if self._rank_of.get(job_id) == its_rank:
            return
        self._rank_of[job_id] = its_rank
        heappush(self._heap, (its_rank, job_id))
        if len(self._heap) > 2 * len(self._rank_of) + _SPARE:
            self._heap = [(each, job_id) for job_id, each in self._rank_of.items()]
            heapify(self._heap)

    def discard(self, job_id: str) -> None:
        """Remove a job, if it is here."""
        self._rank_of.pop(job_id, None)

    def in_order(self, without: Container[str]) -> Generator[Record, None, None]:
        """Iterate over the jobs, without some. All jobs stay.

        Add no job meanwhile, and close the iterator: it then puts back the lines that it took.
        """
        seen: list[tuple[Rank, str]] = []
        try:
            while self._heap:
                line = its_rank, job_id = heappop(self._heap)
                if self._rank_of.get(job_id) != its_rank or line in seen[-1:]:
                    continue  # the line is outdated, or the same job stands here twice
                seen.append(line)
                if job_id not in without and (record := self._find(job_id)) is not None:
                    yield record
        finally:
            for line in seen:
                heappush(self._heap, line)
