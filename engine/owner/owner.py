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
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Generic, Self

import anyio

from engine.domain.exceptions import (
    CommitCrashedError,
    CommitUnknownError,
    EngineClosedError,
    EngineCrashedError,
    EngineError,
    EngineUnavailableError,
    StorageDamagedError,
    StorageError,
    shown,
)
from engine.domain.models import Status
from engine.domain.retention import Retention
from engine.owner.batch import Batch
from engine.owner.claims import Claims, Served
from engine.owner.cleaner import retain
from engine.owner.committer import Commits
from engine.owner.core import Core
from engine.owner.decisions import Decisions
from engine.owner.inbox import Turn
from engine.owner.messages import ReadStatistics, RemoveEnded, Write
from engine.owner.reads import Reads, refuse
from engine.owner.timers import keep_time
from engine.portal import protect
from engine.portal.time import Clock, read_clock
from engine.storage.protocol import CheckedOut, Storage
from engine.storage.record import (
    Record,
)

logger = logging.getLogger("engine")

_FIRST_TIME: Final = datetime.min.replace(tzinfo=UTC)


class Owner(Generic[Status]):
    """Holds the live jobs and answers the inbox, inside its own ``async with``.

    Args:
        core: Has the inbox, which the owner closes when it crashes, and the committed jobs, which
            nobody else changes.
        storage: Opened at the start of ``async with``, closed when the last answer is given.
        clock: Read once for each turn that writes.
        retention: Which ended jobs to keep; None keeps all.
    """

    def __init__(
        self,
        core: Core[Status],
        storage: Storage,
        clock: Clock,
        retention: Retention | None,
    ) -> None:
        self._core = core
        self._inbox = core.inbox
        self._storage = storage
        self._lifecycle = core.lifecycle
        self._time = core.time
        self._clock = clock
        self._retention = retention
        self._jobs = core.jobs
        self._claims = Claims(self._jobs.agenda)
        self._commits = Commits(storage, core.jobs)
        self._reads = Reads(core.jobs, storage, self._answer_own)
        self._attempts = 0
        self._retried = 0
        self._expired = 0
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
        self._tasks = self._core.tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(protect(self._run), name="engine owner")
        self._aside = anyio.CancelScope(shield=True)  # also while workers have their time of grace
        self._tasks.start_soon(self._work_aside, name="engine timekeeping")
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
        self._aside.cancel()
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

    async def _work_aside(self) -> None:
        """Send the messages that nobody asks for, until the inbox is closed."""
        with self._aside:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep_time, self._inbox, self._jobs.agenda, self._time)
                if self._retention is not None:
                    tasks.start_soon(retain, self._inbox, self._retention, self._time)

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
        self._refuse_taken()
        self._inbox.refuse_rest(self._refusal)
        self._claims.refuse_all(self._refusal())
        self._jobs.feed.end(self._refusal)
        await self._close_storage()

    def _refuse_taken(self) -> None:
        """Answer what is left of the turn that an interrupt came into, and tell its callers."""
        if (turn := self._inbox.taken) is not None:
            for message in turn.unanswered():
                message.answer(self._refusal())
            turn.tell()

    async def _answer_turns(self) -> None:
        while True:
            try:
                turn = await self._inbox.take()
            except (anyio.EndOfStream, anyio.get_cancelled_exc_class()):
                return  # closed, or the event loop is ending
            with self._time.at_work():
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
                await self._reads.answer(turn.reads.messages)
                turn.reads.tell()
            if turn.writes.messages:
                await self._write(turn.writes.messages)
            if reads_last:
                await self._reads.answer(turn.reads.messages)
        except BaseException as bug:
            for message in turn.unanswered():
                unknown = self._commits.is_committing and message.writes
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
        served: Served = []
        self._claims.add(messages)
        try:
            await self._resolve()
            self._jobs.agenda.turn_to(now)
            named = await self._jobs.named_by(messages)
            decisions, answers = self._decide(messages, named, now)
            served = self._claims.decide(decisions)
            while taken := await self._commits.commit(decisions.batch):
                # Ended jobs have ids of new ones. Only those creations fail: decide again.
                ended = await self._storage.checkout(decisions.batch.new_ids(), ())
                named.jobs.update(ended.jobs)
                named.damaged.update(ended.damaged)
                if taken not in named.jobs and taken not in named.damaged:
                    raise StorageDamagedError(f"job {shown(taken)} is there, and is not")
                decisions, answers = self._decide(messages, named, now)
                served = self._claims.decide(decisions)
        except (StorageError, CommitUnknownError) as error:
            self._commits.is_committing = False
            if isinstance(error, CommitUnknownError):
                self._claims.doubt(served)
            self._claims.refuse_all(error)
            refuse([message for message in messages if not message.answered], error)
            return
        for message, answer in zip(messages, answers, strict=True):
            if answer is not None:
                message.answer(answer)
        self._claims.answer(served)
        self._commits.is_committing = False
        self._attempts += sum(len(records) for _, records in served)
        self._retried += decisions.retried
        self._expired += decisions.expired

    async def _resolve(self) -> None:
        """Learn what became of earlier writes, if that is not known.

        Raises:
            StorageError: It still can't be told.
        """
        if (applied := await self._commits.resolve()) is not None:
            self._claims.resolve(applied=applied)

    def _decide(
        self, messages: Sequence[Write], named: CheckedOut, now: datetime
    ) -> tuple[Decisions, list[Sequence[Record] | EngineError | None]]:
        """Return what the writes come to, and an answer for each but for claims."""
        batch = Batch(
            now=now,
            last_sequence=self._jobs.last_sequence,
            last_position=self._jobs.last_position,
            named=named,
            find=self._jobs.table.find,
        )
        decisions = Decisions(batch, self._lifecycle, self._jobs.agenda.is_dead)
        answers: list[Sequence[Record] | EngineError | None] = []
        for message in messages:
            try:
                answers.append(decisions.decide(message))
            except EngineError as error:
                # Its traceback holds this frame: do not let this frame hold the traceback.
                answers.append(error.with_traceback(None))
        return decisions, answers

    async def _answer_own(self, message: ReadStatistics | RemoveEnded) -> object:
        """Return the answer to what only the owner knows, or only it may do."""
        if isinstance(message, RemoveEnded):
            return await self._remove_ended(message.retention, message.limit)
        return await self._statistics()

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
        ready, running, _ = self._jobs.agenda.counts()
        live = sum(count for status, count in counts.items() if self._lifecycle.moves[status])
        return {
            "jobs": counts,
            "last_sequence": self._jobs.last_sequence,
            "answered": self._answered,
            "refused": self._inbox.refused,
            "batches": self._batches,
            "largest_batch": self._largest_batch,
            "queued": self._inbox.waiting,
            "removed": self._removed,
            "ready": ready,
            "running": running,
            "waiting": live - ready - running,
            "attempts": self._attempts,
            "retried": self._retried,
            "expired": self._expired,
            "watchers": len(self._jobs.feed),
        }
