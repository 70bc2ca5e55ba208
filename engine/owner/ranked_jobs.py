"""Ranked jobs: jobs in the order of claims, by priority and age."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from heapq import heappop, heappush
from typing import Final, TypeAlias

from engine.storage.record import Record

Rank: TypeAlias = tuple[int, int]
_Line: TypeAlias = tuple[Rank, str]

_SPARE: Final = 100  # a kind may have so many outdated lines before they are removed


def rank(record: Record) -> Rank:
    """Return the sort key of a ready job: higher priorities first, then older jobs."""
    return (-record.execution.priority, record.position)


class RankedJobs:
    """Holds committed jobs in their order, and iterates over them: see `in_order`.

    Most jobs come in their order, and stand in a row. The others are in a heap.

    Args:
        find: Returns the committed job that has an id.
    """

    __slots__ = ("_find", "_heap", "_rank_of", "_row", "_taken", "_without")

    def __init__(self, find: Callable[[str], Record | None]) -> None:
        self._find = find
        self._rank_of: dict[str, Rank] = {}
        self._row: deque[_Line] = deque()
        self._heap: list[_Line] = []
        self._taken: list[_Line] = []  # by the iteration, from both
        self._without: Container[str] = ()

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
        self._put((its_rank, job_id))
        if self.lines > 2 * len(self._rank_of) + _SPARE:
            self._row = deque(sorted((each, job_id) for job_id, each in self._rank_of.items()))
            self._heap, self._taken = [], []

    @property
    def lines(self) -> int:
        """The number of lines that it keeps, with the outdated ones."""
        return len(self._row) + len(self._heap) + len(self._taken)

    def _put(self, line: _Line) -> None:
        if not self._row or self._row[-1] < line:
            self._row.append(line)
        else:
            heappush(self._heap, line)

    def discard(self, job_id: str) -> bool:
        """Remove a job, if it is here; return whether no job is left."""
        self._rank_of.pop(job_id, None)
        return not self._rank_of

    def in_order(self, without: Container[str]) -> RankedJobs:
        """Begin to iterate over the jobs, without some. All jobs stay. Add no job meanwhile.

        The lines that were taken the last time are put back only now: by then most jobs have been
        claimed, so that their lines are outdated.
        """
        taken, self._taken = self._taken, []
        for line in taken:
            if self._rank_of.get(line[1]) == line[0]:
                heappush(self._heap, line)
        self._without = without
        return self

    def __iter__(self) -> RankedJobs:
        return self

    def __next__(self) -> Record:
        """Return the next job of the iteration that `in_order` began."""
        row, heap, taken = self._row, self._heap, self._taken
        while row or heap:
            line = heappop(heap) if not row or (heap and heap[0] < row[0]) else row.popleft()
            its_rank, job_id = line
            if self._rank_of.get(job_id) != its_rank or (taken and taken[-1] == line):
                continue  # the line is outdated, or the same job stands here twice
            taken.append(line)
            if job_id not in self._without and (record := self._find(job_id)) is not None:
                return record
        raise StopIteration


class RankedByKind(dict[str, RankedJobs]):
    """Holds committed jobs by kind, each kind's in their order; only kinds that have some.

    Args:
        find: Returns the committed job that has an id.
    """

    def __init__(self, find: Callable[[str], Record | None]) -> None:
        super().__init__()
        self._find = find

    def has(self, record: Record) -> bool:
        """Return whether a job is here."""
        return record.kind in self and record.job_id in self[record.kind]

    def add(self, record: Record) -> bool:
        """Add a job, unless it is here; return whether it is the first of its kind."""
        jobs = self.get(record.kind)
        is_first = jobs is None
        if jobs is None:
            jobs = self[record.kind] = RankedJobs(self._find)
        jobs.add(record)
        return is_first

    def discard(self, record: Record) -> bool:
        """Remove a job, if it is here; return whether it was the last of its kind."""
        jobs = self.get(record.kind)
        if jobs is None or not jobs.discard(record.job_id):
            return False
        del self[record.kind]
        return True
