"""Work with many engines: every job that was acknowledged ends once, whoever dies meanwhile.

Each seed is one schedule: three engines with workers on one place, handlers that fail and that ask,
commits and claims whose answers are lost, and engines that the others take for dead.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from engine import (
    EngineCrashedError,
    JobEngine,
    LeaseLostError,
    Outcome,
    Retry,
    Worker,
)
from engine.domain.models import Job
from engine.storage.record import Change, Record
from tests.tries import repeatable, report, seeds

from .scenario import LONG_ENOUGH_SECONDS, check_numbers
from .schedules import Schedule
from .shared_storage import Place, PlainShared
from .specification import LIFECYCLE
from .storages import pause

FULL_COUNT = 1_000
ENGINES = 3
JOBS = 12
DEATHS = 4


class Works:
    """Engines with workers on one place, of which some die.

    Attributes:
        seen: How often what happened.
    """

    def __init__(self, seed: int, loses: int, kind: type[PlainShared] = PlainShared) -> None:
        self.place = Place()
        self.seen = Counter[str]()
        self._kind = kind
        self._seed = seed
        self._loses = loses
        self._random = random.Random(seed)
        self._at_work: dict[str, int] = {}  # the engine whose handler has the job
        self._at_once: list[str] = []
        self._created: list[str] = []

    async def run(self) -> None:
        with anyio.fail_after(LONG_ENOUGH_SECONDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(ENGINES):
                    tasks.start_soon(self._engines)
                await self._submit()
                for _ in range(DEATHS):
                    await pause(self._random.randrange(200))
                    self._kill_one()
                await self._all_have_ended()
                tasks.cancel_scope.cancel()
        assert self._at_once == [], "two attempts of a job at once"
        async with JobEngine(PlainShared(self.place, self._seed), lifecycle=LIFECYCLE) as engine:
            await check_numbers(engine)
            for job_id in self._created:
                self._check(await engine.get(job_id))

    def _check(self, job: Job[Any]) -> None:
        assert job.outcome is Outcome.SUCCEEDED
        assert job.result == f"did {job.input}"
        self.seen["failures"] += job.failures

    async def _engines(self) -> None:
        """Open one engine after the other, each as the one before was taken for dead."""
        while True:
            storage = self._kind(self.place, self._random.randrange(10**9), self._loses)
            try:
                async with JobEngine(storage, lifecycle=LIFECYCLE) as engine:
                    await self._work(engine, storage.number)
            except EngineCrashedError as crash:
                if not isinstance(crash.__cause__, LeaseLostError):
                    raise
                self.seen["lost leases"] += 1

    async def _work(self, engine: JobEngine[Any], number: int) -> None:
        async def handle(job: Job[Any]) -> str:
            before = self._at_work.get(job.job_id)
            if before is not None and before not in self.place.dead:
                self._at_once.append(job.job_id)  # an exception would only fail the attempt
            self._at_work[job.job_id] = number
            try:
                await pause(self._random.randrange(100))
                if self._random.random() < 0.2:
                    raise RuntimeError("now and then")
            finally:
                if self._at_work.get(job.job_id) == number:
                    del self._at_work[job.job_id]
            return f"did {job.input}"

        how: dict[str, Any] = {"retry": Retry(50, 0), "max_deaths": 50, "concurrency": 2}
        async with Worker(engine, handle, **how):
            async for _ in engine.watch():
                pass

    async def _submit(self) -> None:
        storage = PlainShared(self.place, self._seed + 1)
        async with JobEngine(storage, lifecycle=LIFECYCLE) as engine:
            for number in range(JOBS):
                job = await engine.create(input=number, start=True)
                self._created.append(job.job_id)
                await pause(self._random.randrange(20))

    def _kill_one(self) -> None:
        """Take an engine for dead, if one lives: one that is at work, if there is one."""
        working = set(self._at_work.values()) - self.place.dead
        living = {each.number for each in self.place.engines} - self.place.dead
        if candidates := sorted(working or living):
            self.seen["attempts that died"] += self.place.declare_dead(
                self._random.choice(candidates)
            )

    async def _all_have_ended(self) -> None:
        looking = PlainShared(self.place, self._seed)
        while any(job.outcome is None for job in self.place.jobs().values()):
            await looking.news(0.1)


def test_every_job_ends_once_whoever_dies_meanwhile(anyio_backend: str) -> None:
    seen = Counter[str]()
    for seed in seeds(FULL_COUNT):
        works, schedule = Works(seed, 30 * (seed % 2)), Schedule(seed)
        with repeatable(seed, anyio_backend):
            schedule.run(anyio_backend, works.run)
        seen += works.seen
    report(f"{anyio_backend}: {len(seeds(FULL_COUNT))} schedules, {dict(seen)}")
    assert min(seen["attempts that died"], seen["failures"], seen["lost leases"]) > len(
        seeds(FULL_COUNT)
    )


class GivesTwice(PlainShared):
    """Gives a ready job to each engine that asks."""

    async def take(self, *asked: Any, **how: Any) -> Sequence[Record]:  # noqa: ANN401 - as above
        taken = await super().take(*asked, **how)
        for record in taken:
            del self.place.holders[record.job_id]
        return taken

    def _in_the_way(self, changes: Sequence[Change]) -> None:
        """Compare nothing."""


def test_a_storage_that_gives_a_job_twice_is_caught(anyio_backend: str) -> None:
    with pytest.raises(AssertionError, match="two attempts of a job at once"):
        for seed in range(100):
            Schedule(seed).run(anyio_backend, Works(seed, 0, GivesTwice).run)
