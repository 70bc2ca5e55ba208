"""Doubts: whether the storage has kept a change of rules, a pause or a drain, found out late.

A call whose outcome is unknown leaves a doubt. It is settled before anything else is decided, so an
engine goes by what its storage keeps, whether somebody asks for it or not. A shared storage leaves
none: its engines compare the rules in each commit, and follow each other's pauses and drains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.domain.exceptions import CommitUnknownError
from engine.domain.pauses import Pauses
from engine.owner.sources import Sources
from engine.owner.state import State
from engine.portal.time import Clock, read_clock
from engine.storage.audit import AuditLine, KeptAuditLine
from engine.storage.protocol import Storage


@contextmanager
def doubted(sources: Sources, drain: AuditLine | None = None) -> Iterator[None]:
    """Leave a doubt if the outcome of the write in the body is unknown, and start to settle it.

    Args:
        sources: The engine's.
        drain: The line that is kept if the engine is to be drained now, or no longer.
    """
    try:
        yield
    except CommitUnknownError:
        if sources.state.shared is None:
            intake = sources.state.ready_queue.intake
            intake.is_in_doubt, intake.drain_in_doubt = True, drain
            sources.serve_claims()
        raise


async def settle_doubts(state: State, storage: Storage, clock: Clock) -> None:
    """Go by the rules and the pauses that the storage keeps, and by a drain if it has its line.

    Raises:
        StorageError: They are still in doubt, or damaged.
    """
    intake = state.ready_queue.intake
    if not intake.is_in_doubt:
        return
    await state.read_rules()
    take_pauses(state, Pauses.read(await storage.pauses()), clock)
    if (drain := intake.drain_in_doubt) is not None and await _is_newest(drain, storage):
        intake.is_draining = not intake.is_draining
    intake.is_in_doubt, intake.drain_in_doubt = False, None


def take_pauses(state: State, pauses: Pauses, clock: Clock) -> bool:
    """Go by these pauses from now on; return whether other kinds are paused now."""
    queue = state.ready_queue
    before = queue.intake.pauses
    queue.intake.take(pauses, state.gates.keys())
    if pauses.by_kind == before.by_kind:
        return False
    queue.handled.begin_anew(read_clock(clock))
    return True


async def _is_newest(line: AuditLine, storage: Storage) -> bool:
    """Return whether a line is the newest of the audit, as nothing was written behind it."""
    return any(
        isinstance(kept, KeptAuditLine) and kept == KeptAuditLine(kept.number, *line)
        for kept in await storage.audit(None, 1)
    )
