"""Count the live jobs of each kind, in steps, and tell of the engines that run them."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from engine.owner.commands.command import Read
from engine.owner.message import Message
from engine.owner.sources import Sources
from engine.owner.state import State
from engine.portal.time import read_clock
from engine.storage.filter import newest_time
from engine.storage.overview import COUNTED_JOBS, EngineRow, KindCounts, merged
from engine.storage.record import Record
from engine.storage.shared import Shared

_STEP_JOBS: Final = 2_000  # which takes some milliseconds


class _HeldJobs(NamedTuple):
    """The jobs that an engine holds, as they were when the count began."""

    records: Sequence[Record]
    begin: int
    """Those before are counted."""


class _StoredJobs(NamedTuple):
    """The jobs that a shared storage has."""

    statuses: Sequence[str]
    """Those that are left to count; the first one is begun."""
    after: int = 0
    counted: int = 0
    """So many of the first status are counted."""


_Left: TypeAlias = _HeldJobs | _StoredJobs


class Step(NamedTuple):
    """What a step has counted, and what it has left."""

    kinds: Sequence[KindCounts]
    left: _Left | None
    are_all: bool = True
    """Whether none was left out for good."""


class KindsNow(NamedTuple):
    """The live jobs of each kind."""

    kinds: Sequence[KindCounts]
    are_all: bool
    """Whether all live jobs are counted. A shared storage counts `COUNTED_JOBS` of each status."""


def count_kinds() -> Generator[Message[Any], Any, KindsNow]:
    """Count the live jobs of each kind.

    In a shared storage, a job that moves meanwhile may be counted twice, or not.

    Yields:
        Messages; takes their answers. Others are answered in between.
    """
    parts, are_all = list[KindCounts](), True
    step: Step = yield CountKinds()
    while True:
        parts += step.kinds
        are_all &= step.are_all
        if step.left is None:
            return KindsNow(merged(parts), are_all)
        step = yield CountKinds(step.left)


class CountKinds(Read[Step]):
    """Count the live jobs of each kind, or some of them; `count_kinds` counts all."""

    __slots__ = ("left",)

    def __init__(self, left: _Left | None = None) -> None:
        super().__init__()
        self.left = left

    async def read(self, sources: Sources) -> Step:
        """See `Read.read`."""
        state = sources.state
        now, shared = state.time_of(read_clock(sources.clock)), state.shared
        if shared is None:
            left = self.left or _HeldJobs(tuple(state.table.records()), 0)
            return _count_held(state, left, now)
        return await _count_stored(shared, self.left or _live_in(state), state, now)


def _count_held(state: State, left: _Left, now: datetime) -> Step:
    assert isinstance(left, _HeldJobs)  # noqa: S101 - an engine's storage stays what it is
    end = left.begin + _STEP_JOBS
    finals, held = state.lifecycle.final_values, state.ready_queue.held
    running, counts = state.lifecycle.running_value, dict[str, list[int]]()
    oldest = dict[str, datetime]()
    for job in left.records[left.begin : end]:
        if job.status in finals:
            continue
        place = _WAITING
        if job.job_id in held:
            place = _RUNNING
        elif job.status == running and _is_due(job, now):
            place, since = _READY, newest_time(job)
            oldest[job.kind] = min(since, oldest.get(job.kind, since))
        counts.setdefault(job.kind, [0, 0, 0])[place] += 1
    found = [
        KindCounts(kind, ready, has_attempt, waiting, oldest.get(kind))
        for kind, (ready, has_attempt, waiting) in counts.items()
    ]
    return Step(found, None if end >= len(left.records) else left._replace(begin=end))


_READY, _RUNNING, _WAITING = range(3)


def _is_due(job: Record, now: datetime) -> bool:
    return job.execution.retry_at is None or job.execution.retry_at <= now


def _live_in(state: State) -> _StoredJobs:
    lifecycle = state.lifecycle
    finals = lifecycle.final_values
    return _StoredJobs([each for each in lifecycle.values if each not in finals])


async def _count_stored(shared: Shared, left: _Left, state: State, now: datetime) -> Step:
    assert isinstance(left, _StoredJobs)  # noqa: S101 - an engine's storage stays what it is
    status, *others = left.statuses
    is_running = status == state.lifecycle.running_value
    found, after = await shared.kinds(status, left.after, now, is_running=is_running)
    counted = left.counted + sum(each.jobs for each in found)
    if after is not None and counted < COUNTED_JOBS:
        return Step(found, left._replace(after=after, counted=counted))
    return Step(found, _StoredJobs(others) if others else None, after is None)


class ReadEngines(Read[Sequence[EngineRow]]):
    """Read which engines there are: those of a shared storage, or else this one.

    That has no number there, so 0; a guest is none.
    """

    __slots__ = ()

    async def read(self, sources: Sources) -> Sequence[EngineRow]:
        """See `Read.read`."""
        state, queue = sources.state, sources.state.ready_queue
        if state.shared is not None:
            return await state.shared.engines()
        if state.is_guest:
            return ()
        return [
            EngineRow(
                engine_id=0,
                name=f"{socket.gethostname()} {os.getpid()}",
                is_dead=False,
                is_draining=queue.intake.is_draining,
                lease_seconds=0,
                kinds=sorted(queue.handled.kinds),
                jobs=len(queue.held),
                gates=sorted(state.gates),
            )
        ]
