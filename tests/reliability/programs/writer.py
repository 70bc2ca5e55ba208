"""Write to a file until killed, and report each answered call.

For `tests.reliability.programs.zygote`. It opens an engine, lets some callers write, closes it, and
begins again. Each call is about one batch of jobs; their names hold the batch and its size. The
lines:

* ``["phase", name]``: "opening", "open", "closing", "closed"
* ``["asked", input_hash]``: the program is about to create one job, with a key
* ``["told", batch, version, status, job_ids]``: the answer to a call
* ``["repeated", input_hash, job_id, version]``: the answer to a repeated creation of a job
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, TypeAlias
from zlib import crc32

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Job, JobEngine, JobStatus, Move, NewJob, SQLiteStorage, SyncJobEngine
from engine.storage.audit import AuditLine
from engine.storage.record import Change
from tests.inline import InlineStorage
from tests.reliability.programs.zygote import Order, say

CALLERS = 4
MOST_BATCHES = 6
"""The most batches that a caller writes before the engine is closed."""
COMMITS_IN_THE_LOG = 5
"""The pages in the log that cause a checkpoint; the storage's own limit is some hundreds."""
MOVES: tuple[list[JobStatus], ...] = (
    [],
    [JobStatus.RUNNING],
    [JobStatus.RUNNING, JobStatus.COMPLETED],
    [JobStatus.RUNNING, JobStatus.FAILED],
)
WHO = "writer"
Calls: TypeAlias = Generator[tuple[str, Sequence[Any]], list[Job], None]


class EarlyStorage(SQLiteStorage):
    """Its bug: it acknowledges a batch, and commits it with the next one."""

    _late: Sequence[Change] = ()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        late, self._late = self._late, changes
        if late:
            await super().commit(late, lines)

    async def aclose(self) -> None:
        await self.commit(())
        await super().aclose()


class LateAuditStorage(SQLiteStorage):
    """Its bug: it commits the lines of the audit behind their transitions."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(changes)
        if lines:
            await self.note_acts(lines)


class SplitStorage(SQLiteStorage):
    """Its bug: it commits a batch in two halves."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        middle = len(changes) // 2
        for half in (changes[:middle], changes[middle:]):
            if half:
                await super().commit(half, lines)


KINDS = {
    "sound": SQLiteStorage,
    "inline": InlineStorage,
    "early": EarlyStorage,
    "split": SplitStorage,
    "late audit": LateAuditStorage,
}


def key_of(input_hash: str) -> str:
    """Return the idempotency key of a job."""
    return f"key of {input_hash}"


def text_of(input_hash: str, batch_version: int) -> str:
    """Return the result or error of a job: it differs from all others, also in size."""
    text = f"{input_hash}, version {batch_version}. "
    return text * (1 + crc32(text.encode()) % 60)


def _calls(random: Random, name: str) -> Calls:
    """Yield one call after another, and receive their jobs."""
    for number in range(1, 1 + random.randrange(1, MOST_BATCHES)):
        size = random.randrange(2, 25) if random.random() < 0.4 else 1
        batch = f"{name} {number}"
        hashes = [f"{batch} {index}/{size}" for index in range(size)]
        if size == 1:
            say("asked", hashes[0])
        jobs = yield "create_many", [NewJob(each, idempotency_key=key_of(each)) for each in hashes]
        _tell(batch, jobs)
        for target in random.choice(MOVES):
            jobs = yield "transition_many", [_move(job, target) for job in jobs]
            _tell(batch, jobs)


def _move(job: Job, target: JobStatus) -> Move[JobStatus]:
    text = text_of(job.input_hash, job.version + 1)
    return Move(
        job.job_id,
        target,
        result=text if target is JobStatus.COMPLETED else None,
        error=text if target is JobStatus.FAILED else None,
        expected_version=job.version,
        by=WHO,
    )


def _tell(batch: str, jobs: Sequence[Job]) -> None:
    say("told", batch, jobs[0].version, jobs[0].status, [job.job_id for job in jobs])


class Writer:
    """Writes as an order says, by its ``path``, ``name``, ``storage`` and ``repeat``."""

    def __init__(self, order: Order) -> None:
        self._path = Path(order["path"])
        self._name = str(order["name"])
        self._kind = KINDS[order["storage"]]
        self._random = Random(self._name)
        self._repeat: list[str] = order["repeat"]
        self._sessions = 0

    def _storage(self) -> SQLiteStorage:
        say("phase", "opening")
        return self._kind(self._path)

    def _begin(self) -> list[Calls]:
        say("phase", "open")
        self._sessions += 1
        return [
            _calls(Random(self._random.random()), f"{self._name} {caller} {self._sessions}")
            for caller in range(CALLERS)
        ]

    async def work(self) -> None:
        """Write for ever, with tasks."""
        while True:
            async with JobEngine(self._storage()) as engine:
                callers = self._begin()
                for each in self._repeat if self._sessions == 1 else ():
                    job = await engine.create(each, idempotency_key=key_of(each))
                    say("repeated", each, job.job_id, job.version)
                async with anyio.create_task_group() as tasks:
                    for calls in callers:
                        tasks.start_soon(_await_all, engine, calls)
                say("phase", "closing")
            say("phase", "closed")

    def block(self) -> None:
        """Write for ever, with threads."""
        while True:
            with SyncJobEngine(self._storage()) as engine:
                callers = self._begin()
                for each in self._repeat if self._sessions == 1 else ():
                    job = engine.create(each, idempotency_key=key_of(each))
                    say("repeated", each, job.job_id, job.version)
                with ThreadPoolExecutor(CALLERS) as threads:
                    list(threads.map(_block_all, [engine] * CALLERS, callers))
                say("phase", "closing")
            say("phase", "closed")


async def _await_all(engine: JobEngine, calls: Calls) -> None:
    name, items = next(calls)
    try:
        while True:
            name, items = calls.send(await getattr(engine, name)(items))
    except StopIteration:
        return


def _block_all(engine: SyncJobEngine, calls: Calls) -> None:
    name, items = next(calls)
    try:
        while True:
            name, items = calls.send(getattr(engine, name)(items))
    except StopIteration:
        return


def warm() -> None:
    """Run both event loops once, and make checkpoints frequent."""
    pytest.MonkeyPatch().setattr("engine.storage.sqlite.database._LOG_COMMITS", COMMITS_IN_THE_LOG)
    for backend in ("asyncio", "trio"):
        anyio.run(checkpoint, backend=backend)


def run(order: Order) -> None:
    """Write as an order says, with the backend or the threads that it names."""
    writer = Writer(order)
    if order["callers"] == "threads":
        writer.block()
    else:
        anyio.run(writer.work, backend=order["callers"])
