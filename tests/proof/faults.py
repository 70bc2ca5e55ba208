"""Planted faults: engines and storages that break a promise. Every harness must notice them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

from msgspec.structs import replace

from engine import Job, JobEngine, Move, SyncJobEngine
from engine.storage import CheckedOut, Names
from engine.storage.audit import AuditLine
from engine.storage.record import Change

from .specification import LIFECYCLE
from .storages import PlainStorage


class ReadsStale(JobEngine[Any]):
    """Answers a `get` with an earlier snapshot."""

    async def get(self, job_id: str) -> Job[Any]:
        seen: dict[str, Job[Any]] = self.__dict__.setdefault("seen", {})
        return seen.get(job_id) or seen.setdefault(job_id, await super().get(job_id))


class BlockingReadsStale(SyncJobEngine[Any]):
    """The same for threads."""

    def get(self, job_id: str, *, timeout: float | None = None) -> Job[Any]:
        seen: dict[str, Job[Any]] = self.__dict__.setdefault("seen", {})
        return seen.get(job_id) or seen.setdefault(job_id, super().get(job_id, timeout=timeout))


class LosesEnds(PlainStorage):
    """Keeps an ended job as it was before its end."""

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        ends = LIFECYCLE.final_values
        await super().commit(
            [_undone(each) if each.record.status in ends else each for each in changes], lines
        )


def _undone(change: Change) -> Change:
    record, before = change.record, str(change.from_status)
    return replace(change, record=replace(record, status=before, version=record.version - 1))


class AnswersBeforeCommit(PlainStorage):
    """Acknowledges changes before it commits them: the last ones are lost at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._commits: list[Sequence[Change]] = []

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        await super().commit(changes, lines)
        self._commits.append(changes)

    async def aclose(self) -> None:
        await super().aclose()
        durable = self._commits[:-1]
        self.changes, self.jobs, self._commits = [], {}, []
        for changes in durable:
            await self.commit(changes)


class ForgetsKeys(PlainStorage):
    """Does not find the idempotency keys of ended jobs."""

    async def checkout(self, names: Names) -> CheckedOut:
        return CheckedOut((await super().checkout(names)).ids)


class DecidesOnAnOldRead(JobEngine[Any]):
    """Lets other calls run between its read and its write: a lost update.

    Only some schedules show it.
    """

    async def transition(self, job_id: str, target: Enum, **how: Any) -> Job[Any]:  # noqa: ANN401 - handed on
        job = await super().get(job_id)
        await super().transition(job_id, target, **how)
        now = {"status": target, "version": job.version + 1, "result": how.get("result")}
        return Job[Any](**dict(job) | now)


class MovesOneByOne(JobEngine[Any]):
    """Makes the moves of a bulk call one by one: a cancelled call leaves some of them made."""

    async def transition_many(self, moves: Iterable[Move[Any]]) -> list[Job[Any]]:
        return [await self.transition(move.job_id, move.target) for move in moves]
