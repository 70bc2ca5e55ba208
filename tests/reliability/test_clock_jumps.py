"""Row 18: the clock jumps, by an hour and a year, both ways; the engine keeps working correctly.

Retries and deadlines are moments of the calendar: none comes early, none is lost, none comes twice.
An attempt's timeout is measured in seconds, which a jump does not change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Context,
    Job,
    JobEngine,
    Retry,
    Transition,
    Worker,
)
from engine.testing.virtual_clock import VirtualClock
from tests.tries import repeatable, report, seeds

pytestmark = pytest.mark.anyio

HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
JUMPS = [HOUR, -HOUR, YEAR, -YEAR]
RETRY = Retry(max_attempts=3, first_delay_seconds=600, factor=6, max_delay_seconds=86_400, jitter=0)
TIMEOUT_SECONDS = 3_600.0
JOBS, STEPS = 12, 15
FULL_SEEDS = 400
AgentJob = Job[AgentJobStatus]
AWAITING, RUNNING, FAILED = (
    AgentJobStatus.AWAITING_PAYMENT,
    AgentJobStatus.RUNNING,
    AgentJobStatus.FAILED,
)


@dataclass
class Watch:
    """The clock, and a record of all events.

    Attributes:
        jumped: The sum of all jumps.
        attempts: The numbers of each job's attempts.
        not_before: The earliest time for each job to run or expire.
        seen: The counts of the events.
    """

    clock: VirtualClock
    jumped: timedelta = timedelta(0)
    attempts: dict[str, list[int]] = field(default_factory=dict)
    not_before: dict[str, datetime] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def jump(self, by: timedelta) -> None:
        self.jumped += by
        self.clock.jump(by)

    def passed(self) -> datetime:
        """Return the time without the jumps."""
        return self.clock() - self.jumped

    async def handle(self, job: AgentJob, context: Context[Any]) -> str:
        """Fail twice at once, or take too long each time."""
        numbers = self.attempts.setdefault(job.job_id, [])
        numbers.append(context.attempt)
        if self.clock() < self.not_before.get(job.job_id, self.clock()):
            self.problems.append(f"attempt {context.attempt} came early")
        began = self.passed()
        try:
            if job.input == "slow":
                await self.clock.sleep(10 * TIMEOUT_SECONDS)
            if context.attempt < RETRY.max_attempts:
                raise OSError("not now")
        finally:
            took = (self.passed() - began).total_seconds()
            if took != (TIMEOUT_SECONDS if job.input == "slow" else 0):
                self.problems.append(f"{job.input}: an attempt took {took} s")
            delay = timedelta(seconds=RETRY.delay_seconds(context.attempt, 0.5))
            self.not_before[job.job_id] = self.clock() + delay
            self.seen[f"attempts, {job.input}"] += 1
        return "done"

    def hook(self, transition: Transition[Any]) -> None:
        """Check each job that expires."""
        if (transition.from_status, transition.to_status) == (AWAITING, FAILED):
            self.expired.append(transition.job_id)
            if self.clock() < self.not_before[transition.job_id]:
                self.problems.append("a deadline came early")
            self.seen["expired"] += 1


async def _create(engine: JobEngine[AgentJobStatus], watch: Watch, random: Random) -> AgentJob:
    kind = random.choice(["failing", "slow", "unpaid"])
    if kind != "unpaid":
        job = await engine.create("hash", input=kind)
        return await engine.transition(job.job_id, RUNNING)
    span = random.choice([HOUR, DAY, YEAR]) * random.uniform(0.1, 2)
    deadline = span if random.random() < 0.5 else watch.clock() + span
    job = await engine.create("hash", input=kind, deadlines={AWAITING: deadline})
    assert job.deadline_at is not None
    watch.not_before[job.job_id] = job.deadline_at
    return job


async def _check(engine: JobEngine[AgentJobStatus], watch: Watch) -> None:
    """Check that nothing is late: everything due has been done."""
    for job in (await engine.list_jobs()).jobs:
        due = job.next_attempt_at or job.deadline_at
        if job.status in {AWAITING, RUNNING} and due is not None and due <= watch.clock():
            watch.problems.append(f"it is {watch.clock()}, and this has not been done: {job!r}")


async def _play(watch: Watch, random: Random) -> None:
    clock = watch.clock
    async with (
        JobEngine(
            lifecycle=AGENT_JOB_LIFECYCLE,
            clock=clock,
            on_transition=watch.hook,
        ) as engine,
        Worker(
            engine, watch.handle, retry=RETRY, timeout_seconds=TIMEOUT_SECONDS, concurrency=JOBS
        ),
    ):
        jobs = [await _create(engine, watch, random) for _ in range(JOBS)]
        await clock.advance(0)  # all failures are committed before the clock jumps
        for _ in range(STEPS):
            if random.random() < 0.5:
                by = random.choice(JUMPS)
                watch.jump(by)
                watch.seen[f"jumps of {by.total_seconds() / 3_600:+g} h"] += 1
            await clock.advance(random.choice([1, 60, 1_800, 5_000, 50_000]))
            await _check(engine, watch)
        await clock.advance(YEAR * (2 + STEPS))
        await _check(engine, watch)
        for job in jobs:
            _check_end(await engine.get(job.job_id), watch)


def _check_end(job: AgentJob, watch: Watch) -> None:
    numbers = watch.attempts.get(job.job_id, [])
    if job.input == "unpaid":
        good = job.error == "expired" and watch.expired.count(job.job_id) == 1 and not numbers
    else:
        result = (job.result, (job.error or "").partition(":")[0])
        wanted = ("done", "") if job.input == "failing" else (None, "AttemptTimeoutError")
        good = result == wanted and numbers == [1, 2, 3]
    if not good:
        watch.problems.append(f"attempts {numbers}, and then {job!r}")


async def test_nothing_comes_early_is_lost_or_comes_twice(anyio_backend: str) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds(FULL_SEEDS):
        with repeatable(seed, "jumps"):
            watch = Watch(VirtualClock(datetime.fromisoformat("2060-01-01T00:00:00+00:00")))
            await _play(watch, Random(seed))
            assert watch.problems == []
        seen += watch.seen
    report(f"jumps, {anyio_backend}: {len(seeds(FULL_SEEDS))} seeds, {dict(sorted(seen.items()))}")
    assert len([each for each in seen if each.startswith("jumps")]) == len(JUMPS)
    assert min(seen.values()) > len(seeds(FULL_SEEDS))


async def test_an_engine_that_measures_attempts_by_the_calendar_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug."""

    def limit(self: VirtualClock, scope: Any, seconds: float) -> None:  # noqa: ANN401
        self._due[scope] = self() + timedelta(seconds=seconds)

    monkeypatch.setattr(VirtualClock, "limit", limit)
    problems = []
    for seed in range(5):
        watch = Watch(VirtualClock(datetime.fromisoformat("2060-01-01T00:00:00+00:00")))
        await _play(watch, Random(seed))
        problems += watch.problems
    assert problems
