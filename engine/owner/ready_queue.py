"""The ready queue: the jobs that may be claimed, in their order, and those that attempts have.

It holds committed jobs and belongs to the owner. A storage that engines on many machines share
takes its place. It decides nothing: a claim checks each job again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Mapping
from contextlib import closing
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from engine.domain.lifecycle import Lifecycle
from engine.owner.ranked_jobs import RankedJobs, rank
from engine.owner.strays import Strays
from engine.owner.times import Times
from engine.storage.record import NO_EXECUTION, Record


class ReadyQueue:
    """Holds the running jobs without an attempt; suspects apart, see `engine.domain.deaths`.

    It is filled when it is first needed: an engine without workers does not pay for it.

    Args:
        lifecycle: Has the running status.
        find: Returns the committed job that has an id.
        records: Returns all committed jobs that are live.
        retries: Takes the times at which jobs may be claimed again.

    Attributes:
        is_filled: Whether it has the ready jobs that no attempt has ever had.
        orphans: The tokens of attempts that died with their engine, by job id, as far as their
            jobs have not changed since.
        orphaned: How many they were at first.
        strays: The jobs that stray threads hold back.
    """

    def __init__(
        self,
        lifecycle: Lifecycle[Any],
        find: Callable[[str], Record | None],
        records: Callable[[], Iterable[Record]],
        retries: Times[datetime],
    ) -> None:
        self._running = lifecycle.running_value
        self._find = find
        self._records = records
        self.is_filled = False
        self._retries = retries
        self._innocent = RankedJobs(find)
        self._suspects = RankedJobs(find)
        self._held: set[str] = set()
        self._held_suspects: set[str] = set()
        self.orphans: dict[str, str] = {}
        self.orphaned = 0
        self.strays = Strays()

    def fill(self) -> None:
        """Take in all ready jobs; the second time, do nothing."""
        if not self.is_filled:
            self.is_filled = True
            for record in self._records():  # the queue has those with an execution already
                if record.status == self._running and record.execution is NO_EXECUTION:
                    self.note(record)

    def add_orphan(self, record: Record) -> None:
        """Note the attempt of a job from a newly opened storage: it died with its engine."""
        if record.execution.token is not None:
            self.orphans[record.job_id] = record.execution.token
            self.orphaned += 1

    def is_orphan(self, record: Record) -> bool:
        """Return whether a job's newest attempt died with its engine."""
        token = record.execution.token
        return token is not None and self.orphans.get(record.job_id) == token

    def counts(self) -> tuple[int, int]:
        """Return the numbers of ready jobs and of jobs that an attempt has."""
        self.fill()
        suspects = 1 if self._suspects and not self._held_suspects else 0
        held_back = sum(each in self._innocent for each in self.strays)
        return len(self._innocent) + suspects - held_back, len(self._held)

    def note(self, record: Record) -> None:
        """Add, move or remove a job as it was committed."""
        job_id, execution = record.job_id, record.execution
        runs, retry_at = record.status == self._running, execution.retry_at
        is_orphan = bool(self.orphans) and self._keep_orphan(record)
        is_held = execution.token is not None and not is_orphan
        if runs and is_held:
            self._held.add(job_id)
            if execution.died_attempt is not None:
                self._held_suspects.add(job_id)
        else:
            self._held.discard(job_id)
            self._held_suspects.discard(job_id)
        if runs and not is_held and retry_at is None:
            self._jobs_like(record).add(record)
        else:
            self.discard(job_id)
        self._retries.set(job_id, retry_at if runs and not is_held else None)

    def _keep_orphan(self, record: Record) -> bool:
        """Return whether a job is still an orphan; if not, forget it."""
        if self.is_orphan(record):
            return True
        self.orphans.pop(record.job_id, None)
        return False

    def _jobs_like(self, record: Record) -> RankedJobs:
        return self._innocent if record.execution.died_attempt is None else self._suspects

    def discard(self, job_id: str) -> None:
        """Remove a job that is not ready."""
        self._innocent.discard(job_id)
        if self._suspects:
            self._suspects.discard(job_id)

    def advance(self, now: datetime) -> None:
        """Add the jobs whose next attempt is due."""
        for job_id in self._retries.due(now, len(self._retries)):
            self._retries.set(job_id, None)
            if (record := self._find(job_id)) is not None:
                self._jobs_like(record).add(record)

    def in_order(
        self, changed: Mapping[str, Record], fresh: Iterable[Record] = ()
    ) -> Generator[Record, None, None]:
        """Iterate over the jobs to claim, in their order. Claim each one that it yields.

        At most one is a suspect, and none while a suspect is at work.

        Don't note jobs meanwhile, and close the iterator.

        Args:
            changed: The jobs that a batch changes, as they are after it.
            fresh: Those of them that are ready, in their order.
        """
        without: Container[str] = changed
        if self.strays:
            without = changed.keys() | self.strays.keys()
        no_more_suspects = any(_is_held(job_id, changed) for job_id in self._held_suspects)
        with (
            closing(self._innocent.in_order(without)) as innocent,
            closing(self._suspects.in_order(without)) as suspects,
        ):
            one_suspect = islice(suspects, 0 if no_more_suspects else 1)
            ready = fresh  # often no other job is: merging takes as long as the rest
            if self._innocent or self._suspects:
                ready = merge(innocent, one_suspect, fresh, key=rank)
            for record in ready:
                if record.execution.died_attempt is None:
                    yield record
                elif not no_more_suspects:
                    no_more_suspects = True
                    yield record


def _is_held(job_id: str, changed: Mapping[str, Record]) -> bool:
    """Return whether the attempt of a committed job still has it after a batch."""
    record = changed.get(job_id)
    return record is None or record.execution.token is not None
