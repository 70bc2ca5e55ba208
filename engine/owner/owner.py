"""The owner: the one task that holds the jobs and decides every message.

Handles one round at a time; no other task touches its jobs. That replaces locks::

    take a round ──▶ read, wake ──▶ check out ──▶ decide ──▶ commit ──▶ publish ──▶ answer, wake

Answers a round's reads before its writes, from published jobs. All callers of a round wait at once,
so this order is legal, and a read waits for one commit at most. If a caller has abandoned a write,
reads come last and show its outcome. Decides writes in the order of the inbox; over a shared
storage a refused one may come behind the others (`engine.owner.writes`). If the commit fails, every
write of the round fails.

Known errors go to the caller. Any other error is a bug and stops the owner: every waiting and every
later caller gets an error with the bug as its cause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self

import anyio

from engine.domain.exceptions import (
    CommitCrashedError,
    EngineClosedError,
    EngineCrashedError,
    EngineUnavailableError,
)
from engine.domain.models import Status
from engine.domain.retention import Retention
from engine.owner.cleaner import clean_up
from engine.owner.commands.expire import ExpireJobs
from engine.owner.core import Core
from engine.owner.keeping_up import KeepingUp
from engine.owner.reads import answer_reads
from engine.owner.round import Round
from engine.owner.sources import Counters, Sources
from engine.owner.timers import fire_timers
from engine.owner.writes import Writes
from engine.portal import context_of_tasks, protect
from engine.portal.logs import TaskLogger
from engine.portal.time import Clock, read_clock
from engine.storage.protocol import Storage

logger = TaskLogger("engine")


class Owner(Generic[Status]):
    """Holds the live jobs and answers the inbox, inside its own ``async with``.

    Args:
        core: Has the inbox, which the owner closes when it crashes, and the state, which no other
            part changes.
        storage: Opened at the start of ``async with``, closed when the last answer is given.
        clock: Read once for each round that writes.
        retention: Which ended jobs to keep; None keeps all.

    Attributes:
        cancel_body: Called at an interrupt; None: it cancels the task that entered the context.
    """

    def __init__(
        self,
        core: Core[Status],
        storage: Storage,
        clock: Clock,
        retention: Retention | None,
    ) -> None:
        self._core = core
        core.end_body = self._end_body_by
        self._inbox = core.inbox
        self._storage = storage
        self._time = core.time
        self._clock = clock
        self._retention = retention
        self._state = core.state
        self._counters = Counters()
        self._writes = Writes(core.state, storage, clock, self._counters)
        calls = (self._writes.settle, self._serve_claims)
        self._sources = Sources(core.state, storage, clock, *calls, self._counters)
        self.cancel_body: Callable[[], object] | None = None
        self._crash: BaseException | None = None
        self._interrupt: BaseException | None = None
        self._close_error: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Open the storage, read its live jobs, and start to answer.

        Raises:
            InvalidValueError: The clock returns no aware time.
            StorageError: The storage can't be opened; it is closed again.
            LifecycleError: The storage has a job in a status that the lifecycle doesn't know.
        """
        read_clock(self._clock)
        try:
            await self._state.open()
        except BaseException:
            await self._close_storage()
            raise
        self._inbox.open()
        self._tasks = self._core.tasks = await anyio.create_task_group().__aenter__()
        self._core.context = context_of_tasks(self._core.interrupt)
        self._core.start(protect(self._run), name="engine owner")
        # Shielded: they work on while workers have their time of grace.
        self._background = anyio.CancelScope(shield=True)
        self._core.start(self._run_background, name="engine timers")
        if self._core.when_open is not None:
            self._core.when_open(self._core)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the parts that are still open and the inbox, and answer all that was in it.

        Raises:
            EngineCrashedError: The owner crashed, and nothing else is being raised.
            StorageError: The storage can't be closed, and nothing else is being raised.
            BaseException: An interrupt; or a bug in the closing of a part.
        """
        try:
            await self._core.close_parts()
        finally:
            swallow = await self._end(kind, error, traceback)
        return swallow

    async def _end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the inbox, and wait until all that was in it has been answered."""
        self._inbox.close()
        self._background.cancel()
        # Keep the body's error from the task group, which would wrap it. Pass on a cancellation:
        # the group may have caused it.
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
        return swallow if cancelled else None  # trio's swallows errors that it does not know of

    # The tasks.

    async def _run_background(self) -> None:
        """Run the timers and the cleaner until the inbox is closed; a bug of theirs is a crash.

        A guest has none: what is due waits for the next engine.
        """
        if self._state.is_guest:
            return
        with self._background:
            async with anyio.create_task_group() as tasks:
                state = self._state
                if state.shared is None:
                    parts = (state.times, state.ready_queue.handled, self._time)
                    tasks.start_soon(self._crash_by, fire_timers, self._inbox, *parts)
                else:
                    others = (state, state.shared, self._writes.claims, self._time)
                    tasks.start_soon(self._crash_by, KeepingUp(self._inbox, *others).run)
                if self._retention is not None:
                    rule = self._retention
                    tasks.start_soon(self._crash_by, clean_up, self._inbox, rule, self._time)

    async def _crash_by(self, function: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a background task; its exception crashes the owner."""
        try:
            await function(*arguments)
        except Exception as bug:  # noqa: BLE001 - callers get it
            try:
                self._fall(bug)
            finally:
                self._inbox.close(self._refusal)  # which ends the owner

    async def _run(self) -> None:
        """Answer messages until the inbox is closed and empty, then close the storage.

        Out of reach of cancellation: closing the inbox ends it. It never raises. After a bug the
        callers get errors, and their tasks go on; after an interrupt (no `Exception`) the body of
        the ``async with`` is cancelled too, and its end raises that.
        """
        try:
            with anyio.CancelScope(shield=True):
                while await self._answer_next():
                    pass
        except BaseException as bug:  # noqa: BLE001 - callers get it
            # A cancellation that gets out of a storage is a bug like any other.
            if not isinstance(bug, (Exception, anyio.get_cancelled_exc_class())):
                self._core.interrupt(bug)
            self._fall(bug)
        finally:
            try:
                self._refuse_all()
            finally:
                await self._close_storage()

    def _end_body_by(self, error: BaseException) -> None:
        """Cancel the body of the ``async with``; its end raises the error."""
        if self._interrupt is None:
            self._interrupt = error
            (self.cancel_body or self._tasks.cancel_scope.cancel)()

    def _fall(self, bug: BaseException) -> None:
        """Crash, unless the engine has crashed before: callers learn of the first bug alone."""
        if self._crash is not None:
            return
        self._crash = bug
        text = "the engine crashed; it refuses every call from now on"
        logger.critical(text, exc_info=bug)

    def _refusal(self) -> EngineUnavailableError:
        return EngineClosedError() if self._crash is None else EngineCrashedError(self._crash)

    def _refuse_all(self) -> None:
        """Answer all that wait for the owner: each of these, even if another one fails."""
        with ExitStack() as stack:  # the last one first
            stack.callback(self._state.events.end, self._refusal)
            stack.callback(self._writes.claims.refuse_all, self._refusal())
            stack.callback(self._inbox.refuse_rest, self._refusal)
            stack.callback(self._refuse_taken)

    def _refuse_taken(self) -> None:
        """Refuse the rest of a round that an interrupt cut short, and wake its callers."""
        if (taken := self._inbox.taken) is not None:
            for message in taken.unanswered():
                message.answer(self._refusal())
            taken.wake_all()
            self._inbox.done()

    async def _close_storage(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._storage.aclose()
            except BaseException as error:
                self._close_error = error
                logger.exception("the storage could not be closed")

    def _serve_claims(self) -> None:
        """Start a round that decides the waiting claims again."""
        with suppress(EngineUnavailableError):  # it is closing, and serves none
            self._inbox.put(ExpireJobs(()), internal=True)

    # A round.

    async def _answer_next(self) -> bool:
        """Answer the next round; return False when there is none. Holds nothing afterwards."""
        try:
            taken = await self._inbox.take()
        except (anyio.EndOfStream, anyio.get_cancelled_exc_class()):
            return False  # closed, or the event loop is ending
        with self._time.at_work():
            await self._answer(taken)
        self._inbox.done()
        return True

    async def _answer(self, taken: Round) -> None:
        """Answer every message of a round, whatever happens, and wake its callers."""
        try:
            reads_last = taken.has_reads_last()
            if taken.reads and not reads_last:
                await answer_reads(taken.reads, self._sources)
                taken.wake_readers()
            if taken.writes:
                await self._writes.answer(taken.writes)
            if reads_last:
                await answer_reads(taken.reads, self._sources)
        except BaseException as bug:
            crashed = partial(EngineCrashedError, bug)
            self._inbox.close(crashed)  # before a caller learns of it, and asks about the engine
            for message in taken.unanswered():
                unknown = self._writes.is_committing and message.writes
                message.answer(CommitCrashedError(bug) if unknown else EngineCrashedError(bug))
            raise
        finally:
            counters = self._counters
            counters.answered += len(taken)
            counters.rounds += 1
            counters.largest_round = max(counters.largest_round, len(taken))
            taken.wake_all()
