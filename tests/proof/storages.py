"""Storages to prove things with: a plain one, and some that let others run around a commit."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from anyio.lowlevel import checkpoint

from engine import DuplicateJobIdError, MemoryStorage, Storage
from engine.domain.record import (
    IDEMPOTENCY_KEY,
    JOB_ID,
    POSITION,
    STATUS,
    UPDATED_AT,
    Change,
    Entry,
    Record,
)
from engine.domain.table import Table
from engine.storage import CheckedOut, Opened


class PlainStorage:
    """Keeps the changes in a list and the jobs in a dictionary, as simple as can be.

    Unlike `MemoryStorage`, it has jobs of its own: those that have ended leave the owner's table
    and are checked out again, as with a storage on a disk. It lives on when it has been closed.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.jobs: dict[str, Record] = {}  # in the order of their creation

    async def open(self, final_statuses: Collection[str]) -> Opened:
        live = Table(each for each in self.jobs.values() if each[STATUS] not in final_statuses)
        return Opened(live, last_sequence=len(self.changes), last_position=len(self.jobs))

    async def checkout(self, job_ids: Collection[str], keys: Collection[str]) -> CheckedOut:
        return CheckedOut(
            {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs},
            {key: job for job in self.jobs.values() if (key := job[IDEMPOTENCY_KEY]) in keys},  # type: ignore[misc]
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        for _, from_status, job in changes:
            if from_status is None and job[JOB_ID] in self.jobs:
                raise DuplicateJobIdError(job[JOB_ID])
        self.changes += changes
        self.jobs |= {job[JOB_ID]: job for _, _, job in changes}

    async def count(self, status: str | None) -> int:
        return sum(status in {None, job[STATUS]} for job in self.jobs.values())

    async def page(self, status: str | None, after: int, limit: int) -> Sequence[str]:
        behind = [job for job in self.jobs.values() if job[POSITION] > after]
        return [job[JOB_ID] for job in behind if status in {None, job[STATUS]}][:limit]

    async def history(self, job_id: str) -> Sequence[Entry] | None:
        lines = [
            Entry(sequence, before, job[STATUS], job[UPDATED_AT])
            for sequence, before, job in self.changes
            if job[JOB_ID] == job_id
        ]
        return lines or None

    async def aclose(self) -> None:
        return None


async def pause(checkpoints: int) -> None:
    """Let others run."""
    for _ in range(checkpoints):
        await checkpoint()


class Yielding:
    """Lets others run before and after every commit, as often as is drawn from the seed.

    To be put before a storage among the bases of a class.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def commit(self, changes: Sequence[Change]) -> None:
        await pause(self._random.randrange(3))
        await super().commit(changes)  # type: ignore[misc]
        await pause(self._random.randrange(3))


class YieldingPlainStorage(Yielding, PlainStorage):
    """The plain storage, yielding."""


class YieldingMemoryStorage(Yielding, MemoryStorage):
    """The memory storage, yielding."""


def yielding(seed: int) -> Storage:
    """Return a storage that yields: the memory storage for even seeds, the plain for odd ones."""
    return YieldingPlainStorage(seed) if seed % 2 else YieldingMemoryStorage(seed)
