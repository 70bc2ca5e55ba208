"""A load on several engines over one database, with a record of all that they answer.

The engines live on one event loop. Callers of each create jobs and start them, workers of each run
them, and meanwhile something goes wrong. When it is over, the jobs are compared with the answers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import anyio

from engine import (
    Context,
    EngineError,
    Job,
    JobEngine,
    JobStatus,
    NewJob,
    OutcomeUnknownError,
    Retry,
    Worker,
)
from engine.storage.postgres import PostgresStorage
from tests.reliability.shared_jobs import Faults, Line, SharedJobs
from tests.tries import report

LEASE_SECONDS: Final = 10.0
"""Longer than a busy machine keeps a heartbeat waiting: no engine is to die of that here."""
_CALLERS: Final = 3
_MOST_AT_ONCE: Final = 8
_SOON: Final = Retry(max_attempts=1_000, first_delay_seconds=0.002, factor=1, jitter=0.5)


def storages(url: str, count: int, **how: Any) -> list[PostgresStorage]:  # noqa: ANN401 - of it
    """Return the storages of so many engines on a database."""
    how = {"lease_seconds": LEASE_SECONDS, **how}
    return [PostgresStorage(url, **how) for _ in range(count)]


class Doubts(logging.Handler):
    """Counts what engines log: commits whose outcome they had to ask for, and other lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = Counter[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines[str(record.msg)] += 1

    @property
    def count(self) -> int:
        """The number of commits in doubt."""
        return self.of("the outcome of a commit")

    def of(self, text: str) -> int:
        """Return the number of lines that have a text in them, before their values."""
        return sum(count for line, count in self._lines.items() if text in line)


@dataclass
class Load:
    """The callers of several engines.

    Args:
        jobs: Looks at the jobs of the database.
        random: Says how much is asked for.
        most_seconds: How long the jobs may take to end when the faults are over.

    Attributes:
        told: The ids of the jobs whose creation was acknowledged, by their inputs.
        refused: The inputs of those that were refused, and not applied.
        started: The ids of the jobs whose start was acknowledged.
        unstarted: Those whose start was refused, and not applied.
        problems: The faults of the engines.
        watched: The transitions that a watcher of each engine has seen.
        seen: How often each kind of answer came.
    """

    jobs: SharedJobs
    random: Random
    most_seconds: float = 300
    told: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    unstarted: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    watched: list[list[Line]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    @property
    def refusals(self) -> int:
        """The number of calls that were refused so far."""
        return self.seen["refused"] + self.seen["refused starts"]

    def has_refused_more_than(self, calls: int) -> bool:
        return self.refusals > calls

    async def run(self, storages: Sequence[PostgresStorage], faults: Faults) -> None:
        """Load an engine on each storage until the faults are over; let all jobs end."""
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(JobEngine(storage)) for storage in storages]
            for number, engine in enumerate(engines):
                await stack.enter_async_context(self._worker(engine, number))
            async with anyio.create_task_group() as watchers:
                for engine in engines:
                    self.watched.append([])
                    watchers.start_soon(self._watch, engine, self.watched[-1])
                await self._call_all(engines, faults)
                await self._finish(engines[0])
                watchers.cancel_scope.cancel()
        self.problems += self.jobs.problems(self.told, self.refused)

    async def _call_all(self, engines: Sequence[JobEngine[JobStatus]], faults: Faults) -> None:
        """Let the callers call until the faults are over."""
        async with anyio.create_task_group() as callers:
            for number, engine in enumerate(engines):
                for caller in range(_CALLERS):
                    callers.start_soon(self._call, engine, f"{number} {caller}")
            try:
                await faults()
            finally:
                self.is_over = True
        self._look_at_starts()

    async def _watch(self, engine: JobEngine[JobStatus], seen: list[Line]) -> None:
        """Watch all transitions, again and again: a watch ends when they can't be read."""
        while True:
            after = seen[-1][0] if seen else 0
            with suppress(EngineError):
                async for each in engine.watch(after=after):
                    seen.append((each.sequence, each.job_id, str(each.to_status)))
            await anyio.sleep(0.01)

    def _worker(self, engine: JobEngine[JobStatus], number: int) -> Worker:
        async def handle(_: Job, context: Context[Any]) -> str:
            await anyio.sleep(self.random.uniform(0, 0.004))
            return f"{number} by attempt {context.attempt}"

        return Worker(engine, handle, concurrency=8, retry=_SOON, max_deaths=1_000)

    async def _call(self, engine: JobEngine[JobStatus], name: str) -> None:
        """Create jobs and start them, again and again."""
        number = 0
        while not self.is_over:
            count = self.random.randint(1, _MOST_AT_ONCE)
            inputs = [f"{name} {number + each}" for each in range(count)]
            number += count
            for job_id in await self._create(engine, inputs):
                await self._start(engine, job_id)

    async def _create(self, engine: JobEngine[JobStatus], inputs: list[str]) -> list[str]:
        try:
            jobs = await engine.create_many(NewJob("hash", input=text) for text in inputs)
        except OutcomeUnknownError:
            self.seen["unknown"] += 1
        except EngineError:
            self.seen["refused"] += 1
            self.refused.update(inputs)
            await anyio.sleep(0.01)
        else:
            self.seen["told"] += 1
            self.told |= {str(job.input): job.job_id for job in jobs}
            self.unstarted.update(job.job_id for job in jobs)
            return [job.job_id for job in jobs]
        return []

    async def _start(self, engine: JobEngine[JobStatus], job_id: str) -> None:
        try:
            await engine.transition(job_id, JobStatus.RUNNING)
        except OutcomeUnknownError:
            self.seen["unknown starts"] += 1
            self.unstarted.discard(job_id)
        except EngineError:
            self.seen["refused starts"] += 1
            await anyio.sleep(0.01)
        else:
            self.started.add(job_id)
            self.unstarted.discard(job_id)

    def _look_at_starts(self) -> None:
        """Compare the jobs with the answers to their starts, while nobody else starts any."""
        waiting = set(self.jobs.waiting())
        self.problems += [f"start lost: {each}" for each in self.started & waiting]
        self.problems += [f"start refused, yet made: {each}" for each in self.unstarted - waiting]

    async def _finish(self, engine: JobEngine[JobStatus]) -> None:
        """Start the jobs that wait, now that all is well again; wait until all jobs have ended.

        All watchers must then have seen all transitions.
        """
        with anyio.move_on_after(self.most_seconds) as limit:
            while self.jobs.unfinished():
                for job_id in self.jobs.waiting():
                    self.seen["started by the end"] += 1
                    with suppress(EngineError):
                        await engine.transition(job_id, JobStatus.RUNNING)
                await anyio.sleep(0.02)
            lines = self.jobs.lines()
            while any(len(seen) < len(lines) for seen in self.watched):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        if limit.cancelled_caught:
            self.problems += [f"does not end: {job}" for job in self.jobs.unfinished()]
            missing = [len(self.jobs.lines()) - len(seen) for seen in self.watched]
            self.problems.append(f"watchers have not seen {missing} transitions")
        elif any(seen != lines for seen in self.watched):
            self.problems.append("a watcher has seen other transitions than there are")

    def report(self, what: str) -> None:
        """Print what was seen."""
        report(f"{what}: {len(self.jobs.inputs())} jobs, {dict(sorted(self.seen.items()))}")
