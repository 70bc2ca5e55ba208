"""Claims while a million jobs are ready: of a hundred kinds, and of one.

A claim is what a worker sends for its free places. It is answered with jobs of its kinds, in turn,
once their attempts are committed. Both engines keep their jobs in memory, and take turns.
"""

from __future__ import annotations

import gc
import time
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio

from engine import JobEngine, NewJob, Retry
from engine.domain.deaths import DeathRule
from engine.owner.commands.claim import ClaimJobs
from engine.owner.free_places import FreePlaces, KindPlaces
from tests.bench.durable_floors import HASH
from tests.bench.measure import progress, repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row

KINDS: Final = 100
_TARGET: Final = 0.8
_BULK: Final = 1_000
_RULE: Final = DeathRule(3, idempotent=True, retry=Retry())
PLACES: Final = (10, 100)
"""The free places of a claim: those of a default worker, and of a large one."""


def rows(rounds: Rounds, ready: int, claimed: int, turns: int) -> list[Row]:
    """Measure claims of ``claimed`` jobs in each turn, among so many that are ready."""
    return anyio.run(_rows, rounds, ready, claimed, turns)


async def _rows(rounds: Rounds, ready: int, claimed: int, turns: int) -> list[Row]:
    async with AsyncExitStack() as stack:
        engines = {kinds: await stack.enter_async_context(JobEngine()) for kinds in (1, KINDS)}
        for kinds, engine in engines.items():
            await _fill(engine, kinds, ready)
        for _ in repeated("claims", turns, lambda: _table(rounds, ready)):
            for places in PLACES:
                for kinds, engine in engines.items():
                    rate = claimed / await _claim(engine, kinds, places, claimed)
                    rounds.add(f"{kinds} {places}", rate)
    return _table(rounds, ready)


def _table(rounds: Rounds, ready: int) -> list[Row]:
    return [
        Row(
            f"jobs claimed, {places} at a time, of {KINDS} kinds and {ready:,} ready jobs",
            rounds[f"{KINDS} {places}"],
            "of one kind",
            rounds[f"1 {places}"],
            _TARGET,
        )
        for places in PLACES
    ]


async def _fill(engine: JobEngine, kinds: int, ready: int) -> None:
    new = [NewJob(HASH, kind=f"kind-{number % kinds}", start=True) for number in range(_BULK)]
    for first in range(0, ready, _BULK):
        await engine.create_many(new[: ready - first])
        progress(f"{first:,} of {ready:,} jobs of {kinds} kinds")


async def _claim(engine: JobEngine[Any], kinds: int, free: int, jobs: int) -> float:
    """Claim so many jobs, as many at a time as places are free; return the seconds."""
    each = {f"kind-{number}": KindPlaces(free, _RULE) for number in range(kinds)}
    gc.collect()
    start = time.perf_counter()
    for _ in range(jobs // free):
        claim = ClaimJobs(FreePlaces(free, each), lambda: None)
        await engine.core.inbox.put(claim, internal=True).wait()
        if len(claim.outcome()) != free:
            raise RuntimeError("a claim got too few jobs")
    return time.perf_counter() - start
