"""A small application under load: callers create, move and read a few jobs, and some are cancelled.

One seed gives all random numbers: a scenario on a seeded schedule (see `proof.schedules`) does the
same each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio

from engine import JobEngine, Storage, SyncJobEngine

from .linearizability import UNKNOWN, Recorder
from .specification import (
    LIFECYCLE,
    MOVES,
    Create,
    Get,
    Go,
    History,
    Request,
    new_id,
    send,
    shown,
)
from .storages import pause

JOBS = tuple("abcdef")
LONG_ENOUGH_SECONDS = 60

MakeEngine: TypeAlias = Callable[[Storage], JobEngine[Any]]


def make_engine(storage: Storage, kind: type[JobEngine[Any]] = JobEngine) -> JobEngine[Any]:
    return kind(storage, lifecycle=LIFECYCLE, new_id=new_id)


def draw_request(draw: random.Random, mark: str) -> Request:
    """Draw a request about one job or a few; the result of a success names its caller."""
    jobs = tuple(draw.choices(JOBS, (8, 3, 1, 1, 1, 1), k=draw.choice((1, 1, 1, 2, 3))))
    kind = draw.random()
    if kind < 0.15:
        return Create(jobs[::-1], content=draw.choice(("usual", "usual", "other")))
    if kind < 0.3:
        return Get(jobs)
    if kind < 0.4:
        return History(jobs[:1])
    often = ("running", "awaiting_input") * 3
    target = draw.choice([*often, *MOVES])
    version = draw.randrange(1, 4) if draw.random() < 0.2 else None
    return Go(jobs, target, mark if target == "completed" else None, version)


async def call(recorder: Recorder, engine: JobEngine[Any], request: Request) -> None:
    """Make a call and record its outcome."""
    with recorder.operation(request) as operation:
        operation.answer = shown(await send(engine, request))


def call_blocking(
    recorder: Recorder, engine: SyncJobEngine[Any], request: Request, timeout: float | None = None
) -> None:
    """Make a call from a thread and record its outcome."""
    with recorder.operation(request) as operation:
        operation.answer = shown(send(engine, request, timeout=timeout))


@dataclass
class Load:
    """Some callers of one engine, a task that cancels them at random, and the engine's end.

    Attributes:
        seed: The source of all random numbers.
        backend: On asyncio, some callers are cancelled natively.
        cut_off: The number of cancelled callers.
        slowness: The time that the engine takes and gets, as a multiple of that in memory.
        crashes: Whether the engine may crash. Then more calls have an unknown outcome.
    """

    seed: int
    backend: str
    callers: int = 4
    calls: int = 4
    slowness: int = 1
    crashes: bool = False
    recorder: Recorder = field(default_factory=Recorder)
    cut_off: int = 0
    _scopes: dict[int, anyio.CancelScope] = field(default_factory=dict)
    _tasks: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    _natively_cancelled: set[int] = field(default_factory=set)

    async def run(self, storage: Storage, make: MakeEngine = make_engine) -> None:
        """Put an engine under load, close it in the middle, and check all promises."""
        with anyio.fail_after(LONG_ENOUGH_SECONDS):
            async with anyio.create_task_group() as tasks, make(storage) as engine:
                await call(self.recorder, engine, Create(("a",)))
                for number in range(self.callers):
                    tasks.start_soon(self._caller, engine, number)
                tasks.start_soon(self._cutter)
                await pause(random.Random(self.seed).randrange(10, 20 * self.calls) * self.slowness)
            await self._look_again(make(storage))
        self.recorder.check()
        if not self.crashes:
            assert self.recorder.count(UNKNOWN) <= self.cut_off, "a call ended without an answer"

    async def _caller(self, engine: JobEngine[Any], number: int) -> None:
        draw = random.Random(f"{self.seed} {number}")
        if self.backend == "asyncio" and (task := asyncio.current_task()):
            self._tasks[number] = task
        try:
            for n in range(self.calls):
                await pause(draw.randrange(3))
                with anyio.CancelScope() as self._scopes[number]:
                    await call(self.recorder, engine, draw_request(draw, f"{number}.{n}"))
        except anyio.get_cancelled_exc_class():
            if number not in self._natively_cancelled:
                raise

    async def _cutter(self) -> None:
        draw = random.Random(f"{self.seed} cutter")
        for _ in range(self.callers // 2):
            await pause(draw.randrange(2, 12) * self.slowness)
            number = draw.randrange(self.callers)
            if number in self._tasks and draw.random() < 0.3:
                self._natively_cancelled.add(number)
                self._tasks[number].cancel()
            elif number in self._scopes:
                self._scopes[number].cancel()
            self.cut_off += 1

    async def _look_again(self, opened_again: JobEngine[Any]) -> None:
        """Read the jobs that are left, as a part of the history, and check the numbers."""
        async with opened_again as engine:
            for job in JOBS:
                await call(self.recorder, engine, Get((job,)))
                await call(self.recorder, engine, History((job,)))
            await check_numbers(engine)


async def check_numbers(engine: JobEngine[Any]) -> None:
    """Check that the changes are numbered without gaps, and every version is in the history."""
    numbers: list[int] = []
    for job in (await engine.list_jobs(limit=1_000)).jobs:
        lines = await engine.history(job.job_id)
        before = [None, *(line.to_status for line in lines[:-1])]
        assert [line.from_status for line in lines] == before, f"lost a line: {lines}"
        assert (lines[-1].to_status, len(lines)) == (job.status, job.version), f"lost: {lines}"
        numbers += [line.sequence for line in lines]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "lost a number"
    assert (await engine.statistics()).last_sequence == len(numbers), "lost the last number"
