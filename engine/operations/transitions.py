"""Transitions: the next ones behind a cursor, or those that come within some seconds."""

from __future__ import annotations

from typing import Annotated, Any, Final

import anyio
from msgspec import Meta

from engine.domain.epochs import Cursor, parsed_cursor
from engine.domain.validation import MAX_PAGE_LINES
from engine.operations.fields import entry_fields
from engine.operations.operation import Arguments
from engine.owner.commands.read import GetJobs, ReadTransitions
from engine.owner.core import Core

_BEGINNING: Final = "0"
_MAX_WAIT_SECONDS: Final = 30
_LINES: Final = 100


class OfTransitions(Arguments, kw_only=True, frozen=True):
    """Up to ``limit`` transitions behind a cursor, of one job by its ``job_id`` or of all.

    ``after`` is the ``next`` of the answer before, or ``0`` for the oldest; by default only those
    that are still to come. ``wait`` is in seconds: how long to wait for the first one.
    """

    after: str | None = None
    job_id: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_LINES)] = _LINES
    wait: Annotated[float, Meta(ge=0, le=_MAX_WAIT_SECONDS)] = 0.0


async def transitions(core: Core[Any], given: OfTransitions, _: str | None) -> dict[str, Any]:
    """Answer as soon as there are transitions, or without any after the wait; polls nothing."""
    if given.job_id is not None:
        await core.ask(GetJobs.one(given.job_id))
    after = await _cursor(core, given.after)
    entries = await core.ask(_read(given, after))
    if not entries and given.wait and await _comes(core, given, after):
        entries = await core.ask(_read(given, after))
    following = core.cursor_at(entries[-1].sequence) if entries else after
    return {
        "transitions": [entry_fields(entry, core.state.epochs) for entry in entries],
        "next": str(following) if following.sequence else _BEGINNING,
    }


async def _cursor(core: Core[Any], after: str | None) -> Cursor:
    if after is None:
        return await core.newest_cursor()
    return Cursor(0) if after == _BEGINNING else parsed_cursor(after)


def _read(given: OfTransitions, after: Cursor) -> ReadTransitions:
    if not after.sequence:  # from the beginning: those that are left
        return ReadTransitions(0, given.limit, given.job_id, None)
    return ReadTransitions(after.sequence, given.limit, given.job_id, epoch=after.epoch)


async def _comes(core: Core[Any], given: OfTransitions, after: Cursor) -> bool:
    """Wait for a transition; return whether one has come in time."""
    watcher = core.watcher(given.job_id, after, progress=False)
    try:
        with anyio.CancelScope() as scope:
            core.time.limit(scope, given.wait)
            if not await watcher.next():
                await anyio.sleep_forever()  # the job has ended: none comes
            return True
        return False
    finally:
        watcher.close()
