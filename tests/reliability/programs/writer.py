"""Write to a file until killed, and report each answered call.

For `tests.reliability.programs.zygote`. It opens an engine, lets some callers write, closes it, and
begins again. Each call is about one batch of jobs, whose names hold the batch and its size; those
of one caller pause and resume kinds and gates. The lines:

* ``["phase", name]``: "opening", "open", "closing", "closed"
* ``["asked", input_hash]``: the program is about to create one job, with a key
* ``["told", batch, version, status, job_ids]``: the answer to a call
* ``["repeated", input_hash, job_id, version]``: the answer to a repeated creation of a job
* ``["pausing", reason]``: the program is about to pause or resume something for this reason
* ``["paused", reason, changed]``: the answer to that
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
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
"""Beside them, one pauses and resumes."""
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
PAUSABLE = ({"kind": "a"}, {"kind": "b"}, {"gate": "a"})
WHO = "writer"
Calls: TypeAlias = Generator[Callable[[Any], Any], Any, None]
"""Calls of an engine of either kind; takes their answers."""


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


class LatePausesStorage(SQLiteStorage):
    """Its bug: it commits the lines of pauses with the next ones."""

    _late: Sequence[AuditLine] = ()

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        late, self._late = self._late, lines
        return await super().keep_pauses(text, before, late)

    async def aclose(self) -> None:
        if self._late:
            await self.note_acts(self._late)
        await super().aclose()


class EarlyPausesStorage(SQLiteStorage):
    """Its bug: it acknowledges pauses, and keeps them with the next ones."""

    _late: tuple[str, str, Sequence[AuditLine]] | None = None

    async def pauses(self) -> str:
        return await super().pauses() if self._late is None else self._late[0]

    async def keep_pauses(self, text: str, before: str, lines: Sequence[AuditLine] = ()) -> bool:
        late, self._late = self._late, (text, before, lines)
        return late is None or await super().keep_pauses(*late)

    async def aclose(self) -> None:
        if self._late is not None:
            await super().keep_pauses(*self._late)
        await super().aclose()


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
    "late pauses": LatePausesStorage,
    "early pauses": EarlyPausesStorage,
}


def key_of(input_hash: str) -> str:
    """Return the idempotency key of a job."""
    return f"key of {input_hash}"


def text_of(input_hash: str, batch_version: int) -> str:
    """Return the result or error of a job: it differs from all others, also in size."""
    text = f"{input_hash}, version {batch_version}. "
    return text * (1 + crc32(text.encode()) % 60)


def _writes(random: Random, name: str) -> Calls:
    """Create jobs and move them on."""
    for number in range(1, 1 + random.randrange(1, MOST_BATCHES)):
        size = random.randrange(2, 25) if random.random() < 0.4 else 1
        batch = f"{name} {number}"
        hashes = [f"{batch} {index}/{size}" for index in range(size)]
        if size == 1:
            say("asked", hashes[0])
        new = [NewJob(each, idempotency_key=key_of(each)) for each in hashes]
        jobs = yield methodcaller("create_many", new)
        _tell(batch, jobs)
        for target in random.choice(MOVES):
            jobs = yield methodcaller("transition_many", [_move(job, target) for job in jobs])
            _tell(batch, jobs)


def _pauses(random: Random, name: str) -> Calls:
    """Pause and resume kinds and gates."""
    for number in range(1, 1 + random.randrange(1, 3 * MOST_BATCHES)):
        act, named, reason = (
            *(random.choice(["pause", "resume"]), random.choice(PAUSABLE)),
            f"{name} {number}",
        )
        say("pausing", reason)
        changed = yield methodcaller(act, **named, by=WHO, reason=reason)
        say("paused", reason, changed)


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
            (_writes if caller else _pauses)(
                Random(self._random.random()), f"{self._name} {caller} {self._sessions}"
            )
            for caller in range(CALLERS + 1)
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
                with ThreadPoolExecutor(len(callers)) as threads:
                    list(threads.map(_block_all, [engine] * len(callers), callers))
                say("phase", "closing")
            say("phase", "closed")


async def _await_all(engine: JobEngine, calls: Calls) -> None:
    call = next(calls)
    try:
        while True:
            call = calls.send(await call(engine))
    except StopIteration:
        return


def _block_all(engine: SyncJobEngine, calls: Calls) -> None:
    call = next(calls)
    try:
        while True:
            call = calls.send(call(engine))
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
