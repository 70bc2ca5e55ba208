"""Jobs that wait at a gate: the cost of a hundred thousand, and the time to let one through.

Two engines in memory, one with few waiting jobs and one with many, are measured in turns. The check
looks at the paid jobs, like one that calls a payment service, and not at every job.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import anyio

from engine import Gate, Job, JobEngine, JobStatus, NewJob, WaitingJobs, Worker
from tests.bench.durable_floors import HASH
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row

FEW = 10
_BULK = 10_000
_POLL_SECONDS = 1.0
_QUICK_POLL_SECONDS = 0.02  # short: only the time after the pause counts
_LATER = 1.25  # as fast, apart from the noise of a shared machine


class Waiting:
    """An engine with so many waiting jobs, one of which is let through repeatedly."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.engine = JobEngine()
        self.paid: list[str] = []
        self.answered_at = 0.0
        self.begun_at = 0.0
        self.begun = anyio.Event()

    async def fill(self) -> None:
        """Create waiting jobs."""
        for first in range(0, self.jobs, _BULK):
            await self.engine.create_many([NewJob(HASH)] * min(_BULK, self.jobs - first))

    async def check(self, jobs: WaitingJobs[Any]) -> Iterable[str]:
        """Let the paid jobs through."""
        chosen = [job_id for job_id in self.paid if jobs.get(job_id) is not None]
        if chosen:
            self.answered_at = time.perf_counter()
        return chosen

    async def handle(self, _job: Job) -> None:
        """Record the time."""
        self.begun_at = time.perf_counter()
        self.begun.set()

    async def by_call(self) -> float:
        """Return the seconds from a call of `transition` to the start of the handler."""
        job_id = await self._new()
        start = time.perf_counter()
        await self.engine.transition(job_id, JobStatus.RUNNING)
        await self.begun.wait()
        return self.begun_at - start

    async def by_check(self) -> float:
        """Return the seconds from the gate's answer to the start of the handler."""
        self.paid = [await self._new()]
        await self.begun.wait()
        return self.begun_at - self.answered_at

    async def _new(self) -> str:
        self.begun = anyio.Event()
        return (await self.engine.create(HASH)).job_id


@dataclass(frozen=True)
class Turn:
    """The extent of one turn."""

    tries: int
    """How many jobs are let through, in each way; the median counts."""
    idle_seconds: float


def rows(rounds: Rounds, jobs: int, turn: Turn, turns: int) -> list[Row]:
    """Measure jobs that are let through, and doing nothing."""
    anyio.run(_measure, rounds, jobs, turn, turns)
    return _table(rounds, jobs)


def _table(rounds: Rounds, jobs: int) -> list[Row]:
    few, many = f"{FEW} jobs", f"{jobs:,} jobs"
    return [
        Row(
            f"{many} wait, a check each second: idle CPU",
            rounds["idle"],
            "limit",
            2.0,
            1.0,
            "%",
            at_most=True,
        ),
        _reaction(rounds, f"{many} wait: transition → handler begins", "call", few),
        _reaction(rounds, f"{many} wait: check's answer → handler begins", "check", few),
    ]


def _reaction(rounds: Rounds, work: str, way: str, few: str) -> Row:
    figure, floor = rounds[f"many by {way}"], rounds[f"few by {way}"]
    return Row(work, figure, few, floor, _LATER, "ms", at_most=True)


async def _measure(rounds: Rounds, jobs: int, turn: Turn, turns: int) -> None:
    few, many = Waiting(FEW), Waiting(jobs)
    async with AsyncExitStack() as stack:
        for each in (few, many):
            progress(f"{each.jobs:,} jobs come to wait")
            await stack.enter_async_context(each.engine)
            await each.fill()
            await stack.enter_async_context(Worker(each.engine, each.handle))
        for _ in repeated("jobs at a gate", turns, lambda: _table(rounds, jobs)):
            await _react(rounds, "call", turn.tries, (few.by_call, many.by_call))
            async with (
                Gate(few.engine, few.check, interval_seconds=_QUICK_POLL_SECONDS),
                Gate(many.engine, many.check, interval_seconds=_QUICK_POLL_SECONDS),
            ):
                await _react(rounds, "check", turn.tries, (few.by_check, many.by_check))
            async with Gate(many.engine, many.check, interval_seconds=_POLL_SECONDS):
                rounds.add("idle", await _idle_percent(turn.idle_seconds))


async def _react(
    rounds: Rounds, way: str, tries: int, sides: tuple[Callable[[], Awaitable[float]], ...]
) -> None:
    """Let few and many react by turns; add the median of each, in ms."""
    seconds = [[await react() for react in sides] for _ in range(tries)]
    for name, its_seconds in zip(("few", "many"), zip(*seconds, strict=True), strict=True):
        rounds.add(f"{name} by {way}", 1e3 * median(its_seconds))


async def _idle_percent(seconds: float) -> float:
    """Return the part of one processor that the idle process takes."""
    await anyio.sleep(_POLL_SECONDS / 2)
    used, start = time.process_time(), time.perf_counter()
    await anyio.sleep(seconds)
    return 100.0 * (time.process_time() - used) / (time.perf_counter() - start)
