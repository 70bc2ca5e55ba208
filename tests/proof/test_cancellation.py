"""Row 6 of the reliability table: a caller is cancelled at every point, by scope and natively.

A caller writes, among other callers, on a seeded schedule. It is cancelled right before the n-th
step after its call, for n = 0, 1, 2 … until the answer comes first. Its write is applied whole or
not at all, all of a bulk call or none; the engine serves on, the same caller too; and the history
is linearizable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from engine import JobEngine
from tests.tries import first_seed, repeatable, report, tries

from .faults import MovesOneByOne
from .linearizability import UNKNOWN, Recorder
from .scenario import (
    LONG_ENOUGH_SECONDS,
    MakeEngine,
    call,
    check_numbers,
    make_engine,
)
from .schedules import Schedule
from .specification import Create, Get, Go, History, Request
from .storages import yielding

FULL_COUNT = 10_000
WRITES: list[Request] = [
    Create(("new",)),
    Create(("new", "newer")),
    Go(("a",), "running"),
    Go(("a", "c"), "running", expected_version=1),
]


@dataclass
class Victim:
    """A write that is cancelled before a given step.

    Attributes:
        natively: Whether to use the task's `cancel`, on asyncio, instead of a cancel scope.
        before_step: The step, counted from the call.
    """

    seed: int
    backend: str
    natively: bool
    write: Request
    before_step: int
    recorder: Recorder = field(default_factory=Recorder)

    def run(self, make: MakeEngine = make_engine) -> bool:
        """Run the scene and check the promises; return whether the write was cancelled."""
        self._schedule = Schedule(self.seed)
        self._schedule.run(self.backend, self._scene, make)
        self.recorder.check()
        return self.recorder.count(UNKNOWN) > 0

    async def _scene(self, make: MakeEngine) -> None:
        storage = yielding(self.seed)
        with anyio.fail_after(LONG_ENOUGH_SECONDS):
            async with make(storage) as engine:
                await call(self.recorder, engine, Create(("a", "b", "c")))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._other, engine)
                    tasks.start_soon(self._cancelled, engine)
                for job in ("a", "b", "c", "new", "newer"):
                    await call(self.recorder, engine, Get((job,)))
                await call(self.recorder, engine, History(("a",)))
                await check_numbers(engine)

    async def _other(self, engine: JobEngine[Any]) -> None:
        await call(self.recorder, engine, Get(("a", "b")))
        await call(self.recorder, engine, Go(("b",), "running"))

    async def _cancelled(self, engine: JobEngine[Any]) -> None:
        with anyio.CancelScope() as scope:
            task = asyncio.current_task() if self.natively else None
            step = len(self._schedule.trace) + self.before_step
            self._schedule.before(step, task.cancel if task else scope.cancel)
            try:
                await call(self.recorder, engine, self.write)
            except asyncio.CancelledError:
                if task is None:
                    raise
                task.uncancel()
        await call(self.recorder, engine, Create(("own",)))


def points(backend: str) -> Iterator[tuple[int, bool, Request]]:
    """Yield seeds, ways and writes without end."""
    seed = first_seed()
    while True:
        for natively in {False, backend == "asyncio"}:
            for write in WRITES:
                yield seed, natively, write
        seed += 1


def test_a_cancelled_write_is_applied_whole_or_not_at_all(anyio_backend: str) -> None:
    count = cut_off = 0
    for seed, natively, write in points(anyio_backend):
        steps = -1
        hit = True
        while hit:
            steps += 1
            where = f"{anyio_backend}, {write}, {natively=}, before step {steps}"
            with repeatable(seed, where):
                hit = Victim(seed, anyio_backend, natively, write, steps).run()
            cut_off += hit
        count += steps + 1
        if count >= tries(FULL_COUNT):
            break
    report(f"{anyio_backend}: seeds {first_seed()} to {seed}, {count} points, {cut_off} cut off")
    assert cut_off > 0.6 * count


def test_a_bulk_that_is_applied_in_part_is_found(anyio_backend: str) -> None:
    make = partial(make_engine, kind=MovesOneByOne)
    both = Go(("a", "c"), "running")
    found = 0
    for step in range(30):
        with suppress(AssertionError):
            Victim(1, anyio_backend, natively=False, write=both, before_step=step).run(make)
            continue
        found += 1
    report(f"{anyio_backend}: half a bulk call showed at {found} of 30 points")
    assert 0 < found < 30
