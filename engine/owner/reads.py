"""Reads: answer the reads of a round from committed jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from engine.domain.exceptions import EngineError, StorageError
from engine.owner.commands.command import Read
from engine.owner.commands.read import GetJobs
from engine.owner.message import refuse
from engine.owner.sources import Sources
from engine.owner.state import why_missing
from engine.storage.record import Record


async def answer_reads(messages: Sequence[Read[Any]], sources: Sources) -> None:
    """Answer reads, each by itself."""
    find_all = sources.state.table.find_all
    elsewhere: list[GetJobs] = []
    for message in messages:
        if not isinstance(message, GetJobs):
            await _answer(message, sources)
        elif (records := find_all(message.job_ids)) is not None:
            message.answer(records)
        else:
            elsewhere.append(message)
    if elsewhere:
        await _fetch(elsewhere, sources)


async def _answer(message: Read[Any], sources: Sources) -> None:
    try:
        message.answer(await message.read(sources))
    except EngineError as error:
        # Its traceback holds this frame: do not let this frame hold the traceback.
        message.answer(error.with_traceback(None))


async def _fetch(messages: Sequence[GetJobs], sources: Sources) -> None:
    """Answer reads of jobs that the owner doesn't hold: they have ended, or never were."""
    try:
        named = await sources.state.named_by(messages)
    except StorageError as error:
        refuse(messages, error)
        return
    for message in messages:
        records = [named.jobs.get(job_id) for job_id in message.job_ids]
        if None in records:
            item = records.index(None)
            missing = why_missing(message.job_ids[item], named)
            missing.item = item
            message.answer(missing)
        else:
            message.answer(cast("list[Record]", records))
