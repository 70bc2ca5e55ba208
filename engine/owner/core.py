"""The core: the parts that an engine's facade, its workers and its gates share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Generator
from contextlib import AsyncExitStack, suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol

import anyio
from anyio.abc import TaskGroup

from engine.domain.epochs import Cursor
from engine.domain.exceptions import (
    CallTimeoutError,
    EngineError,
    EngineNotStartedError,
    JobNotFoundError,
)
from engine.domain.ids import IdSource
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Job, Statistics, Status
from engine.domain.validation import check_flag
from engine.owner.commands.family import descendants
from engine.owner.commands.newest import ReadNewest
from engine.owner.commands.read import GetJobs
from engine.owner.inbox import Inbox
from engine.owner.message import Answer, Message
from engine.owner.state import State
from engine.owner.views import Views
from engine.owner.watching import JobWait, Watcher, read_job
from engine.portal import Affinity
from engine.portal.time import Time
from engine.storage.locations import Kept
from engine.storage.record import Record


class OpenPart(Protocol):
    """A worker or a gate at work."""

    def interrupt(self) -> None:
        """Take on no new work: the program is about to close."""
        ...

    async def close(self) -> None:
        """Stop working; again, wait for that. A cancellation does not cut it short."""
        ...


@dataclass(slots=True)
class Core(Generic[Status]):
    """Gives workers, gates and the facades the parts of an engine.

    Call `ask` and `wait` on the owner's event loop. `watcher`, `newest_cursor` and `statistics`
    only read, and any thread may call them.
    """

    lifecycle: Lifecycle[Status]
    new_id: IdSource
    inbox: Inbox
    state: State
    views: Views[Status]
    time: Time
    kept: Kept
    is_blocking: bool
    """Whether the engine's calls block a thread. The calls of the other engine are awaited."""
    affinity: Affinity | None = None
    """The tie of the engine to its event loop, or to threads without one; None before its start."""
    tasks: TaskGroup = field(init=False)
    """Runs all tasks of the open engine; the owner opens and closes it."""
    context: Context = field(init=False)
    """In which the tasks of the open engine begin, whoever starts them; the owner sets it."""
    parts: list[OpenPart] = field(init=False, default_factory=list)
    """Those at work, in the order of their opening."""
    when_open: Callable[[Core[Any]], object] | None = None
    """Called once the engine is open, to open parts of its own. Raises nothing, and never waits."""
    end_body: Callable[[BaseException], None] = field(init=False)
    """Cancels the body of the engine's `with`, whose end then raises this; the owner sets it."""

    def start(self, function: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        """Start a task of the open engine. Its bug ends the engine."""
        self.context.run(partial(self.tasks.start_soon, function, name=name))

    def interrupt(self, error: BaseException) -> None:
        """Pass an exception of the program's on to it: its own `with` of the engine raises it.

        Nothing more is claimed, or the job that is released now would run again at once.
        """
        for part in self.parts:
            part.interrupt()
        self.end_body(error)

    async def close_parts(self) -> None:
        """Close the parts that are still at work, the newest first: all, even if one fails."""
        while self.parts:
            async with AsyncExitStack() as stack:
                for part in self.parts:
                    stack.push_async_callback(part.close)

    def check_caller(self) -> None:
        """Refuse to work with an engine before its start, or for a caller who may not call it.

        Raises:
            EngineNotStartedError: It has not started.
            WrongLoopError: It belongs to another event loop; or the call blocks, and the thread's
                event loop is running.
            EngineClosedError, EngineForkedError: See `LoopThread.check`.
        """
        if self.affinity is None:
            raise EngineNotStartedError
        self.affinity.check()

    async def ask(self, message: Message[Answer], *, internal: bool = False) -> Answer:
        """Send a message to the owner, and return its answer.

        Args:
            message: The message.
            internal: See `Inbox.put`.

        Raises:
            EngineError: The answer, or the engine can't be called.
        """
        await self.inbox.put(message, internal=internal).wait()
        return message.outcome()

    async def converse(self, steps: Generator[Message[Any], Any, Answer]) -> Answer:
        """Send the messages that a conversation yields, one after the other; return its outcome.

        Raises:
            EngineError: An answer, or the conversation's own.
        """
        try:
            message = next(steps)
            while True:
                message = steps.send(await self.ask(message))
        except StopIteration as end:
            outcome: Answer = end.value
            return outcome
        except EngineError as error:
            error.item = None  # this is no bulk call
            raise

    async def wait(
        self,
        message: GetJobs,
        statuses: Collection[str],
        seconds: float | None,
        tell: Callable[[str], object] = lambda _: None,
        *,
        follow_ups: bool = False,
    ) -> Job[Status]:
        """Return a job as soon as it has one of these statuses, and its follow-ups have ended.

        The limit covers both the read of the job and the wait; None: no limit. 0 reads the job
        once, without a limit, because no read takes no time.

        Args:
            message: Reads the job.
            statuses: Those to wait for.
            seconds: The limit.
            tell: Called with the id of each follow-up, before the wait for it.
            follow_ups: Whether to wait for all of them, too.

        Raises:
            EngineError: The answer to the message, or the engine was closed meanwhile.
            CallTimeoutError: The job did not get there within these seconds, or a follow-up did
                not end: the one that the error names.
        """
        [job_id] = message.job_ids
        if seconds == 0:
            record = await read_job(self.ask, message)
            late: Record | None = record
            if record.status in statuses:
                late = await self._live_follow_up(job_id) if follow_ups else None
            if late is None:
                return self.views.job(record)
            raise self.too_late(seconds, late.job_id, late.status, late.kind)
        wait, waited_id = self._wait_for(statuses), job_id
        with anyio.CancelScope() as scope:
            if seconds is not None:
                self.time.limit(scope, seconds)
            record = await wait.wait(self.ask, message)
            while follow_ups and (live := await self._live_follow_up(job_id)) is not None:
                wait, waited_id = self._wait_for(self.lifecycle.final_values), live.job_id
                tell(waited_id)
                with suppress(JobNotFoundError):  # they have ended, and were removed
                    await wait.wait(self.ask, GetJobs([waited_id]))
            return self.views.job(record)
        raise self.too_late(seconds or 0.0, waited_id, wait.status, wait.kind)

    def _wait_for(self, statuses: Collection[str]) -> JobWait:
        return JobWait(self.state.events, statuses, self.lifecycle.values, self.inbox.new_event)

    async def _live_follow_up(self, job_id: str) -> Record | None:
        """Return a follow-up of a job, or one of theirs, that has not ended; None if all have."""
        with suppress(JobNotFoundError):
            for each in await self.converse(descendants(job_id)):
                if each.outcome is None and each.status not in self.lifecycle.final_values:
                    return each
        return None

    def too_late(
        self,
        seconds: float,
        job_id: str,
        status: str | None = None,
        kind: str | None = None,
    ) -> CallTimeoutError:
        """Return the error of a caller who has waited in vain for a job; any thread may call this.

        Args:
            seconds: The limit.
            job_id: The job.
            status: Its status, if the caller has read it.
            kind: Its kind, the same.
        """
        held = self.state.table.find(job_id)
        if status is None and held is not None:
            status = held.status
        if kind is None and held is not None:
            kind = held.kind
        queue = self.state.ready_queue
        paused = None if status is None or kind is None else queue.paused_kind(job_id, status, kind)
        return CallTimeoutError(seconds, job_id, status, queue.unhandled_kind(job_id), paused)

    def watcher(
        self, job_id: str | None, after: Cursor | None, *, progress: bool
    ) -> Watcher[Status]:
        """Return a watcher; without ``after``, of one job from its creation on, or of all from now.

        Raises:
            InvalidValueError: ``progress`` is no bool.
        """
        check_flag("progress", progress)
        if after is None and job_id is not None:
            after = Cursor(0)
        elif after is None and self.state.shared is None:
            after = self.cursor_at(self.state.last_sequence)
        return Watcher(
            self.state.events,
            self.ask,
            self.views,
            self.lifecycle,
            job_id=job_id,
            after=after,
            progress=progress,
            follows=self.state.shared is not None,
        )

    async def newest_cursor(self) -> Cursor:
        """Return the place behind the newest transition; of number 0 before the first one."""
        return self.cursor_at(await self.ask(ReadNewest()))

    def cursor_at(self, sequence: int) -> Cursor:
        """Return the place behind a transition."""
        return Cursor(sequence, self.state.epochs.name_at(sequence))

    def statistics(self, fields: dict[str, Any]) -> Statistics[Status]:
        """Return statistics: the fields of the owner and those of the inbox."""
        waiting = {"refused": self.inbox.refused, "queued": self.inbox.waiting}
        return self.views.statistics({**fields, **waiting})
