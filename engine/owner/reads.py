"""Reads: what is asked of an engine without changing it, answered from what is committed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any, TypeAlias, cast

from engine.domain.exceptions import EngineError, JobNotFoundError, StorageError
from engine.owner.messages import (
    CountJobs,
    GetJobs,
    ListJobs,
    Message,
    Read,
    ReadHistory,
    ReadStatistics,
    ReadTransitions,
    RemoveEnded,
)
from engine.owner.state import CommittedJobs, why_missing
from engine.storage.protocol import Storage
from engine.storage.record import (
    Record,
)

Answering: TypeAlias = Callable[[ReadStatistics | RemoveEnded], Awaitable[Any]]


class Reads:
    """Answers the reads of a turn.

    Args:
        jobs: The committed jobs.
        storage: Answers what is about more than some named jobs.
        answer_own: Returns the answers that only the owner can give.
    """

    def __init__(self, jobs: CommittedJobs, storage: Storage, answer_own: Answering) -> None:
        self._jobs = jobs
        self._storage = storage
        self._answer_own = answer_own

    async def answer(self, messages: Sequence[Read]) -> None:
        """Answer all of these messages, each by itself."""
        find_all = self._jobs.table.find_all
        elsewhere: list[GetJobs] = []
        for message in messages:
            if not isinstance(message, GetJobs):
                await self._ask_storage(message)
            elif (records := find_all(message.job_ids)) is not None:
                message.answer(records)
            else:
                elsewhere.append(message)
        if elsewhere:
            await self._fetch(elsewhere)

    async def _fetch(self, messages: Sequence[GetJobs]) -> None:
        """Answer reads of jobs that the owner doesn't hold: they have ended, or never were."""
        try:
            named = await self._jobs.named_by(messages)
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

    async def _ask_storage(
        self,
        message: CountJobs
        | ListJobs
        | ReadHistory
        | ReadTransitions
        | ReadStatistics
        | RemoveEnded,
    ) -> None:
        """Answer a read of something else than named jobs."""
        try:
            match message:
                case CountJobs():
                    message.answer(await self._storage.count(message.status))
                case ListJobs(status=status, after=after, limit=limit):
                    message.answer(await self._storage.page(status, after, limit))
                case ReadHistory(job_id=job_id):
                    entries = await self._storage.history(job_id)
                    message.answer(JobNotFoundError(job_id) if entries is None else entries)
                case ReadTransitions(after=after, limit=limit, job_id=one):
                    message.answer(await self._storage.transitions(after, limit, one))
                case ReadStatistics() | RemoveEnded():
                    message.answer(await self._answer_own(message))
        except StorageError as error:
            message.answer(error.with_traceback(None))


def refuse(messages: Sequence[Message[Any]], error: EngineError) -> None:
    """Answer messages with an error, each with one of its own."""
    for message in messages:
        message.answer(copy(error))
