"""Promise 3 with many engines: the history of their callers on one place is linearizable.

Each seed is one schedule and one small scenario: callers of three engines, some of them cancelled,
the engines closed in the middle, and commits whose answer is lost. The storage is as simple as can
be; a smaller test has a real server.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import pytest

from engine import Storage
from engine.storage.answers import Committed
from engine.storage.postgres import PostgresStorage
from engine.storage.record import Change
from tests.postgres import Databases
from tests.tries import repeatable, report, seeds

from .linearizability import REFUSED, UNKNOWN
from .scenario import LONG_ENOUGH_SECONDS, Load, call, make_engine
from .schedules import Schedule
from .shared_storage import Place, PlainShared
from .specification import Create
from .storages import pause

FULL_COUNT = 4_000
FULL_COUNT_ON_A_DATABASE = 200
ENGINES = 3


class SharedLoad(Load):
    """Callers of several engines on one place."""

    async def run_on(
        self, place: Place, loses: int = 0, kind: type[PlainShared] = PlainShared
    ) -> None:
        storages = [kind(place, self.seed + n, loses) for n in range(ENGINES)]
        await self.run_all([*storages, PlainShared(place, self.seed)])
        if not loses:  # else the storage may not tell the outcome in time
            self.check_answered()

    async def run_all(self, storages: Sequence[Storage]) -> None:
        """Put an engine on each storage but the last under load, and look again by that one."""
        with anyio.fail_after(LONG_ENOUGH_SECONDS):
            async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
                engines = [
                    await stack.enter_async_context(make_engine(each)) for each in storages[:-1]
                ]
                await call(self.recorder, engines[0], Create(("a",)))
                for number in range(self.callers):
                    tasks.start_soon(self._caller, engines[number % len(engines)], number)
                tasks.start_soon(self._cutter)
                await pause(random.Random(self.seed).randrange(10, 40 * self.calls) * self.slowness)
            await self._look_again(make_engine(storages[-1]))
        self.recorder.check()

    def check_answered(self) -> None:
        assert self.recorder.count(UNKNOWN) <= self.cut_off, "a call ended without an answer"


def test_the_promises_hold_with_several_engines_under_every_schedule(anyio_backend: str) -> None:
    answered = unknown = refused = 0
    for seed in seeds(FULL_COUNT):
        load, schedule, place = SharedLoad(seed, anyio_backend, callers=6), Schedule(seed), Place()
        with repeatable(seed, anyio_backend):
            schedule.run(anyio_backend, load.run_on, place, 20 * (seed % 2))
        unknown += load.recorder.count(UNKNOWN)
        refused += load.recorder.count(REFUSED)
        answered += len(load.recorder.operations)
    answered -= unknown + refused
    count = len(seeds(FULL_COUNT))
    report(f"{answered} calls answered, {refused} refused, {unknown} cut off")
    assert answered > 8 * count
    assert refused > count / 10
    assert unknown > count / 5


@pytest.mark.thorough
@pytest.mark.anyio
async def test_the_history_of_engines_on_a_database_is_linearizable(
    anyio_backend: str, databases: Databases
) -> None:
    answered = 0
    for seed in seeds(FULL_COUNT_ON_A_DATABASE):
        load = SharedLoad(seed, anyio_backend, callers=12, calls=6, slowness=30)
        url = databases.new()
        with repeatable(seed, anyio_backend):
            await load.run_all([PostgresStorage(url) for _ in range(ENGINES + 1)])
            load.check_answered()
        databases.drop(url)
        answered += len(load.recorder.operations) - load.recorder.count(UNKNOWN)
    report(f"{anyio_backend}: {answered} calls answered or refused")
    assert answered > 20 * len(seeds(FULL_COUNT_ON_A_DATABASE))


class ComparesNothing(PlainShared):
    """Applies what was decided on old records."""

    def _in_the_way(self, changes: Sequence[Change]) -> None:
        """Compare nothing."""


class ResolvesWrongly(PlainShared):
    """Says that a commit whose answer was lost was not applied."""

    async def resolve(self, changes: Sequence[Change]) -> bool | Committed:
        await super().resolve(changes)
        return False


@pytest.mark.parametrize(("kind", "loses"), [(ComparesNothing, 0), (ResolvesWrongly, 20)])
def test_a_storage_that_breaks_its_promise_is_caught(
    anyio_backend: str, kind: type[PlainShared], loses: int
) -> None:
    with pytest.raises(AssertionError):
        for seed in range(300):
            load = SharedLoad(seed, anyio_backend, callers=6)
            Schedule(seed).run(anyio_backend, load.run_on, Place(), loses, kind)
