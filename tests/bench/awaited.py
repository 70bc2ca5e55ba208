"""Awaited calls, one message each, and bulk calls."""

from __future__ import annotations

from typing import Any

import anyio

from engine import JobEngine, JobStatus, Move, NewJob
from tests.bench.floors import AsyncioActor, LockedDict, PlainJob
from tests.bench.measure import Best, by_callers, repeated, timed
from tests.bench.rows import Row

_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
_BULK = 1_000


def rows(operations: int, turns: int) -> list[Row]:
    """Measure awaited and bulk calls; each side ``turns`` times or more, best of each."""
    best = Best()
    for _ in repeated("awaited calls", turns, lambda: _table(best)):
        _plain_loop(best, operations)
        anyio.run(_actor, best, operations)
        for backend in ("asyncio", "trio"):
            anyio.run(_engine, best, operations, backend, backend=backend)
        anyio.run(_bulk, best, operations)
    return _table(best)


def _table(best: Best) -> list[Row]:
    return [*_call_rows(best), *_bulk_rows(best)]


def _call_rows(best: Best) -> list[Row]:
    get, create, transition = (f"asyncio {call}" for call in ("get", "create", "transition"))
    table = [
        Row("awaited get, 100 callers", best[get], "(b)", best["(b) get"], 0.6),
        Row("awaited create, 100 callers", best[create], "(a)", best["(a) create"], 0.8),
        Row(
            "awaited transition, 100 callers", best[transition], "(b)", best["(b) transition"], 0.72
        ),
    ]
    table += [
        Row(f"{call} on trio, 100 callers", best[f"trio {call}"], "asyncio", best[name], 0.5)
        for call, name in (("get", get), ("create", create), ("transition", transition))
    ]
    return table


def _bulk_rows(best: Best) -> list[Row]:
    return [
        Row("create_many of 1,000", best["create_many"], "(a)", best["(a) create"], 1.0),
        Row(
            "transition_many of 1,000", best["transition_many"], "(a)", best["(a) transition"], 1.7
        ),
    ]


def _plain_loop(best: Best, operations: int) -> None:
    """(a): called in a plain loop."""
    jobs = LockedDict()
    made: list[PlainJob] = []
    seconds = timed(lambda: made.extend(jobs.create(_HASH) for _ in range(operations)))
    best.add("(a) create", operations, seconds)
    ids = [job.job_id for job in made]
    seconds = timed(lambda: [jobs.transition(job_id, JobStatus.RUNNING) for job_id in ids])
    best.add("(a) transition", operations, seconds)


async def _actor(best: Best, operations: int) -> None:
    actor = AsyncioActor()
    await _three_calls(best, "(b)", actor, operations)
    actor.stop()


async def _engine(best: Best, operations: int, name: str) -> None:
    async with JobEngine() as engine:
        await _three_calls(best, name, engine, operations)


async def _three_calls(best: Best, name: str, jobs: Any, operations: int) -> None:
    """Create jobs, get them, move them: the same calls on the engine and its floors."""
    ids: list[str] = []

    async def create(input_hash: str) -> None:
        ids.append((await jobs.create(input_hash)).job_id)

    async def move(job_id: str) -> None:
        await jobs.transition(job_id, JobStatus.RUNNING)

    best.add(f"{name} create", operations, await by_callers(100, [_HASH] * operations, create))
    best.add(f"{name} get", operations, await by_callers(100, ids, jobs.get))
    best.add(f"{name} transition", operations, await by_callers(100, ids, move))


async def _bulk(best: Best, operations: int) -> None:
    rounds = max(1, operations // _BULK)
    async with JobEngine() as engine:
        ids: list[list[str]] = []

        async def create(jobs: list[NewJob]) -> None:
            ids.append([job.job_id for job in await engine.create_many(jobs)])

        new = [[NewJob(_HASH) for _ in range(_BULK)] for _ in range(rounds)]
        best.add("create_many", rounds * _BULK, await by_callers(1, new, create))
        moves = [[Move(job_id, JobStatus.RUNNING) for job_id in some] for some in ids]
        seconds = await by_callers(1, moves, engine.transition_many)
        best.add("transition_many", rounds * _BULK, seconds)
