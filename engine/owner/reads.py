"""Reads: answer the reads of a round from committed jobs.

One read gives 16,777,216 characters of texts at most: a page ends early, and a `get_many` of more
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from engine.domain.exceptions import (
    CommitCrashedError,
    EngineError,
    InvalidValueError,
    StorageError,
)
from engine.domain.validation import MAX_READ_CHARACTERS
from engine.owner.commands.command import Read
from engine.owner.commands.read import FindJob, GetJobs
from engine.owner.lookup import why_missing
from engine.owner.message import refuse
from engine.owner.sources import Sources
from engine.owner.state import State
from engine.storage.answers import CheckedOut, ReadLimit
from engine.storage.record import Record


async def answer_reads(messages: Sequence[Read[Any]], sources: Sources) -> None:
    """Answer reads, each by itself."""
    state = sources.state
    try:
        await _begin_following(state)
    except StorageError as error:
        refuse(messages, error)
        return
    find_all = state.table.find_all if state.shared is None else _find_none
    elsewhere: list[GetJobs | FindJob] = []
    for message in messages:
        if isinstance(message, FindJob):
            elsewhere.append(message)
        elif not isinstance(message, GetJobs):
            await _answer(message, sources)
        elif (records := find_all(message.job_ids)) is not None:
            message.answer(_checked(message, records))
        else:
            elsewhere.append(message)
    if elsewhere:
        await _fetch(elsewhere, sources)


def _find_none(job_ids: Sequence[str]) -> None:
    """Find no job: others may have written those that the owner holds of a shared storage."""
    del job_ids


async def _begin_following(state: State) -> None:
    """Begin to follow a shared storage, before a watcher reads what it is to follow from."""
    if state.shared is not None and state.following.has_to_begin:
        state.following.begin(await state.shared.newest_sequence())


async def _answer(message: Read[Any], sources: Sources) -> None:
    try:
        message.answer(await message.read(sources))
    except EngineError as error:
        # Its traceback holds this frame: do not let this frame hold the traceback.
        message.answer(error.with_traceback(None))
    except BaseException as bug:  # the others of the round are answered by the owner
        if message.acts:
            message.answer(CommitCrashedError(bug))
        raise


async def _fetch(messages: Sequence[GetJobs | FindJob], sources: Sources) -> None:
    """Answer reads of jobs that the owner need not hold: they have ended, or never were."""
    try:
        named = await sources.state.lookup.named_by(messages)
    except StorageError as error:
        refuse(messages, error)
        return
    for message in messages:
        if isinstance(message, FindJob):
            message.answer(message.found(named))
        else:
            message.answer(_found(message, named))


def _found(message: GetJobs, named: CheckedOut) -> Sequence[Record] | EngineError:
    """Return the jobs that a message names, or its error."""
    found = [named.ids.jobs.get(job_id) for job_id in message.job_ids]
    item = found.index(None) if None in found else len(found)
    records = cast("list[Record]", found[:item])
    answer = _checked(message, records)
    if item == len(found) or answer is not records:
        return answer
    if message.job_ids[item] in named.ids.left_out:
        return _too_large(message, item)
    missing = why_missing(message.job_ids[item], named)
    missing.item = item
    return missing


def _checked(message: GetJobs, records: Sequence[Record]) -> Sequence[Record] | InvalidValueError:
    """Return the records, or the error that they are too large for one read."""
    if len(records) <= 1 or sum(each.characters for each in records) <= MAX_READ_CHARACTERS:
        return records
    limit = ReadLimit()
    return _too_large(message, next(n for n, each in enumerate(records) if not limit.admits(each)))


def _too_large(message: GetJobs, fitting: int) -> InvalidValueError:
    return InvalidValueError(
        "job_ids",
        f"name more than one read gives, {MAX_READ_CHARACTERS:,} characters of inputs, results and "
        f"errors: ask for {fitting:,} of these {len(message.job_ids):,} jobs at a time",
    )
