"""The facade for threads: the calls of `JobEngine`, blocking."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from typing_extensions import TypeAliasType, TypeVar

from engine.control.option import control_option
from engine.domain.audit_entry import AuditEntry
from engine.domain.deadlines import Deadline
from engine.domain.exceptions import (
    CallTimeoutError,
    EngineError,
    InvalidValueError,
    WriteTimeoutError,
)
from engine.domain.failed_attempt import FailedAttempt
from engine.domain.follow_ups import FollowUp
from engine.domain.ids import IdSource, new_job_id
from engine.domain.labels import DEFAULT_KIND
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import (
    PAID_JOB_LIFECYCLE,
    Job,
    JobPage,
    JobStatus,
    NewJob,
    Pause,
    Progress,
    Statistics,
    Status,
    Transition,
)
from engine.domain.moves import Move, Started
from engine.domain.retention import Retention, pruned_by
from engine.domain.validation import check_flag
from engine.owner.acts import acted, checked_act
from engine.owner.base import EngineBase
from engine.owner.cleaner import prune
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.audit import NoteAct, ReadAudit, logged_if_not_noted
from engine.owner.commands.cancel import CancelJob
from engine.owner.commands.create import CreateJobs, checked_job
from engine.owner.commands.extend import ExtendJob
from engine.owner.commands.family import follow_ups as read_follow_ups
from engine.owner.commands.follow_up import backfilling, following
from engine.owner.commands.listing import Count, CountJobs, ListJobs, checked_filter
from engine.owner.commands.move import MoveJobs, checked_move
from engine.owner.commands.pause import BeginPause, DrainEngine, EndPause, ReadPauses
from engine.owner.commands.read import (
    FindJob,
    GetJobs,
    ReadAttempts,
    ReadHistory,
    ReadStatistics,
    checked_until,
    checked_watch,
)
from engine.owner.commands.repeat import RepeatJob
from engine.owner.commands.retry import RetryJob
from engine.owner.commands.rules import ReadRules, RemoveRule, SwitchRule
from engine.owner.commands.start import StartJob
from engine.owner.hooks import OnTransition
from engine.owner.inside import check_outside
from engine.owner.message import Message
from engine.owner.prompts import check_answer
from engine.owner.watching import Watcher
from engine.portal import SyncBridge, TimeLimit, check_interpreter
from engine.portal.time import Clock, utc_now
from engine.storage.filter import ALL_JOBS
from engine.storage.locations import Location
from engine.storage.sqlite.paths import path_at

Kind = TypeVar("Kind")
Outcome = TypeVar("Outcome")


class SyncJobEngine(EngineBase[Status]):
    """Keeps jobs like `JobEngine`, for threads. Any number of them may call at the same time.

    ::

        with SyncJobEngine() as engine:
            job = engine.create("2c26b46b…")
            engine.transition(job.job_id, JobStatus.RUNNING)

    Making the engine starts it. Use it as a context manager, or `close` it. Its owner runs on one
    event-loop thread, which serves all blocking engines of the process. A forgotten engine doesn't
    delay the interpreter's exit, and the garbage collector closes it. Finalizers that run after the
    program's end, such as a ``__del__``, get an `EngineClosedError`.

    `JobEngine` documents the arguments, the calls and their errors. Each call also takes a
    ``timeout``: seconds for the whole call, 0 or more, by default without limit. Past it a read
    raises `CallTimeoutError`. A write raises `WriteTimeoutError` if it was sent; this is also an
    `OutcomeUnknownError`, because the engine may still apply the change. An interrupt
    (`KeyboardInterrupt`) ends a call in the same way, and leaves the engine usable.

    Every call may also raise `EngineForkedError`, in a forked child of the process that made the
    engine, and `WrongLoopError`, on the event-loop thread that has to answer it.

    **Event loops**: a call that blocks a thread whose event loop is running, of asyncio or trio,
    would stop all tasks of that loop. So calls, ``with`` and `close` raise a `WrongLoopError`
    there, also those of workers and gates. Use `JobEngine`, or ``await
    anyio.to_thread.run_sync(…)``. Making an engine is allowed, because servers import your modules
    while their loop is running; it blocks while the storage is opened.

    Args:
        may_block_event_loop: True: such calls are made, and the loop stops meanwhile. For
            notebooks, whose cells run on a loop.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range, or the clock
            returns no aware time.
        StorageError: The storage can't be opened.
        LifecycleError: The storage has a job in a status that the lifecycle doesn't have.
        WrongLoopError: Made on the event-loop thread that has to serve the engine.
    """

    @overload
    def __init__(
        self: SyncJobEngine[JobStatus],
        storage: Location | None = None,
        *,
        retention: Retention | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
        control: bool = True,
        may_block_event_loop: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        storage: Location | None = None,
        *,
        lifecycle: Lifecycle[Status],
        retention: Retention | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
        control: bool = True,
        may_block_event_loop: bool = False,
    ) -> None: ...
    def __init__(
        self,
        storage: Location | None = None,
        *,
        lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
        retention: Retention | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
        control: bool = True,
        may_block_event_loop: bool = False,
    ) -> None:
        check_interpreter()
        check_flag("may_block_event_loop", may_block_event_loop)
        super().__init__(
            storage,
            lifecycle=lifecycle,
            retention=retention,
            follow_ups=follow_ups,
            on_transition=on_transition,
            clock=clock,
            new_id=new_id,
            max_waiting=max_waiting,
            max_batch=max_batch,
            is_blocking=True,
        )
        self.core.when_open = control_option(control)
        self._bridge = SyncBridge(
            self._owner,
            put=self._inbox.put,
            max_waiting=max_waiting,
            count_refused=self._inbox.count_refused,
            may_block_loop=may_block_event_loop,
        )
        self.core.affinity = self._bridge
        # The loop thread holds the owner but not this facade, which can so become garbage.
        weakref.finalize(self, self._bridge.close_soon).atexit = False

    def __enter__(self) -> Self:
        """Return the engine, which is already started.

        Raises:
            EngineClosedError: It is closed.
            EngineCrashedError: It has crashed.
            WrongLoopError: This thread's event loop is running, and the engine must not block it.
        """
        self._bridge.check()
        self._inbox.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine; see `close`. An error of the body comes before those of closing."""
        try:
            self.close()
        except Exception:
            if error is None:
                raise

    if not TYPE_CHECKING:  # type checkers find the mistake by themselves

        async def __aenter__(self) -> Self:
            """Refuse ``async with``.

            Raises:
                InvalidValueError: Always.
            """
            raise InvalidValueError(
                "engine",
                "is a SyncJobEngine: use `with SyncJobEngine(…)` in a thread without an event "
                "loop, or `async with JobEngine(…)`",
            )

        async def __aexit__(self, *_: object) -> None:
            """Python asks for it before it enters."""

    def close(self) -> None:
        """Close workers and gates, refuse new calls, answer the waiting ones, close the storage.

        A second call does nothing.

        Raises:
            EngineCrashedError: The owner has crashed.
            StorageError: The storage can't be closed.
            WrongLoopError: Called on the event-loop thread that serves the engine, by a handler
                that it runs, or where an event loop is running that the engine must not block. It
                stays open.
        """
        check_outside(self.core, "engine")
        self._bridge.close()

    @property
    def healthy(self) -> bool:
        """Whether the engine can be called: it has not crashed, closed, or stayed in the parent."""
        return self._inbox.is_open and not self._bridge.is_forked

    def create(
        self,
        input_hash: str | None = None,
        *,
        kind: str = DEFAULT_KIND,
        input: object = None,  # noqa: A002 - the name that handlers see, too
        payment_id: str | None = None,
        idempotency_key: str | None = None,
        start: bool = False,
        not_before: Deadline | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
        trace: Mapping[str, str] | None = None,
        by: str | None = None,
        reason: str | None = None,
        connection: object = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Create a job, in the initial status or running."""
        limit = TimeLimit(timeout)
        job = NewJob(
            input_hash,
            kind=kind,
            input=input,
            payment_id=payment_id,
            idempotency_key=idempotency_key,
            start=start,
            not_before=not_before,
            labels=labels,
            priority=priority,
            deadlines=deadlines,
            trace=trace,
            by=by,
            reason=reason,
        )
        message = CreateJobs([checked_job(self._lifecycle, self._new_id, job)])
        if connection is None:
            self._bridge.send(limit, message)
        else:
            self._create_in_transaction(message, connection, timeout)
        return self._views.one(message)

    def _create_in_transaction(
        self, message: CreateJobs, connection: object, timeout: float | None
    ) -> None:
        self._bridge.check()
        self._inbox.check_open()
        if timeout is not None:
            raise InvalidValueError(
                "timeout",
                "can't limit what your connection does: set its statement_timeout instead",
            )
        self._arriving.create_blocking(message, connection)

    def create_many(
        self, jobs: Iterable[NewJob], *, timeout: float | None = None
    ) -> list[Job[Status]]:
        """Create up to 10,000 jobs in one message, all or none, in their order."""
        return self._views.jobs(
            self._bridge.ask(
                TimeLimit(timeout), CreateJobs.many(self._lifecycle, self._new_id, jobs)
            )
        )

    def get(self, job_id: str, *, timeout: float | None = None) -> Job[Status]:
        """Return a job as it is now."""
        limit = TimeLimit(timeout)
        message = GetJobs.one(job_id)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def get_many(
        self, job_ids: Iterable[str], *, timeout: float | None = None
    ) -> list[Job[Status]]:
        """Return up to 10,000 jobs as they are at one moment, in the order of the given ids."""
        return self._views.jobs(self._bridge.ask(TimeLimit(timeout), GetJobs.many(job_ids)))

    def find(
        self,
        *,
        idempotency_key: str | None = None,
        payment_id: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Return the job that has an idempotency key, or that a payment pays for."""
        limit = TimeLimit(timeout)
        message = FindJob.checked(idempotency_key, payment_id)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def transition(
        self,
        job_id: str,
        target: Status,
        *,
        result: str | None = None,
        error: str | None = None,
        expected_version: int | None = None,
        expected_status: Status | None = None,
        attempt_token: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Move a job to another status."""
        limit = TimeLimit(timeout)
        move = Move(
            job_id,
            target,
            result=result,
            error=error,
            expected_version=expected_version,
            expected_status=expected_status,
            attempt_token=attempt_token,
            by=by,
            reason=reason,
        )
        message = MoveJobs([checked_move(self._lifecycle, move)])
        self._bridge.send(limit, message)
        return self._views.one(message)

    def transition_many(
        self, moves: Iterable[Move[Status]], *, timeout: float | None = None
    ) -> list[Job[Status]]:
        """Make up to 10,000 moves in one message, all or none, in their order."""
        return self._views.jobs(
            self._bridge.ask(TimeLimit(timeout), MoveJobs.many(self._lifecycle, moves))
        )

    def start(
        self,
        job_id: str | None = None,
        *,
        payment_id: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Started[Status]:
        """Start a job once in its life, however often the callback of its payment comes."""
        limit = TimeLimit(timeout)
        message = StartJob.checked(self._lifecycle, job_id, payment_id, by, reason)
        self._bridge.send(limit, message)
        return Started(self._views.one(message), message.is_first)

    def cancel(
        self,
        job_id: str,
        reason: str | None = None,
        *,
        by: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """End a waiting job, or ask the attempt that has it to stop."""
        limit = TimeLimit(timeout)
        message = CancelJob.checked(job_id, reason, by)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def retry(
        self,
        job_id: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Let a job run again now, with fresh attempts: no failure or death counts any more."""
        limit = TimeLimit(timeout)
        message = RetryJob.checked(job_id, by, reason)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def repeat(
        self,
        job_id: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Create a job like an ended one, born running, and link both."""
        limit = TimeLimit(timeout)
        message = RepeatJob.checked(job_id, by, reason)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def follow_up(
        self,
        job_id: str,
        rule: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Create the follow-up of an ended job by a rule, where no transition has."""
        steps = following(self._lifecycle, job_id, rule, by, reason)
        return self._views.job(self._converse(TimeLimit(timeout), steps))

    def follow_ups(self, job_id: str, *, timeout: float | None = None) -> list[Job[Status]]:
        """Return the follow-ups of a job, in the order of their creation; not theirs."""
        return self._views.jobs(self._converse(TimeLimit(timeout), read_follow_ups(job_id)))

    def backfill(
        self,
        rule: str,
        *,
        since: datetime | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Create the follow-ups of the jobs that had ended before a rule was there; count them."""
        steps = backfilling(self._lifecycle, rule, since, by, reason)
        return self._converse(TimeLimit(timeout), steps)

    def rules(self, *, timeout: float | None = None) -> list[FollowUp[Status]]:
        """Return the rules of follow-ups that are kept with the jobs, whoever gave them."""
        return self._views.rules(self._bridge.ask(TimeLimit(timeout), ReadRules()))

    def remove_rule(
        self,
        kind: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Remove the rule of follow-ups for a kind; return whether there was one."""
        return self._ask_of_write(TimeLimit(timeout), RemoveRule(kind, by, reason))

    def disable_rule(
        self,
        kind: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Disable the rule of follow-ups for a kind, if it is not; return whether there is one."""
        message = SwitchRule(kind, by, reason, disabled=True)
        return self._ask_of_write(TimeLimit(timeout), message)

    def enable_rule(
        self,
        kind: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Enable the rule of follow-ups for a kind if it is disabled; return if there is one."""
        message = SwitchRule(kind, by, reason, disabled=False)
        return self._ask_of_write(TimeLimit(timeout), message)

    def pause(
        self,
        kind: str | None = None,
        *,
        gate: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Pause a kind or a gate until `resume`; return whether it was not paused."""
        return self._ask_of_write(TimeLimit(timeout), BeginPause(kind, gate, by, reason))

    def resume(
        self,
        kind: str | None = None,
        *,
        gate: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Resume a kind or a gate; return whether it was paused."""
        return self._ask_of_write(TimeLimit(timeout), EndPause(kind, gate, by, reason))

    def paused(self, *, timeout: float | None = None) -> list[Pause]:
        """Return what is paused: the kinds in their order, and then the gates in theirs."""
        return [*self._bridge.ask(TimeLimit(timeout), ReadPauses())]

    def drain(
        self,
        engine_id: int | None = None,
        *,
        undo: bool = False,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Let an engine claim nothing more; it goes on with the jobs that it has."""
        message = DrainEngine(engine_id, undo=undo, by=by, reason=reason)
        self._ask_of_write(TimeLimit(timeout), message)

    def _ask_of_write(self, limit: TimeLimit, message: Message[Outcome]) -> Outcome:
        """Send a message that is no write for the owner, and writes nevertheless."""
        try:
            return self._bridge.ask(limit, message)
        except CallTimeoutError as error:
            raise WriteTimeoutError(error.timeout) from None

    def _converse(self, limit: TimeLimit, steps: Generator[Message[Any], Any, Outcome]) -> Outcome:
        """Send the messages that a conversation yields, as `engine.owner.core.Core.converse`."""
        has_written = False
        try:
            message = next(steps)
            while True:
                answer = self._bridge.ask(limit, message)
                has_written |= message.writes
                message = steps.send(answer)
                limit.check()
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except CallTimeoutError as error:
            if has_written:
                raise WriteTimeoutError(error.timeout) from None
            raise
        except EngineError as error:
            error.item = None  # this is no bulk call
            raise

    def extend(
        self,
        job_id: str,
        status: Status,
        deadline: Deadline | None,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Give a job another deadline in a status."""
        limit = TimeLimit(timeout)
        message = ExtendJob.checked(self._lifecycle, job_id, status, deadline, by, reason)
        self._bridge.send(limit, message)
        return self._views.one(message)

    def provide_input(
        self,
        job_id: str,
        prompt_id: str,
        value: object,
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Answer a job's prompt and resume it."""
        limit = TimeLimit(timeout)
        message = AnswerPrompt.checked(job_id, prompt_id, value, by, reason)
        question = GetJobs.one(job_id)
        self._bridge.send(limit, question)
        check_answer(self._views.one(question), prompt_id, message.value)
        limit.check()
        self._bridge.send(limit, message)
        return self._views.one(message)

    def wait(
        self,
        job_id: str,
        *,
        until: Collection[Status] | None = None,
        follow_ups: bool = False,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Wait until a job ends or reaches one of some statuses, and return it."""
        limit, core = TimeLimit(timeout), self.core
        message, statuses = GetJobs.one(job_id), checked_until(self._lifecycle, until)
        how: dict[str, Any] = {"follow_ups": check_flag("follow_ups", follow_ups)}
        waited_for = [job_id]
        try:
            return self._bridge.run(
                lambda: core.wait(message, statuses, limit.seconds, waited_for.append, **how),
                limit if limit.seconds else None,  # 0 reads the job once; see `JobEngine.wait`
            )
        except CallTimeoutError as error:  # the bridge's own tells nothing of the job
            late_id = error.job_id or waited_for[-1]
            raise core.too_late(error.timeout, late_id, error.status) from None

    @overload
    def result(
        self, job_id: str, kind: None = None, *, timeout: float | None = None
    ) -> str | None: ...
    @overload
    def result(self, job_id: str, kind: type[Kind], *, timeout: float | None = None) -> Kind: ...
    @overload
    def result(
        self, job_id: str, kind: UnionType | TypeAliasType, *, timeout: float | None = None
    ) -> Any: ...  # noqa: ANN401 - checkers don't know the type of these
    def result(self, job_id: str, kind: Any = None, *, timeout: float | None = None) -> Any:
        """Wait until a job ends, and return its result."""
        return self._views.result(self.wait(job_id, timeout=timeout), kind)

    @overload
    def watch(
        self,
        job_id: str | None = None,
        *,
        after: int | str | None = None,
        progress: Literal[False] = ...,
    ) -> Generator[Transition[Status], None, None]: ...
    @overload
    def watch(
        self, job_id: str | None = None, *, after: int | str | None = None, progress: bool
    ) -> Generator[Transition[Status] | Progress, None, None]: ...
    def watch(
        self, job_id: str | None = None, *, after: int | str | None = None, progress: bool = False
    ) -> Iterator[Any]:
        """Yield the transitions of one job or of all, past and new, in order.

        Use it in ``for``; the thread waits for each transition. An interrupt ends the wait.
        """
        watcher = self.core.watcher(*checked_watch(job_id, after), progress=progress)
        return _watched(watcher, self._bridge)

    def count(
        self,
        status: Status | None = None,
        *,
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        input_hash: str | None = None,
        follow_ups: bool = True,
        at_most: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Count the jobs that fit all of the given arguments; by default all jobs."""
        limit = TimeLimit(timeout)
        times = (created_after, created_before)
        jobs = checked_filter(
            *(self._lifecycle, status, kind, labels, *times),
            input_hash=input_hash,
            follow_ups=follow_ups,
        )
        counting = Count(jobs, at_most)
        message: CountJobs | None = counting.first()
        while message is not None:
            message = counting.following(self._bridge.ask(limit, message))
        return counting.found

    def list_jobs(
        self,
        status: Status | None = None,
        *,
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        input_hash: str | None = None,
        follow_ups: bool = True,
        newest_first: bool = False,
        limit: int = 100,
        after: str | None = None,
        timeout: float | None = None,
    ) -> JobPage[Status]:
        """Return a page of the jobs that fit all of the given arguments, in order of creation."""
        time_limit = TimeLimit(timeout)
        times = (created_after, created_before)
        jobs = checked_filter(
            *(self._lifecycle, status, kind, labels, *times),
            input_hash=input_hash,
            follow_ups=follow_ups,
        )
        message = ListJobs.checked(jobs, limit, after, newest_first=newest_first)
        stored = self._bridge.ask(time_limit, message)
        return self._views.page(stored, newest_first=newest_first)

    def history(self, job_id: str, *, timeout: float | None = None) -> list[Transition[Status]]:
        """Return every transition of a job, from its creation on."""
        return self._views.transitions(
            self._bridge.ask(TimeLimit(timeout), ReadHistory.checked(job_id))
        )

    def attempts(self, job_id: str, *, timeout: float | None = None) -> list[FailedAttempt]:
        """Return the attempts of a job that have failed or died, oldest first: the newest 20."""
        return self._views.attempts(
            self._bridge.ask(TimeLimit(timeout), ReadAttempts.checked(job_id))
        )

    def audit(
        self,
        *,
        job_id: str | None = None,
        limit: int = 100,
        before: int | None = None,
        timeout: float | None = None,
    ) -> list[AuditEntry]:
        """Return the newest entries of the audit, newest first: who has acted, and why."""
        time_limit = TimeLimit(timeout)
        message = ReadAudit.checked(job_id, limit, before)
        return self._views.audit(self._bridge.ask(time_limit, message))

    def backup(
        self,
        path: str | PathLike[str],
        *,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write a consistent copy of all jobs into a new file, while other calls go on."""
        limit, target = TimeLimit(timeout), path_at(path, "path")
        act = acted("backup", checked_act(by, reason), {"path": str(target)})
        self._bridge.ask(limit, Count(ALL_JOBS).first())  # fails if the engine can't be called
        self._storage.backup(target, limit.check)
        if act is not None:
            with logged_if_not_noted(target):
                self._ask_of_write(limit, NoteAct(act))

    def prune(
        self,
        *,
        older_than: timedelta | None = None,
        keep: int | None = None,
        by: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Remove ended jobs now, as a `Retention` does; return how many jobs were removed."""
        limit = TimeLimit(timeout)
        retention, act = pruned_by(older_than, keep), checked_act(by, reason)
        try:
            return self._bridge.run(lambda: prune(self._inbox, retention, act), limit)
        except CallTimeoutError as error:
            raise WriteTimeoutError(error.timeout) from None

    def statistics(self, *, timeout: float | None = None) -> Statistics[Status]:
        """Count the jobs that the engine holds, and its work since it started."""
        return self.core.statistics(self._bridge.ask(TimeLimit(timeout), ReadStatistics()))


def _watched(
    watcher: Watcher[Status], bridge: SyncBridge
) -> Generator[Transition[Status] | Progress, None, None]:
    try:
        while found := bridge.run(watcher.next):
            yield from found
    finally:
        bridge.call_soon(watcher.close)
