"""Writers to a shared storage, without engines, and a record of what became of each batch.

An engine tells its callers at once when it can't find out what became of a commit. These go on
asking, as the engine does behind them, and so see each answer to that question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Final

import anyio

from engine import CommitsLostError, CommitUnknownError, StorageError
from engine.owner.numbers import PROVISIONAL
from engine.storage.answers import Committed
from engine.storage.postgres import PostgresStorage
from engine.storage.record import Change
from engine.testing.party import created, joined, numbered
from tests.reliability.shared_jobs import Faults, SharedJobs
from tests.tries import report

_MOST_AT_ONCE: Final = 20


class Writers:
    """One writer for each storage, which creates jobs in batches.

    Args:
        jobs: Looks at the jobs of the database.
        random: Says how many jobs a batch has.

    Attributes:
        told: The numbers of the transitions of acknowledged jobs, by the jobs' ids.
        refused: The ids of the jobs that were not applied.
        damaged: The writers that were told that acknowledged commits are lost. They end.
        problems: The faults of the storages.
        seen: How often each kind of answer came.
    """

    def __init__(self, jobs: SharedJobs, random: Random) -> None:
        self.jobs = jobs
        self.random = random
        self.told: dict[str, int] = {}
        self.refused: set[str] = set()
        self.damaged: set[int] = set()
        self.problems: list[str] = []
        self.seen = Counter[str]()
        self._is_over = False

    async def run(self, storages: Sequence[PostgresStorage], faults: Faults) -> None:
        """Write until the faults are over."""
        async with AsyncExitStack() as stack:
            for storage in storages:
                await stack.enter_async_context(joined(storage))
            async with anyio.create_task_group() as tasks:
                for number, storage in enumerate(storages):
                    tasks.start_soon(self._write, storage, number)
                try:
                    await faults()
                finally:
                    self._is_over = True
        self._compare()

    async def _write(self, storage: PostgresStorage, writer: int) -> None:
        batch = 0
        while not self._is_over:
            batch += 1
            count = self.random.randint(1, _MOST_AT_ONCE)
            changes = numbered([created(f"{writer} {batch} {each}") for each in range(count)])
            ids = [change.record.job_id for change in changes]
            try:
                committed = await self._commit(storage, changes)
            except CommitsLostError:
                self.damaged.add(writer)
                return
            if isinstance(committed, Committed):
                self._note(ids, committed)
            else:
                self.seen["refused"] += 1
                self.refused.update(ids)

    async def _commit(
        self, storage: PostgresStorage, changes: Sequence[Change]
    ) -> Committed | bool:
        try:
            return await storage.commit(changes)
        except CommitUnknownError:
            self.seen["in doubt"] += 1
            return await self._ask(storage, changes)
        except CommitsLostError:
            raise
        except StorageError:
            return False

    async def _ask(self, storage: PostgresStorage, changes: Sequence[Change]) -> Committed | bool:
        """Ask for the outcome of a commit until there is an answer."""
        while True:
            try:
                return await storage.resolve(changes)
            except CommitsLostError:
                raise
            except StorageError:
                self.seen["asked again"] += 1
                await anyio.sleep(0.005)

    def _note(self, ids: Sequence[str], committed: Committed) -> None:
        self.seen["told"] += 1
        first = PROVISIONAL + 1 + committed.sequence_shift
        self.told |= {job_id: first + place for place, job_id in enumerate(ids)}

    def _compare(self) -> None:
        there = {job_id: sequence for sequence, job_id, _ in self.jobs.lines()}
        for job_id, sequence in self.told.items():
            if there.get(job_id) != sequence:
                self.problems.append(f"lost: {job_id}, {sequence}")
        self.problems += [f"refused, yet there: {each}" for each in self.refused & there.keys()]
        self.problems += self.jobs.problems({})

    def report(self, what: str) -> None:
        """Print what was seen."""
        report(f"{what}: {len(self.told)} jobs, {dict(sorted(self.seen.items()))}")
