"""Follow-ups: paid jobs in a file, each followed by another job, beside the same jobs alone.

Both sides work as for users: jobs are created in bulks of 100, started by their payments, run by a
worker with handlers that do nothing, and over when the last commit is made. A follow-up is a job,
so a job with one is as much work as two.

A second measurement moves jobs, in one batch of the owner without a storage, past rules for the
status that they enter, of which none is for them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

import anyio

from engine import (
    ORDER_LIFECYCLE,
    Context,
    FollowUp,
    Job,
    JobEngine,
    Move,
    NewJob,
    OrderStatus,
    Worker,
)
from engine.domain.follow_up_rules import NONE, Rules, checked_rules
from engine.owner.batch import Batch
from engine.owner.commands.move import MoveJobs, checked_move
from engine.storage.answers import CheckedOut, Found
from engine.storage.record import Record
from tests.bench.durable import new_folder
from tests.bench.durable_floors import HASH
from tests.bench.measure import repeated
from tests.bench.rounds import Rounds
from tests.bench.rows import Row

BATCH = 100
RULES = (FollowUp("settle", to={OrderStatus.COMPLETED}),)
NOT_MATCHING = (
    FollowUp("a", to={OrderStatus.COMPLETED}, of="other"),
    FollowUp("b", to={OrderStatus.COMPLETED}, started=False),
    FollowUp("c", to={OrderStatus.COMPLETED}, labels={"region": "eu"}),
)
_CONCURRENCY = 1_000  # handlers that do nothing take no room
_LOOK_AGAIN_SECONDS = 0.001
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rows(rounds: Rounds, jobs: int, turns: int) -> list[Row]:
    """Measure jobs with follow-ups and without, and moves past rules and without any."""
    for _ in repeated("follow-ups", turns, lambda: _table(rounds)):
        for name, rules in (("alone", ()), ("followed", RULES)):
            rounds.add(name, jobs / _engine_seconds(rules, jobs))
        without, past = (_move_microseconds(rules, jobs) for rules in ((), NOT_MATCHING))
        rounds.add("past rules", past - without)
    return _table(rounds)


def _table(rounds: Rounds) -> list[Row]:
    return [
        Row("paid jobs with a follow-up", rounds["followed"], "without", rounds["alone"], 0.45),
        Row(
            "a move past 3 rules that don't match",
            rounds["past rules"],
            "limit",
            1.0,
            1.0,
            "µs",
            at_most=True,
        ),
    ]


def _engine_seconds(rules: Sequence[FollowUp[OrderStatus]], jobs: int) -> float:
    with new_folder() as folder:
        return anyio.run(_run_jobs, str(folder / "jobs.db"), rules, jobs)


async def _run_jobs(path: str, rules: Sequence[FollowUp[OrderStatus]], jobs: int) -> float:
    """Run jobs; return the seconds from the first call to the last commit."""
    left = jobs * (1 + len(rules))
    all_begun = anyio.Event()

    async def handle(job: Job[OrderStatus], context: Context[OrderStatus]) -> None:
        nonlocal left
        with suppress(ValueError):  # it is no follow-up
            assert context.parent.job_id != job.job_id
        left -= 1
        if not left:
            all_begun.set()

    total = left
    async with (
        JobEngine(path, lifecycle=ORDER_LIFECYCLE, follow_ups=rules) as engine,
        Worker(engine, {"default": handle, "settle": handle}, concurrency=_CONCURRENCY),
    ):
        gc.collect()
        start = time.perf_counter()
        payments = count()
        for _ in range(jobs // BATCH):
            new = [NewJob(HASH, payment_id=f"payment {next(payments)}") for _ in range(BATCH)]
            created = await engine.create_many(new)
            await engine.transition_many([Move(job.job_id, OrderStatus.RUNNING) for job in created])
        await all_begun.wait()
        while await engine.count(OrderStatus.COMPLETED) < total:  # noqa: ASYNC110 - as in `working`
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
        return time.perf_counter() - start


def _move_microseconds(rules: Sequence[FollowUp[OrderStatus]], jobs: int) -> float:
    """Return the time of deciding one move to a final status, beside some rules."""
    running = OrderStatus.RUNNING.value
    records = {
        f"job {number}": Record(
            *(f"job {number}", running, HASH, None, _NOON, _NOON, number), started_at=_NOON
        )
        for number in range(1, jobs + 1)
    }
    batch = Batch(
        ORDER_LIFECYCLE,
        now=_NOON,
        last_sequence=jobs,
        last_position=jobs,
        named=CheckedOut(Found(records)),
        find=lambda _: None,
        is_orphan=lambda _: False,
        strays=(),
        rules=Rules(checked_rules(rules, ORDER_LIFECYCLE)) if rules else NONE,
    )
    moves = [
        checked_move(ORDER_LIFECYCLE, Move(job_id, OrderStatus.COMPLETED)) for job_id in records
    ]
    message = MoveJobs(moves)
    gc.collect()
    start = time.perf_counter()
    message.decide(batch)
    return 1e6 * (time.perf_counter() - start) / jobs
