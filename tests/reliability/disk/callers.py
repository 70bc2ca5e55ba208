"""Callers that create jobs and move them on, one by one and in bulk, and record their answers.

A caller has jobs of its own, and makes one call at a time. It repeats a refused call, and drops the
jobs of a call with an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random

from engine import EngineError, Job, JobEngine, JobStatus, Move, NewJob, StorageError
from tests.reliability.disk.account import Account, Told, brief

TRIES = 3
MOVES: tuple[list[JobStatus], ...] = (
    [JobStatus.RUNNING, JobStatus.COMPLETED],
    [JobStatus.RUNNING, JobStatus.FAILED],
    [JobStatus.RUNNING],
    [],
)
SMALL = 200
LARGE = 6_000
"""The length of a result: a commit then writes several pages."""


class Caller:
    """A caller."""

    def __init__(
        self,
        name: str,
        engine: JobEngine,
        account: Account,
        random: Random,
    ) -> None:
        self._name = name
        self._engine = engine
        self._account = account
        self._random = random
        self._created = 0

    async def work(self, rounds: int) -> None:
        for _ in range(rounds):
            many = self._random.randrange(2, 12) if self._random.random() < 0.3 else 1
            await self._work_on(many)

    async def _work_on(self, count: int) -> None:
        """Create some jobs and move them on, all of them together."""
        jobs = await self._create(count)
        for status in self._random.choice(MOVES) if jobs else ():
            jobs = await self._move(jobs, status)
            if not jobs:
                break

    async def _create(self, count: int) -> Sequence[Job]:
        items: list[NewJob] = []
        for _ in range(count):
            self._created += 1
            input_hash = f"{self._name} {self._created}"
            key = f"key of {input_hash}" if self._random.random() < 0.5 else None
            items.append(NewJob(input_hash, idempotency_key=key))

        async def call() -> list[Job]:
            if count > 1:
                return await self._engine.create_many(items)
            [item] = items
            return [
                await self._engine.create(item.input_hash, idempotency_key=item.idempotency_key)
            ]

        hashes = [item.input_hash or "" for item in items]
        return await self._write(call, hashes, 1, JobStatus.AWAITING_PAYMENT)

    async def _move(self, jobs: Sequence[Job], status: JobStatus) -> Sequence[Job]:
        text = "x" * self._random.choice([SMALL, SMALL, LARGE])
        moves = [
            Move(
                job.job_id,
                status,
                result=text if status is JobStatus.COMPLETED else None,
                error=text if status is JobStatus.FAILED else None,
                expected_version=job.version,
            )
            for job in jobs
        ]

        async def call() -> list[Job]:
            if len(moves) > 1:
                return await self._engine.transition_many(moves)
            [move] = moves
            return [
                await self._engine.transition(
                    move.job_id,
                    move.target,
                    result=move.result,
                    error=move.error,
                    expected_version=move.expected_version,
                )
            ]

        hashes = [job.input_hash for job in jobs]
        return await self._write(call, hashes, jobs[0].version + 1, status)

    async def _write(
        self,
        call: Callable[[], Awaitable[Sequence[Job]]],
        input_hashes: Sequence[str],
        version: int,
        status: JobStatus,
    ) -> Sequence[Job]:
        """Write until it is applied, unknown, or refused too often; return the jobs after it."""
        for _ in range(TRIES):
            attempt = await self._account.write(call(), input_hashes, version, status)
            await self._read()
            if attempt.told is not Told.REFUSED:
                return attempt.jobs
        return ()

    async def _read(self) -> None:
        """Read something; it must show all that was shown before."""
        if not self._account.shown:
            return
        _, known = self._random.choice(self._account.shown)
        before = self._account.newest(self._account.moment())
        try:
            job = await self._engine.get(known.job_id)
            history = await self._engine.history(known.job_id)
            count = await self._engine.count()
            page = await self._engine.list_jobs(limit=3)
        except StorageError as error:
            self._account.refused_reads.append(error)
            return
        except EngineError as error:
            self._account.disagree(f"{brief(known)} can't be read: {error!r}")
            return
        self._account.reads += 1
        self._account.show([job, *page.jobs])
        if job.version < before[job.input_hash].version or len(history) < job.version:
            self._account.disagree(f"{brief(job)} and {len(history)} lines after {known.version}")
        if count < len(before):
            self._account.disagree(f"{count} jobs after {len(before)}")
