"""The owner: the one task that holds the jobs and decides every message.

It does one thing after another, and nothing else ever touches what it holds; that is the whole of
the engine's concurrency control::

    take a turn ──▶ check out ──▶ decide ──▶ commit ──▶ publish ──▶ read ──▶ tell the callers

Writes are decided in the order of the inbox. Reads of a turn are answered from what is published,
after its writes: all of its callers are waiting at the same time, so that is a legal order, and no
reader can see what might not be committed. A turn whose commit fails has failed as a whole, reads
excepted.

Known errors go to the caller. Anything else is a bug: it stops the owner, every caller who waits is
told with the cause attached, and so is every later one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Generic, Self, TypeAlias

import anyio

from engine.decisions import Decisions
from engine.domain.exceptions import (
    CommitCrashedError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    JobNotFoundError,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Statistics, Status
from engine.domain.record import IDEMPOTENCY_KEY, JOB_ID, STATUS, Entry, Record
from engine.inbox import Inbox, Turn
from engine.messages import (
    CountJobs,
    GetJobs,
    ListJobs,
    Read,
    ReadHistory,
    ReadStatistics,
    Write,
)
from engine.storage.protocol import CheckedOut, Storage

logger = logging.getLogger("engine")

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the system's time, in UTC."""
    return datetime.now(UTC)


def read_clock(clock: Clock) -> datetime:
    """Return the time that a clock tells, in UTC.

    Raises:
        InvalidValueError: It tells a time without a time zone, or something else.
    """
    now: object = clock()
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise InvalidValueError("clock", f"must return an aware datetime, not {now!r}")
    return now if now.tzinfo is UTC else now.astimezone(UTC)


class Owner(Generic[Status]):
    """Holds the live jobs and answers the inbox, inside its own ``async with``.

    Args:
        inbox: Where the messages come from. The owner closes it when it crashes.
        storage: Opened at the start of ``async with``, closed when the last answer is given.
        lifecycle: The judge of moves.
        clock: Read once for each turn that writes.
    """

    def __init__(
        self, inbox: Inbox, storage: Storage, lifecycle: Lifecycle[Status], clock: Clock
    ) -> None:
        self._inbox = inbox
        self._storage = storage
        self._lifecycle = lifecycle
        self._clock = clock
        self._live: dict[str, Record] = {}
        self._live_keys: dict[str, str] = {}
        self._last_sequence = 0
        self._last_position = 0
        self._committing = False
        self._answered = 0
        self._batches = 0
        self._largest_batch = 0
        self._crash: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Open the storage, learn what it holds, and start to answer.

        Raises:
            InvalidValueError: The clock tells no usable time.
            StorageError: The storage can't be opened; it is closed again.
        """
        try:
            read_clock(self._clock)
            opened = await self._storage.open(self._lifecycle.final_values)
        except BaseException:
            await self._close_storage()
            raise
        self._last_sequence = opened.last_sequence
        self._last_position = opened.last_position
        self._live = {record[JOB_ID]: record for record in opened.live}
        self._live_keys = {
            key: record[JOB_ID]
            for record in opened.live
            if (key := record[IDEMPOTENCY_KEY]) is not None
        }
        self._inbox.open()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._run, name="engine owner")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the inbox, and wait until all that was in it has been answered.

        Raises:
            EngineCrashedError: The owner crashed, and nothing else is being raised.
        """
        self._inbox.close()
        # The task group would wrap the body's own errors into a group. It need not know of them,
        # but for a cancellation, which may be its own: it cancels the body when `_run` raises.
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        try:
            swallow = await self._tasks.__aexit__(
                *((kind, error, traceback) if cancelled else (None, None, None))
            )
        except BaseExceptionGroup:
            if self._crash is None:
                raise
            raise self._crash from None
        if error is None and self._crash is not None:
            raise EngineCrashedError(self._crash)
        return swallow

    async def _run(self) -> None:
        """Answer messages until the inbox is closed and empty, then close the storage.

        Out of reach of cancellation: closing the inbox ends it. After a bug it returns as well, so
        that nobody's task is cancelled for it: the callers are told. Only what is not an
        `Exception` (an interrupt) is raised again.
        """
        try:
            with anyio.CancelScope(shield=True):
                await self._answer_turns()
        except BaseException as bug:
            self._crash = bug
            logger.critical("the engine crashed; it refuses every call from now on", exc_info=bug)
            if not isinstance(bug, Exception):
                raise
        finally:
            self._inbox.refuse_rest(self._refusal)
            await self._close_storage()

    async def _answer_turns(self) -> None:
        while True:
            try:
                turn = await self._inbox.take()
            except anyio.EndOfStream:
                return
            await self._answer_turn(turn)

    async def _close_storage(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._storage.aclose()

    def _refusal(self) -> EngineUnavailableError:
        return EngineClosedError() if self._crash is None else EngineCrashedError(self._crash)

    async def _answer_turn(self, turn: Turn) -> None:
        """Answer every message of a turn, whatever happens, and tell its callers."""
        try:
            checked_out = await self._check_out(turn)
            if turn.writes:
                await self._write(turn.writes, checked_out)
            await self._read(turn.reads, checked_out)
        except BaseException as bug:
            for message in turn.unanswered():
                unknown = self._committing and message.writes
                message.answer(CommitCrashedError(bug) if unknown else EngineCrashedError(bug))
            raise
        finally:
            self._answered += len(turn)
            self._batches += 1
            self._largest_batch = max(self._largest_batch, len(turn))
            turn.tell()

    async def _check_out(self, turn: Turn) -> CheckedOut:
        """Fetch the jobs that the turn names and the owner doesn't hold."""
        live, live_keys = self._live, self._live_keys
        job_ids = [i for message in turn.reads for i in message.job_ids if i not in live]
        job_ids += [i for message in turn.writes for i in message.job_ids if i not in live]
        keys = [key for message in turn.writes for key in message.keys if key not in live_keys]
        if job_ids or keys:
            return await self._storage.checkout(job_ids, keys)
        return CheckedOut()

    async def _write(self, messages: Sequence[Write], checked_out: CheckedOut) -> None:
        """Decide, commit, publish and answer the writes of a turn."""
        decisions = Decisions(
            lifecycle=self._lifecycle,
            now=read_clock(self._clock),
            last_sequence=self._last_sequence,
            last_position=self._last_position,
            live=self._live,
            live_keys=self._live_keys,
            checked_out=checked_out,
        )
        answers: list[Sequence[Record] | EngineError] = []
        for message in messages:
            try:
                answers.append(decisions.decide(message))
            except EngineError as error:
                answers.append(error)
        if decisions.changes:
            try:
                self._committing = True
                await self._storage.commit(decisions.changes)
            except EngineError as error:
                answers = [copy(error) for _ in messages]
            else:
                self._publish(decisions, checked_out)
        for message, answer in zip(messages, answers, strict=True):
            message.answer(answer)
        self._committing = False

    def _publish(self, decisions: Decisions, checked_out: CheckedOut) -> None:
        """Show the committed changes to readers; what has ended leaves the dictionary."""
        self._last_sequence += len(decisions.changes)
        self._last_position = decisions.last_position
        self._live.update(decisions.changed)
        self._live_keys.update(decisions.new_keys)
        final = self._lifecycle.final_values
        for record in [r for r in decisions.changed.values() if r[STATUS] in final]:
            checked_out.jobs[record[JOB_ID]] = self._live.pop(record[JOB_ID])
            if (key := record[IDEMPOTENCY_KEY]) is not None:
                del self._live_keys[key]

    async def _read(self, messages: Sequence[Read], checked_out: CheckedOut) -> None:
        """Answer the reads of a turn."""
        for message in messages:
            try:
                if isinstance(message, GetJobs):
                    message.answer(self._get(message.job_ids, checked_out))
                else:
                    await self._ask_storage(message)
            except EngineError as error:
                message.answer(error)

    def _get(self, job_ids: Sequence[str], checked_out: CheckedOut) -> list[Record]:
        live = self._live
        try:
            return [live[job_id] for job_id in job_ids]
        except KeyError:
            return [self._find(item, job_ids[item], checked_out) for item in range(len(job_ids))]

    def _find(self, item: int, job_id: str, checked_out: CheckedOut) -> Record:
        record = self._live.get(job_id) or checked_out.jobs.get(job_id)
        if record is None:
            error = JobNotFoundError(job_id)
            error.item = item
            raise error
        return record

    async def _ask_storage(
        self, message: CountJobs | ListJobs | ReadHistory | ReadStatistics
    ) -> None:
        match message:
            case CountJobs():
                message.answer(await self._storage.count(message.status))
            case ListJobs(status=status, after=after, limit=limit):
                message.answer(await self._storage.page(status, after, limit))
            case ReadHistory():
                message.answer(await self._history(message.job_id))
            case ReadStatistics():
                message.answer(await self._statistics())

    async def _history(self, job_id: str) -> Sequence[Entry]:
        entries = await self._storage.history(job_id)
        if entries is None:
            raise JobNotFoundError(job_id)
        return entries

    async def _statistics(self) -> Statistics[Status]:
        counts = {
            status: await self._storage.count(self._lifecycle.value(status))
            for status in self._lifecycle.statuses
        }
        return Statistics(
            jobs=counts,
            last_sequence=self._last_sequence,
            answered=self._answered,
            refused=self._inbox.refused,
            batches=self._batches,
            largest_batch=self._largest_batch,
            waiting=self._inbox.waiting,
        )
