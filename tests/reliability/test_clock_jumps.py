"""Row 18: the clock jumps, by an hour and a year, both ways; the engine keeps working correctly.

Retries and deadlines are moments of the calendar: none comes early, none is lost, none comes twice.
An attempt's timeout is measured in seconds, which a jump does not change.

Row 30: the clock was ahead and is set right, also while the engine is closed. A retry's delay and a
relative deadline keep their length; an absolute deadline stays.
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
    MemoryStorage,
    Retry,
    Transition,
    Worker,
)
from engine.owner.times import JobTimes
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
        began: When the wait of each job began, unless it is for an absolute time.
        seen: The counts of the events.
    """

    clock: VirtualClock
    jumped: timedelta = timedelta(0)
    attempts: dict[str, list[int]] = field(default_factory=dict)
    not_before: dict[str, datetime] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def jump(self, by: timedelta) -> None:
        self.jumped += by
        self.clock.jump(by)
        for job_id, began in self.began.items():
            if began > self.clock():
                self.wait(job_id, self.not_before[job_id] - began)

    def wait(self, job_id: str, length: timedelta) -> None:
        """Note that a job now begins to wait for so long."""
        self.began[job_id] = self.clock()
        self.not_before[job_id] = self.clock() + length

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
            self.wait(job.job_id, delay)
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
    if isinstance(deadline, timedelta):
        watch.wait(job.job_id, deadline)
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
    tried = seeds(FULL_SEEDS, least=8)
    for seed in tried:
        with repeatable(seed, "jumps"):
            watch = Watch(VirtualClock(datetime.fromisoformat("2060-01-01T00:00:00+00:00")))
            await _play(watch, Random(seed))
            assert watch.problems == []
        seen += watch.seen
    report(f"jumps, {anyio_backend}: {len(tried)} seeds, {dict(sorted(seen.items()))}")
    assert len([each for each in seen if each.startswith("jumps")]) == len(JUMPS)
    assert min(seen.values()) > len(tried)


@pytest.mark.thorough
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


# Row 30.

KINDS = ["retry", "deadline", "question", "absolute"]


@dataclass
class Wait:
    """A wait of a job: when it began, its length, its moment of the calendar, and its end.

    ``began`` and ``ended`` are in the time without jumps.
    """

    kind: str
    began: datetime
    length: timedelta
    moment: datetime
    ended: datetime | None = None
    ended_at: datetime | None = None


class SetRight:
    """Jobs that begin to wait while the clock is ahead, which is then set right in steps.

    Attributes:
        waits: The wait of each job.
        right_at: When the clock was last set, in the time without jumps.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = VirtualClock(datetime.fromisoformat("2060-01-01T00:00:00+00:00"))
        self.storage = MemoryStorage()
        self.ahead = random.choice([HOUR, DAY, YEAR]) * random.uniform(0.1, 2)
        self.clock.jump(self.ahead)
        self.jumped = self.ahead
        self.waits: dict[str, Wait] = {}
        self.lengths: dict[str, timedelta] = {}
        self.right_at = self.passed()
        self.restarts = 0

    def passed(self) -> datetime:
        return self.clock() - self.jumped

    def set_back(self, by: timedelta) -> None:
        self.jumped -= by
        self.clock.jump(-by)
        self.right_at = self.passed()

    def begin(self, job_id: str, kind: str, length: timedelta) -> None:
        self.waits[job_id] = Wait(kind, self.passed(), length, self.clock() + length)

    def end(self, job_id: str) -> None:
        wait = self.waits[job_id]
        assert wait.ended is None
        wait.ended, wait.ended_at = self.passed(), self.clock()

    async def handle(self, job: AgentJob, context: Context[Any]) -> None:
        """Ask, or fail once."""
        if job.input == "question":
            length = self.lengths[job.input_hash]
            self.begin(job.job_id, "question", length)
            context.request_input(int, length)
        if context.attempt == 1:
            self.begin(job.job_id, "retry", timedelta(seconds=600))
            raise OSError("not now")
        self.end(job.job_id)

    def hook(self, transition: Transition[Any]) -> None:
        if transition.to_status is FAILED:
            self.end(transition.job_id)

    async def create(self, engine: JobEngine[AgentJobStatus]) -> None:
        kind = self.random.choice(KINDS)
        length = self.random.choice([HOUR, DAY]) * self.random.uniform(0.1, 2)
        name = f"{kind} {len(self.lengths)}"
        self.lengths[name] = length
        if kind in {"retry", "question"}:
            job = await engine.create(name, input=kind)
            await engine.transition(job.job_id, RUNNING)
            return
        deadline = self.clock() + length if kind == "absolute" else length
        job = await engine.create(name, deadlines={AWAITING: deadline})
        self.begin(job.job_id, kind, length)

    async def live(self, *, first: bool) -> None:
        """Run an engine for some steps of the clock."""
        engine = JobEngine(
            self.storage, lifecycle=AGENT_JOB_LIFECYCLE, clock=self.clock, on_transition=self.hook
        )
        retry = Retry(first_delay_seconds=600, max_delay_seconds=600, jitter=0)
        async with engine, Worker(engine, self.handle, retry=retry, concurrency=JOBS):
            for _ in range(JOBS * first):
                await self.create(engine)
            await self.clock.advance(0)
            while self.jumped and self.random.random() < 0.7:
                await self.clock.advance(self.random.choice([1, 300, 5_000]))
                whole = self.random.random() < 0.3
                self.set_back(self.jumped if whole else self.jumped * self.random.random())
                await self.clock.advance(0)
            if not self.jumped:
                await self.clock.advance(YEAR * 3)

    async def play(self) -> list[str]:
        """Live until the clock is right and all is over; return the waits that went wrong."""
        await self.live(first=True)
        while self.jumped or self.restarts == 0:
            self.restarts += 1
            if self.random.random() < 0.5:
                self.set_back(self.jumped)  # while the engine is closed
            await self.live(first=False)
        return [f"{wait}" for wait in self.waits.values() if not self.is_right(wait)]

    def is_right(self, wait: Wait) -> bool:
        if wait.ended is None:
            return False
        if wait.kind == "absolute":
            return wait.ended_at == wait.moment
        took = wait.ended - wait.began
        latest = max(self.right_at, wait.began) + wait.length
        return took >= wait.length and wait.ended <= latest


async def test_relative_times_keep_their_length_when_the_clock_is_set_right(
    anyio_backend: str,
) -> None:
    kinds: Counter[str] = Counter()
    for seed in seeds(FULL_SEEDS, least=8):
        with repeatable(seed, "set right"):
            clock = SetRight(Random(seed))
            assert await clock.play() == []
            kinds += Counter(wait.kind for wait in clock.waits.values())
            kinds["restarts"] += clock.restarts
    report(f"set right, {anyio_backend}: {len(seeds(FULL_SEEDS, least=8))} seeds, {dict(kinds)}")
    assert min(kinds[kind] for kind in [*KINDS, "restarts"]) >= len(seeds(FULL_SEEDS, least=8))


async def test_an_engine_that_keeps_the_moment_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug."""
    monkeypatch.setattr(JobTimes, "latest_begin", lambda _: None)
    monkeypatch.setattr(JobTimes, "begun_after", lambda *_: [])
    problems = []
    for seed in range(5):
        problems += await SetRight(Random(seed)).play()
    assert problems
