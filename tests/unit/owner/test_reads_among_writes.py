"""Reads wait only for the current commit, and come after writes of cancelled callers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from engine import Job, JobEngine, JobStatus, MemoryStorage
from engine.storage.audit import AuditLine
from engine.storage.record import Change

pytestmark = pytest.mark.anyio


class Gated(MemoryStorage):
    """Holds each commit until its gate opens; the first two are open."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.gates = [anyio.Event() for _ in range(5)]
        for gate in self.gates[:2]:
            gate.set()

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.begun += 1
        await self.gates[self.begun - 1].wait()
        await super().commit(changes, lines)

    async def until_begun(self, commits: int) -> None:
        with anyio.fail_after(60):
            while self.begun < commits:
                await checkpoint()


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await checkpoint()


def _reading(
    engine: JobEngine, job_id: str, seen: list[Job]
) -> Callable[[], Coroutine[Any, Any, None]]:
    async def read() -> None:
        seen.append(await engine.get(job_id))

    return read


async def test_a_read_is_answered_while_the_writes_beside_it_are_being_committed() -> None:
    storage = Gated()
    async with JobEngine(storage) as engine:
        job = await engine.create("a")
        await engine.create("b")
        seen: list[Job] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "c")
            await storage.until_begun(3)
            tasks.start_soon(engine.transition, job.job_id, JobStatus.RUNNING)
            tasks.start_soon(_reading(engine, job.job_id, seen))
            await _settle()
            storage.gates[2].set()
            await storage.until_begun(4)
            await _settle()
            seen_before_the_commit = list(seen)
            storage.gates[3].set()
        assert seen_before_the_commit == [job]
        assert (await engine.get(job.job_id)).status is JobStatus.RUNNING


async def test_a_read_after_a_cancelled_write_tells_what_became_of_it() -> None:
    storage = Gated()
    async with JobEngine(storage) as engine:
        job = await engine.create("a")
        await engine.create("b")
        seen: list[Job] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.create, "c")
            await storage.until_begun(3)
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(engine.transition, job.job_id, JobStatus.RUNNING)
                await _settle()
                cancelled.cancel_scope.cancel()
            tasks.start_soon(_reading(engine, job.job_id, seen))
            await _settle()
            for gate in storage.gates:
                gate.set()
        assert [each.status for each in seen] == [JobStatus.RUNNING]
