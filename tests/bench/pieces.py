"""The pieces of a `get` that its floors don't have."""

from __future__ import annotations

import gc
import random
import timeit
from collections.abc import Callable
from datetime import UTC, datetime

from engine.domain.epochs import Epochs
from engine.domain.ids import new_job_id
from engine.domain.models import PAID_JOB_LIFECYCLE
from engine.owner.commands.read import GetJobs
from engine.owner.views import Views
from engine.storage.record import Record
from tests.bench.floors import LockedDict, PlainJob
from tests.bench.measure import Best, progress

_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
_FEW = 1_000


def lines(jobs: int, operations: int, turns: int) -> list[str]:
    """Return a line for each piece."""
    views = Views(PAID_JOB_LIFECYCLE, {}, Epochs())
    job_id, now = new_job_id(), datetime.now(UTC)
    status = PAID_JOB_LIFECYCLE.initial_value
    record = Record(job_id, status, _HASH, None, now, now, 1)
    message = _microseconds(lambda: GetJobs.one(job_id), operations, turns)
    snapshot = _microseconds(lambda: views.job(record), operations, turns)
    few, many = _plain_get(_FEW, operations, turns), _plain_get(jobs, operations, turns)
    plain = (
        f"- (a), getting a job and reading six of its fields, takes {few:.2f} µs with {_FEW:,} "
        f"jobs and {many:.2f} µs with {jobs:,}: {many / few:.2f} times as long"
    )
    return [
        f"- to check the id and make the message takes {message:.2f} µs",
        f"- to make the snapshot takes {snapshot:.2f} µs",
        plain,
    ]


def _microseconds(call: Callable[[], object], operations: int, turns: int) -> float:
    return min(timeit.repeat(call, number=operations, repeat=turns)) / operations * 1e6


def _plain_get(jobs: int, operations: int, turns: int) -> float:
    """Return the microseconds in which (a) gets and reads a random job."""
    progress(f"(a) with {jobs:,} jobs")
    plain, best = LockedDict(), Best()
    gc.disable()  # it would walk all of them, again and again
    ids = [plain.create(f"{number:064}").job_id for number in range(jobs)]
    gc.enable()
    some = random.choices(ids, k=operations)

    def read() -> None:
        for job_id in some:
            _read(plain.get(job_id))

    for _ in range(turns):
        best.add("get", operations, timeit.timeit(read, number=1))
    return 1e6 / best["get"].counts


def _read(job: PlainJob) -> tuple[object, ...]:
    return (
        job.job_id,
        job.status,
        job.input_hash,
        job.blockchain_identifier,
        job.created_at,
        job.updated_at,
    )
