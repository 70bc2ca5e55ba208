"""Row 21 of the reliability table: the promises hold under every tested schedule.

Each seed is one schedule and one small scenario: callers of one engine, some of them cancelled, by
scope and natively, and the engine closed in the middle. Every call gets its answer; the history is
linearizable, including the reads of a new engine on the same storage at the end; and the changes
are numbered without gaps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.tries import repeatable, report, seeds

from .faults import DecidesOnAnOldRead
from .linearizability import REFUSED, UNKNOWN
from .scenario import Load, MakeEngine, make_engine
from .schedules import Schedule
from .storages import yielding

FULL_COUNT = 10_000


def explore(seed: int, backend: str, make: MakeEngine = make_engine) -> tuple[Load, Schedule]:
    load, schedule = Load(seed, backend), Schedule(seed)
    schedule.run(backend, load.run, yielding(seed), make)
    return load, schedule


def test_the_promises_hold_under_every_schedule(anyio_backend: str) -> None:
    answered = unknown = refused = 0
    schedules = set()
    for seed in seeds(FULL_COUNT):
        with repeatable(seed, anyio_backend):
            load, schedule = explore(seed, anyio_backend)
        unknown += load.recorder.count(UNKNOWN)
        refused += load.recorder.count(REFUSED)
        answered += len(load.recorder.operations)
        schedules.add(hash(tuple(schedule.trace)))
    answered -= unknown + refused
    count = len(seeds(FULL_COUNT))
    report(f"{anyio_backend}: {seeds(FULL_COUNT)}, {len(schedules)} different schedules")
    report(f"{answered} calls answered, {refused} refused, {unknown} cut off")
    assert len(schedules) > 0.99 * count
    assert answered > 8 * count
    assert refused > count / 10
    assert unknown > count / 5


def test_a_lost_update_is_found_under_some_schedules_only(anyio_backend: str) -> None:
    make = partial(make_engine, kind=DecidesOnAnOldRead)
    found = missed = 0
    for seed in range(200):
        try:
            explore(seed, anyio_backend, make)
            missed += 1
        except AssertionError:
            found += 1
        if found and missed:
            break
    report(f"{anyio_backend}: the lost update showed in {found} of {seed + 1} schedules")
    assert min(found, missed) > 0


async def chatter() -> list[int]:
    """Let ten tasks take turns, and return the order in which they ended."""
    ended: list[int] = []

    async def talk(number: int) -> None:
        for _ in range(3):
            await checkpoint()
        ended.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(talk, number)
    return ended


def test_the_same_seed_gives_the_same_schedule(anyio_backend: str) -> None:
    for seed in range(10):
        first, second = Schedule(seed), Schedule(seed)
        assert first.run(anyio_backend, chatter) == second.run(anyio_backend, chatter)
        assert first.trace == second.trace
        (load, one), (again, other) = explore(seed, anyio_backend), explore(seed, anyio_backend)
        assert one.trace == other.trace
        assert load.recorder.operations == again.recorder.operations


SHOW_TRACES = """
from {package}.test_schedules import explore
print([explore(seed, backend)[1].trace for backend in ("asyncio", "trio") for seed in range(5)])
"""


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_schedule_in_every_process() -> None:
    program = SHOW_TRACES.format(package=__package__)
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": salt},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(traces) == 1


def test_other_seeds_give_other_schedules(anyio_backend: str) -> None:
    assert len({tuple(Schedule(seed).run(anyio_backend, chatter)) for seed in range(50)}) == 50


def test_time_is_virtual(anyio_backend: str) -> None:
    async def sleep_for_a_year() -> float:
        start = anyio.current_time()
        await anyio.sleep(365 * 86_400)
        return anyio.current_time() - start

    started = time.monotonic()
    assert Schedule(0).run(anyio_backend, sleep_for_a_year) == pytest.approx(365 * 86_400)
    assert time.monotonic() - started < 60


def test_a_hang_is_a_timeout(anyio_backend: str) -> None:
    async def hang() -> None:
        with anyio.fail_after(3_600):
            await anyio.Event().wait()

    with pytest.raises(TimeoutError):
        Schedule(0).run(anyio_backend, hang)
