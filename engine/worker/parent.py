"""The parent of a follow-up, and the transition of it that made the follow-up."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from engine.owner.commands.read import GetJobs, ReadHistory
from engine.owner.core import Core
from engine.storage.record import Record, Time


class Parent(Struct, frozen=True):
    """The job that a follow-up follows."""

    record: Record
    """As it is now. It may have moved on since the transition."""
    status: str
    """The status that it entered by the transition."""
    at: Time
    """The time of the transition."""


async def parent_of(core: Core[Any], record: Record) -> Parent | None:
    """Return the parent of a follow-up; None for any other job.

    Reads the history only of a parent that has moved on: that of nearly all has ended.

    Raises:
        EngineError: It can't be read.
    """
    origin = record.origin
    if origin is None or origin.parent_id is None:
        return None
    [parent] = await core.ask(GetJobs([origin.parent_id]), internal=True)
    if origin.parent_version is None or origin.parent_version == parent.version:
        return Parent(parent, parent.status, parent.updated_at)
    lines = await core.ask(ReadHistory(parent.job_id), internal=True)
    line = lines[origin.parent_version - 1]
    return Parent(parent, line.to_status, line.at)
