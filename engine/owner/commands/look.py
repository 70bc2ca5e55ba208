"""Look at what others have changed in a shared storage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from engine.owner.commands.command import Read
from engine.owner.commands.pause import follow_instructions
from engine.owner.sources import Sources
from engine.owner.state import State
from engine.portal.time import read_clock
from engine.storage.record import Change
from engine.storage.shared import DueJobs, Shared

_MOST_JOBS: Final = 200  # so that a step takes no longer than a small batch
_MOST_LINES: Final = 1_000
LONGEST_PAUSE_SECONDS: Final = 1.0  # between two looks
_SHORTEST_PAUSE_SECONDS: Final = 0.01


class Looked(NamedTuple):
    """What a look has found."""

    late: Sequence[str] = ()
    """The jobs whose deadline has passed."""
    pause_seconds: float = LONGEST_PAUSE_SECONDS
    """When to look again, unless there are news: something is due then."""


class LookAround(Read[Looked]):
    """Take in what others have changed, and find the jobs that are due.

    `engine.owner.keeping_up` sends it. It decides nothing and writes nothing of a job's.
    """

    __slots__ = ()

    async def read(self, sources: Sources) -> Looked:
        """See `Read.read`."""
        state = sources.state
        if state.shared is None:
            return Looked()
        await follow_instructions(sources, state.shared)
        await _follow(sources)
        await _look_at_held(state, state.shared)
        await state.shared_progress.exchange(state.shared)
        now = state.time_of(read_clock(sources.clock))
        due = await state.shared.due(now, _MOST_JOBS)
        return Looked(due.late, _pause_seconds(due, now))


class FindUnhandled(Read[Sequence[str]]):
    """Return the kinds of ready jobs that no open worker has, in a shared storage."""

    __slots__ = ()

    async def read(self, sources: Sources) -> Sequence[str]:
        """See `Read.read`."""
        shared, queue = sources.state.shared, sources.state.ready_queue
        if shared is None or not queue.handled or queue.intake.is_draining:
            return ()
        known = {*queue.handled.kinds, *queue.intake.pauses.by_kind}
        return await shared.unhandled_kinds(known, _MOST_LINES)


def _pause_seconds(due: DueJobs, now: datetime) -> float:
    if due.is_full:
        return 0.0
    if due.next_at is None:
        return LONGEST_PAUSE_SECONDS
    seconds = (due.next_at - now).total_seconds()
    return min(max(seconds, _SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


async def _follow(sources: Sources) -> None:
    """Pass on the transitions that somebody watches."""
    following = sources.state.following
    following.forget()
    while (last := following.last) is not None:
        entries = await sources.storage.transitions(last, _MOST_LINES)
        following.take(entries)
        if len(entries) < _MOST_LINES:
            break


async def _look_at_held(state: State, shared: Shared) -> None:
    """Tell of the jobs of this engine's attempts that others have written."""
    held = tuple(state.table.records())
    if not held:
        return
    changed = []
    for before, now in zip(held, await shared.changed(held), strict=True):
        if now is before:
            continue
        state.lookup.forget([before.job_id])
        state.renew(before, now)
        # The attempt of a job that was removed stops as that of one that has ended.
        changed.append(now or before.with_execution(before.execution.ended()))
    state.events.publish([Change(None, each.status, each) for each in changed])
