"""The owner: the one task that holds the jobs and decides every message.

It does one thing after another, and nothing else ever touches what it holds; that is the whole of
the engine's concurrency control::

    take a turn ──▶ read, tell ──▶ check out ──▶ decide ──▶ commit ──▶ publish ──▶ tell

Reads of a turn are answered from what is published, before its writes: all of its callers are
waiting at the same time, so that is a legal order, no reader can see what might not be committed,
and none waits for more than the commit that is under way. But where a caller has given up a write,
reads come after the writes: who reads to learn what became of it is told the truth. Writes are
decided in the order of the inbox; when their commit fails, all of the turn's have failed.

Known errors go to the caller. Anything else is a bug: it stops the owner, every caller who waits is
told with the cause attached, and so is every later one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Generic, Self, cast

import anyio

from engine.committed_jobs import CommittedJobs, why_missing
from engine.decisions import Decisions
from engine.domain.clock import Clock, read_clock
from engine.domain.exceptions import (
    CommitCrashedError,
    CommitUnknownError,
    DuplicateJobIdError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    JobNotFoundError,
    StorageDamagedError,
    StorageError,
    shown,
)
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Status
from engine.domain.record import Record
from engine.domain.retention import Retention
from engine.inbox import Inbox, Turn
from engine.messages import (
    CountJobs,
    GetJobs,
    ListJobs,
    Message,
    Read,
    ReadHistory,
    ReadStatistics,
    RemoveEnded,
    Write,
)
from engine.retaining import retain
from engine.storage.protocol import CheckedOut, Storage

logger = logging.getLogger("engine")

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class Owner(Generic[Status]):
    """Holds the live jobs and answers the inbox, inside its own ``async with``.

    Args:
        inbox: Where the messages come from. The owner closes it when it crashes.
        storage: Opened at the start of ``async with``, closed when the last answer is given.
        lifecycle: The judge of moves.
        clock: Read once for each turn that writes.
        retention: Which ended jobs to keep; None keeps all.
    """

    def __init__(
        self,
        inbox: Inbox,
        storage: Storage,
        lifecycle: Lifecycle[Status],
        clock: Clock,
        retention: Retention | None,
    ) -> None:
        self._inbox = inbox
        self._storage = storage
        self._lifecycle = lifecycle
        self._clock = clock
        self._retention = retention
        self._jobs = CommittedJobs(storage, lifecycle)
        self._committing = False
        self._undecided: Decisions | None = None  # what became of their commit is not known
        self._answered = 0
        self._removed = 0
        self._batches = 0
        self._largest_batch = 0
        self._crash: BaseException | None = None
        self._interrupt: BaseException | None = None
        self._close_error: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Open the storage, learn what it holds, and start to answer.

        Raises:
            InvalidValueError: The clock tells no usable time.
            StorageError: The storage can't be opened; it is closed again.
            LifecycleError: The storage has a job in a status that the lifecycle doesn't know.
        """
        read_clock(self._clock)
        try:
            await self._jobs.open()
        except BaseException:
            await self._close_storage()
            raise
        self._inbox.open()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._run, name="engine owner")
        self._retaining = anyio.CancelScope()
        if self._retention is not None:
            self._tasks.start_soon(
                retain, self._inbox, self._retention, self._retaining, name="engine retention"
            )
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
            StorageError: The storage can't be closed, and nothing else is being raised.
            BaseException: What interrupted the owner, such as `KeyboardInterrupt`.
        """
        self._inbox.close()
        self._retaining.cancel()
        # The task group would wrap the body's own errors into a group. It need not know of them,
        # but for a cancellation, which may be the one that it made when the owner was interrupted.
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        leaving = (kind, error, traceback) if cancelled else (None, None, None)
        try:
            swallow = await self._tasks.__aexit__(*leaving)
        except anyio.get_cancelled_exc_class():
            if error is None or cancelled:
                raise
            swallow = None  # the body's own error goes before a cancellation that came meanwhile
        if self._interrupt is not None:
            raise self._interrupt
        if error is None and self._crash is not None:
            raise EngineCrashedError(self._crash)
        if error is None and self._close_error is not None:
            raise self._close_error
        return swallow if cancelled else None  # trio's swallows what it was not told of

    async def _run(self) -> None:
        """Answer messages until the inbox is closed and empty, then close the storage.

        Out of reach of cancellation: closing the inbox ends it. It never raises. After a bug the
        callers are told, and their tasks go on; after what is no `Exception` (an interrupt) the
        body of the ``async with`` is cancelled too, and its end raises that.
        """
        try:
            with anyio.CancelScope(shield=True):
                await self._answer_turns()
        except BaseException as bug:
            self._crash = bug
            logger.critical("the engine crashed; it refuses every call from now on", exc_info=bug)
            # A cancellation that gets out of a storage is a bug like any other.
            if not isinstance(bug, (Exception, anyio.get_cancelled_exc_class())):
                self._interrupt = bug
                self._tasks.cancel_scope.cancel()
        self._inbox.refuse_rest(self._refusal)
        await self._close_storage()

    async def _answer_turns(self) -> None:
        while True:
            try:
                turn = await self._inbox.take()
            except (anyio.EndOfStream, anyio.get_cancelled_exc_class()):
                return  # closed, or the event loop is ending
            await self._answer_turn(turn)

    async def _close_storage(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._storage.aclose()
            except BaseException as error:
                self._close_error = error
                logger.exception("the storage could not be closed")

    def _refusal(self) -> EngineUnavailableError:
        return EngineClosedError() if self._crash is None else EngineCrashedError(self._crash)

    async def _answer_turn(self, turn: Turn) -> None:
        """Answer every message of a turn, whatever happens, and tell its callers."""
        try:
            reads_last = turn.has_reads_last()
            if turn.reads.messages and not reads_last:
                await self._read(turn.reads.messages)
                turn.reads.tell()
            if turn.writes.messages:
                await self._write(turn.writes.messages)
            if reads_last:
                await self._read(turn.reads.messages)
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

    async def _write(self, messages: Sequence[Write]) -> None:
        """Check out, decide, commit, publish and answer the writes of a turn."""
        now = read_clock(self._clock)  # a clock that fails is a bug
        try:
            await self._resolve()
            named = await self._jobs.named_by(messages)
            decisions, answers = self._decide(messages, named, now)
            while taken := await self._commit(decisions):
                # Ended jobs have ids of new ones. Only those creations fail: decide again.
                ended = await self._storage.checkout(decisions.new_ids(), ())
                named.jobs.update(ended.jobs)
                named.damaged.update(ended.damaged)
                if taken not in named.jobs and taken not in named.damaged:
                    raise StorageDamagedError(f"job {shown(taken)} is there, and is not")
                decisions, answers = self._decide(messages, named, now)
        except (StorageError, CommitUnknownError) as error:
            self._committing = False
            _refuse(messages, error)
            return
        self._jobs.publish(decisions.changes, decisions.last_position)
        for message, answer in zip(messages, answers, strict=True):
            message.answer(answer)
        self._committing = False

    def _decide(
        self, messages: Sequence[Write], named: CheckedOut, now: datetime
    ) -> tuple[Decisions, list[Sequence[Record] | EngineError]]:
        """Return what the writes come to, and an answer for each."""
        decisions = Decisions(
            lifecycle=self._lifecycle,
            now=now,
            last_sequence=self._jobs.last_sequence,
            last_position=self._jobs.last_position,
            named=named,
            find=self._jobs.table.find,
        )
        answers: list[Sequence[Record] | EngineError] = []
        for message in messages:
            try:
                answers.append(decisions.decide(message))
            except EngineError as error:
                # Its traceback holds this frame: do not let this frame hold the traceback.
                answers.append(error.with_traceback(None))
        return decisions, answers

    async def _commit(self, decisions: Decisions) -> str | None:
        """Commit the changes, if there are any; return a new job's id that was taken already."""
        if decisions.changes:
            self._committing = True
            try:
                await self._storage.commit(decisions.changes)
            except DuplicateJobIdError as taken:
                if taken.job_id not in decisions.new_ids():
                    raise
                self._committing = False
                return taken.job_id
            except CommitUnknownError as unknown:
                await self._learn_outcome(decisions, unknown)
        return None

    async def _learn_outcome(self, decisions: Decisions, unknown: CommitUnknownError) -> None:
        """Return if the changes were committed after all.

        Raises:
            StorageError: They were not, and never will be.
            CommitUnknownError: It can't be told yet.
        """
        logger.error("a commit of %s changes failed", len(decisions.changes), exc_info=unknown)
        self._undecided = decisions
        try:
            applied = await self._storage.resolve(decisions.changes)
        except StorageError:
            raise unknown from unknown.__cause__
        self._undecided = None
        if not applied:
            raise cast("StorageError", unknown.__cause__)

    async def _resolve(self) -> None:
        """Learn what became of earlier changes, if that is not known; show them if they are there.

        Raises:
            StorageError: It still can't be told, so nothing else may be written.
        """
        undecided = self._undecided
        if undecided is not None:
            applied = await self._storage.resolve(undecided.changes)
            logger.warning("an earlier commit is %s", "applied" if applied else "not applied")
            self._undecided = None
            if applied:
                self._jobs.publish(undecided.changes, undecided.last_position)

    async def _read(self, messages: Sequence[Read]) -> None:
        """Answer the reads of a turn."""
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
            _refuse(messages, error)
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
        self, message: CountJobs | ListJobs | ReadHistory | ReadStatistics | RemoveEnded
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
                case ReadStatistics():
                    message.answer(await self._statistics())
                case RemoveEnded(retention=retention, limit=limit):
                    message.answer(await self._remove_ended(retention, limit))
        except StorageError as error:
            message.answer(error.with_traceback(None))

    async def _remove_ended(self, retention: Retention, limit: int) -> int:
        await self._resolve()
        now, age = read_clock(self._clock), retention.max_age
        # A time of before the calendar begins is before every job.
        oldest = None if age is None or age > now - _FIRST_TIME else now - age
        removed = await self._storage.remove_ended(oldest, retention.max_jobs, limit)
        self._removed += removed
        return removed

    async def _statistics(self) -> dict[str, Any]:
        counts = {
            status: await self._storage.count(self._lifecycle.value(status))
            for status in self._lifecycle.statuses
        }
        return {
            "jobs": counts,
            "last_sequence": self._jobs.last_sequence,
            "answered": self._answered,
            "refused": self._inbox.refused,
            "batches": self._batches,
            "largest_batch": self._largest_batch,
            "waiting": self._inbox.waiting,
            "removed": self._removed,
        }


def _refuse(messages: Sequence[Message[Any]], error: EngineError) -> None:
    """Answer messages with an error, each with one of its own."""
    for message in messages:
        message.answer(copy(error))
