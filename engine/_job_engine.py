"""The facade for applications on asyncio and trio: every call is awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from anyio import from_thread, to_thread
from typing_extensions import TypeAliasType, TypeVar

from engine.control.option import control_option
from engine.domain.audit_entry import AuditEntry
from engine.domain.deadlines import Deadline
from engine.domain.exceptions import (
    EngineNotStartedError,
    EngineStartedError,
    InvalidValueError,
    StorageError,
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
from engine.domain.validation import check_flag, check_timeout
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
from engine.owner.message import Answer, Message
from engine.owner.prompts import check_answer
from engine.owner.watching import Watch
from engine.portal import Held, LoopAffinity, call_soon, hold
from engine.portal.time import Clock, utc_now
from engine.storage.filter import ALL_JOBS
from engine.storage.locations import Location
from engine.storage.sqlite.paths import path_at

Kind = TypeVar("Kind")


class JobEngine(EngineBase[Status]):
    """Keeps jobs and moves them as their lifecycle allows. An async context manager.

    ::

        async with JobEngine() as engine:
            job = await engine.create("2c26b46b…")
            await engine.transition(job.job_id, JobStatus.RUNNING)

    The calls send messages to one owner task, which decides all of them in one order. When a call
    returns, the storage has committed its change. Any number of tasks may call at the same time, on
    the event loop that started the engine; threads use `engine.SyncJobEngine`.

    **Cancellation**: a call puts its message into the inbox at once, without a checkpoint, and then
    waits for the answer. Cancelling it loses the answer: a read has no effect, and a write is
    applied as a whole or not at all. Any later read comes after that write and shows its outcome.
    An ``idempotency_key`` makes it safe to repeat a create, an ``expected_version`` to repeat a
    transition. A call makes the snapshots of a large answer in slices of some milliseconds, with a
    checkpoint after each: a write that is cancelled there has been applied.

    **Errors of every call**, besides its own: `OverloadedError` if ``max_waiting`` is reached;
    `StorageError` if the storage refuses; `EngineNotStartedError`, `EngineClosedError`,
    `EngineCrashedError` or `WrongLoopError` if the engine can't be called. They mean that nothing
    was applied. Only an `OutcomeUnknownError` leaves that open (`CommitUnknownError`,
    `CommitCrashedError`): read the job again.

    Args:
        storage: Where to keep the jobs: the path of a file, such as ``"jobs.db"`` (see
            `SQLiteStorage`), its URL, such as ``"sqlite:///jobs.db"``, the URL of a database, such
            as ``"postgresql://host/jobs"`` (see `engine.storage.postgres.PostgresStorage`), or any
            storage. By default, and for ``":memory:"``, a new `MemoryStorage`. The engine closes
            it.
        lifecycle: The statuses and the legal moves; by default `PAID_JOB_LIFECYCLE`.
        retention: The rule by which ended jobs are removed; by default the engine keeps all.
        follow_ups: Rules by which transitions create other jobs; see `FollowUp`. They are kept
            with the jobs: the engine adds them, or replaces those of the same kinds.
        on_transition: Called with each transition that this engine commits, in their order, on the
            event loop of the engine, without the context (`contextvars`) of whoever opens the
            engine. Over a database, those of other engines come by `watch` alone. Keep it short:
            every caller waits meanwhile. Its errors are logged.
        clock: Returns the time as an aware datetime. The owner reads it once for all writes that it
            decides together. It dates changes and deadlines, and never measures a duration. Over a
            database the server's clock corrects it.
        new_id: Returns the id of a new job: 1 to 256 characters, never the same twice. Called in
            the caller's task or thread.
        max_waiting: The most jobs that waiting calls may name; past it the engine refuses calls.
            Each 4,096 characters of inputs, answers, results and errors count as one more job. A
            call counts until it is decided, even if its caller has gone. 1 to 1,000,000.
        max_batch: The number of jobs that fills a batch, counted in the same way. 1 to 100,000.
        control: Whether an engine on a file listens on a socket beside it, ``jobs.db-control``, by
            which other programs on the machine look at its jobs and act on them. Who may write the
            file may use the socket. Where there can be none, the engine logs a warning.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range.
        RuntimeError: The storage is a PostgreSQL database, and the extra ``engine[postgres]`` is
            not installed.
    """

    @overload
    def __init__(
        self: JobEngine[JobStatus],
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
    ) -> None:
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
            is_blocking=False,
        )
        self.core.when_open = control_option(control)
        self._affinity: LoopAffinity | None = None
        self._held: Held | None = None

    async def __aenter__(self) -> Self:
        """Open the storage and start the owner task. An engine starts once.

        On asyncio any task may leave it: a fixture, a startup or shutdown callback, a notebook's
        cell. If none does before the event loop ends, that is the death of the engine for the jobs
        at work. On trio the task that entered it, and the engine that was entered last first, like
        any nursery. Cancelling the start closes the storage again.

        Raises:
            EngineStartedError: The engine was started before.
            InvalidValueError: The clock returns no aware time.
            StorageError: The storage can't be opened; `SQLiteStorage.open` and
                `PostgresStorage.open` list the errors.
            LifecycleError: A file has a job in a status that the lifecycle doesn't have.
            InvalidValueError: The follow-ups make a circle with those that are kept, or are too
                many with them.
        """
        if self._affinity is not None:
            raise EngineStartedError
        self._affinity = self.core.affinity = LoopAffinity()
        held = hold(self._owner)
        await held.enter()
        self._held = held
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close workers and gates, refuse new calls, answer the waiting ones, close the storage.

        A cancellation does not cut this short: every accepted call is answered. Does nothing the
        second time.

        Raises:
            EngineCrashedError: The owner crashed, and the body raised no error.
            EngineNotStartedError: It has not been entered.
            StorageError: The storage can't be closed, and the body raised no error.
            BaseException: An interrupt, which also cancels the task that entered the engine, if
                that still runs: what a signal's handler of the program raised in a handler of jobs,
                a hook or a check, or a `SystemExit` or `KeyboardInterrupt` of the owner's task.
            WrongLoopError: Called on another event loop, or by a handler or a check that it runs;
                or, on trio, in another task than the one that entered it, or before a later engine
                is left. The engine stays open.
        """
        held = self._held
        if held is None:
            raise EngineNotStartedError
        self.core.check_caller()
        check_outside(self.core, "engine")
        return await held.leave(kind, error, traceback)

    if not TYPE_CHECKING:  # type checkers find the mistake by themselves

        def __enter__(self) -> Self:
            """Refuse ``with``.

            Raises:
                InvalidValueError: Always.
            """
            raise InvalidValueError(
                "engine",
                "is a JobEngine: use `async with JobEngine(…)`, or `with SyncJobEngine(…)` where "
                "nothing is awaited",
            )

        def __exit__(self, *_: object) -> None:
            """Python asks for it before it enters."""

    @property
    def healthy(self) -> bool:
        """Whether the engine can be called: it has been entered, and has not crashed or closed.

        Waits for nothing, reads no storage, and may be asked in any thread: for health checks.
        """
        return self._inbox.is_open

    async def create(
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
    ) -> Job[Status]:
        """Create a job, in the initial status or running.

        Args:
            input_hash: The hash of the work's input, or any other text: 1 to 256 characters. By
                default the SHA-256 of the input in its canonical form (RFC 8785), or of ``null``.
            kind: What sort of work it is, and so which handler runs it: 1 to 64 of ``a-z``,
                ``0-9``, ``_``, ``.`` and ``-``.
            payment_id: Names the payment elsewhere: 1 to 256 characters. One payment pays for one
                job, as long as the retention rule keeps that job.
            idempotency_key: 1 to 256 characters. The same key with the same content returns the
                existing job, as it is now. The content is ``kind``, ``input_hash``, ``input`` and
                a ``payment_id`` that is given. Inputs are compared as values: the order of keys
                doesn't count, and 1 equals 1.0.
            start: Whether the job is born running, without a gate: one transition, one commit.
            not_before: No worker claims the job before this time: a `timedelta` above 0 from the
                creation, or an aware `datetime`. The deadline of the running status counts from
                then. It moves no job.
            labels: Up to 16 names, of 1 to 64 characters without ``=``, with texts of 1 to 256.
                They never change, and `list_jobs` finds the job by them.
            input: The handler's input: a JSON value, or a value of a type that pydantic knows, such
                as a model, a list of models or a datetime; up to 262,144 characters as JSON. Models
                are written by their aliases.
            priority: Ready jobs with a higher priority run first: -1,000,000 to 1,000,000.
            deadlines: How long the job may stay in each status: a `timedelta` above 0 from entering
                it, or an aware `datetime`. When the time is up, the job moves as the lifecycle's
                ``expires_to`` says.
            trace: The submitter's trace context, as OpenTelemetry's ``inject`` fills it in: the
                W3C's ``traceparent`` and ``tracestate``, up to 512 characters each. Other keys are
                left out. `engine.telemetry` links the spans of the attempts to it.
            by: Who creates the job: 1 to 256 characters, for its history.
            reason: Why: up to 4,096 characters, for its history.
            connection: Yours to the engine's own PostgreSQL database, in a transaction: the job
                then exists exactly if you commit that. It is a ``psycopg.AsyncConnection``, a
                connection of asyncpg, or an ``AsyncConnection`` or ``AsyncSession`` of SQLAlchemy
                over either; for `SyncJobEngine` a ``psycopg.Connection``, or a ``Connection`` or
                ``Session`` of SQLAlchemy. The job's times are those of this call, and its
                ``sequence`` is 0 until the commit. A key or payment that another job has got
                meanwhile fails the commit, as a violation of a unique constraint. `SyncJobEngine`
                takes no ``timeout`` then: set your connection's ``statement_timeout``.

        Raises:
            InvalidValueError: A value has the wrong type, size or form; or the input has an
                integer beyond 2**53 - 1, and there is no ``input_hash``; or a part of the input
                would not come back equal, such as a secret, an excluded field or the fields of a
                subclass; or its type is a recursive union that needs a discriminator; or the
                status of a deadline has no ``expires_to``; or the connection is of another kind,
                to another database, in autocommit, or in a transaction whose isolation is not read
                committed; or the engine's jobs are not in PostgreSQL.
            IdempotencyConflictError: A job with other content has the key. The key is judged first.
            PaymentInUseError: The payment pays for another job.
            DuplicateJobIdError: ``new_id`` returned the id of an existing job.
            Exception: The driver's, if the ``connection`` fails. Roll your transaction back then,
                and also when the call is cancelled.
        """
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
            await self._sent(message)
        else:
            self.core.check_caller()
            self._inbox.check_open()
            await self._arriving.create(message, connection)
        return self._views.one(message)

    async def create_many(self, jobs: Iterable[NewJob]) -> list[Job[Status]]:
        """Create up to 10,000 jobs in one message, all or none, in their order.

        Raises:
            InvalidValueError, IdempotencyConflictError, PaymentInUseError, DuplicateJobIdError: As
                for `create`; the error's ``item`` is the number of the wrong job, counted from 0.
                Or the jobs that have the keys already have more than 16,777,216 characters
                together.
        """
        message = CreateJobs.many(self._lifecycle, self._new_id, jobs)
        return await self._views.jobs_in_slices(await self._ask(message))

    async def get(self, job_id: str) -> Job[Status]:
        """Return a job as it is now.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: No job has this id.
        """
        message = GetJobs.one(job_id)
        await self._sent(message)
        return self._views.one(message)

    async def get_many(self, job_ids: Iterable[str]) -> list[Job[Status]]:
        """Return up to 10,000 jobs as they are at one moment, in the order of the given ids.

        Raises:
            InvalidValueError, JobNotFoundError: As for `get`; the error's ``item`` is the number of
                the wrong id, counted from 0. Or the jobs' inputs, results, errors, prompts and
                answers have more than 16,777,216 characters together: the error says how many jobs
                to ask for at a time.
        """
        return await self._views.jobs_in_slices(await self._ask(GetJobs.many(job_ids)))

    async def find(
        self, *, idempotency_key: str | None = None, payment_id: str | None = None
    ) -> Job[Status]:
        """Return the job that has an idempotency key, or that a payment pays for.

        Args:
            idempotency_key: The key that the job was created with.
            payment_id: The payment that was given for the job; or ``mock_bc_`` and the id of a job
                without one, its `Job.blockchain_identifier`.

        Raises:
            InvalidValueError: The name is no text of 1 to 256 characters, or not just one is given.
            JobNotFoundError: No job has this name.
        """
        message = FindJob.checked(idempotency_key, payment_id)
        await self._sent(message)
        return self._views.one(message)

    async def transition(
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
    ) -> Job[Status]:
        """Move a job to another status.

        From the lifecycle's ``exhausted_to`` back to running it has fresh attempts, as by `retry`.

        Args:
            job_id: The job's id.
            target: The status to move to.
            result: The result of the work, only for a status of success: up to 1,048,576
                characters.
            error: The cause of the failure, only for a status of failure: up to 65,536 characters.
            expected_version: Move the job only if it still has this version.
            expected_status: Move the job only if it has this status. A move to the running status
                needs this or the version, unless the job is in the initial status: a payment's
                callback that comes twice must not take up a job that has come further.
            attempt_token: The token of the attempt that has the job: `Context.token`.
            by: Who moves the job: 1 to 256 characters, for its history.
            reason: Why: up to 4,096 characters, for its history.

        Raises:
            InvalidValueError: A value has the wrong type, size or form, a result comes without
                success, or an error without failure.
            JobNotFoundError: No job has this id.
            VersionConflictError: The job has another version.
            StatusConflictError: The job has another status than ``expected_status``.
            InvalidStateTransitionError: The lifecycle has no such move, or it leads back to the
                running status, and neither version nor status is expected.
            JobClaimedError: An attempt has the job, and the call has no token.
            StaleAttemptError: The attempt with this token doesn't have the job any more.
        """
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
        await self._sent(message)
        return self._views.one(message)

    async def transition_many(self, moves: Iterable[Move[Status]]) -> list[Job[Status]]:
        """Make up to 10,000 moves in one message, all or none, in their order.

        A job may move more than once; each move sees the earlier ones. A deadline that has passed
        when a move enters its status is applied after the call.

        Raises:
            InvalidValueError, JobNotFoundError, VersionConflictError, StatusConflictError,
            InvalidStateTransitionError, JobClaimedError, StaleAttemptError: As for `transition`;
                the error's ``item`` is the number of the wrong move, counted from 0.
        """
        message = MoveJobs.many(self._lifecycle, moves)
        return await self._views.jobs_in_slices(await self._ask(message))

    async def start(
        self,
        job_id: str | None = None,
        *,
        payment_id: str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> Started[Status]:
        """Start a job once in its life, however often the callback of its payment comes.

        Moves a job from the initial to the running status. A job that has started before is left
        alone, whatever has come after. So a callback may come twice, late and in any order with
        others.

        Args:
            job_id: The job's id; None if the payment names the job.
            payment_id: The payment's name elsewhere, or the job's ``blockchain_identifier``. With
                a ``job_id`` it is recorded as that job's payment, also after the start.
            by: Who starts the job: 1 to 256 characters, for its history.
            reason: Why: up to 4,096 characters, for its history.

        Returns:
            The job as it is now, and whether this call has started it.

        Raises:
            InvalidValueError: A value has the wrong type or size, or both names are missing.
            JobNotFoundError: No job has this id, or this payment.
            PaymentInUseError: The payment pays for another job.
            PaymentConflictError: Another payment pays for the job: give this one back.
            JobEndedError: The job has ended without ever starting, as ``outcome`` says: give the
                money back. Each call says so.
            InvalidStateTransitionError: The job has never started, and is not in the initial
                status.
            LifecycleError: The lifecycle has no move from the initial to the running status.
        """
        message = StartJob.checked(self._lifecycle, job_id, payment_id, by, reason)
        await self._sent(message)
        return Started(self._views.one(message), message.is_first)

    async def cancel(
        self, job_id: str, reason: str | None = None, *, by: str | None = None
    ) -> Job[Status]:
        """End a waiting job, or ask the attempt that has it to stop.

        A job without an attempt ends at once: in the status that the lifecycle's ``cancels_to``
        names, with the error ``cancelled`` and the reason. A running handler is cancelled, but may
        complete its job first: one of the two wins. The request is stored with the job and survives
        a crash. Another cancel of a job that is to be cancelled, or has ended as cancelled, changes
        nothing.

        Args:
            job_id: The job's id.
            reason: Why, stored with the job: up to 4,096 characters; None is stored as an empty
                text.
            by: Who cancels the job: 1 to 256 characters. The transition that ends the job has both
                in its history, whenever it comes.

        Returns:
            The job: ended, or still running with its ``cancel_reason``; then `wait` for its end.

        Raises:
            InvalidValueError: The id, the reason or ``by`` has the wrong type or size.
            JobNotFoundError: No job has this id.
            JobEndedError: The job has ended otherwise, even if a cancel came before its end.
            InvalidStateTransitionError: The lifecycle has no ``cancels_to`` for the job's status.
        """
        message = CancelJob.checked(job_id, reason, by)
        await self._sent(message)
        return self._views.one(message)

    async def repeat(
        self, job_id: str, *, by: str | None = None, reason: str | None = None
    ) -> Job[Status]:
        """Create a job like an ended one, born running, and link both.

        It has the kind, the input, the labels, the priority, the trace context and the durations
        among the deadlines of the ended job, and a new id that follows from the old one. Deadlines
        that are times of the calendar and ``not_before`` are left out. The payment stays with the
        ended job, and the answers to its prompts, too. A job has one repeat at most, whoever calls:
        a second call returns that one, as it is now. Repeat the repeat to go on.

        Args:
            job_id: The id of the ended job.
            by: Who repeats it: 1 to 256 characters, for the history of the new job.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument has the wrong type or size.
            JobNotFoundError: No job has this id; or its repeat was removed by the retention rule.
            InvalidStateTransitionError: The job has not ended.
        """
        message = RepeatJob.checked(job_id, by, reason)
        await self._sent(message)
        return self._views.one(message)

    async def follow_up(
        self, job_id: str, rule: str, *, by: str | None = None, reason: str | None = None
    ) -> Job[Status]:
        """Create the follow-up of an ended job by a rule, where no transition has.

        Such as the refund of a completed job. A job has one follow-up at most by each rule at its
        end, whether the engine has made it, this call or `backfill`: then this returns that one, as
        it is now. What the rule says about statuses, outcomes, starts and labels does not count,
        for a person decides here; its ``of`` does.

        Args:
            job_id: The id of the ended job.
            rule: The kind of the rule.
            by: Who wants it: 1 to 256 characters, for the history of the follow-up.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument has the wrong type or size, or there is no such rule,
                or it is about other jobs.
            JobNotFoundError: No job has this id.
            InvalidStateTransitionError: The job has not ended.
        """
        self.core.check_caller()
        steps = following(self._lifecycle, job_id, rule, by, reason)
        return self._views.job(await self.core.converse(steps))

    async def follow_ups(self, job_id: str) -> list[Job[Status]]:
        """Return the follow-ups of a job, in the order of their creation; not theirs.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: No job has this id.
            JobDamagedError: The job, or a follow-up in its family, can't be read.
        """
        self.core.check_caller()
        return await self._views.jobs_in_slices(await self.core.converse(read_follow_ups(job_id)))

    async def backfill(
        self,
        rule: str,
        *,
        since: datetime | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Create the follow-ups of the jobs that had ended before a rule was there; count them.

        It goes through the jobs in the final statuses of the rule, 200 in a step, and other calls
        are answered in between. A job that has its follow-up gets no other one: after a
        cancellation or a crash, call it again.

        Args:
            rule: The kind of the rule.
            since: Only jobs that ended at this time or later: an aware datetime. By default all.
            by: Who wants it: 1 to 256 characters, for the histories of the follow-ups.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument has the wrong type or size, or there is no such rule.
        """
        self.core.check_caller()
        return await self.core.converse(backfilling(self._lifecycle, rule, since, by, reason))

    async def rules(self) -> list[FollowUp[Status]]:
        """Return the rules of follow-ups that are kept with the jobs, whoever gave them."""
        return self._views.rules(await self._ask(ReadRules()))

    async def remove_rule(
        self, kind: str, *, by: str | None = None, reason: str | None = None
    ) -> bool:
        """Remove the rule of follow-ups for a kind; return whether there was one.

        Jobs that it has created stay. An engine that is opened with the rule adds it again.

        Args:
            kind: The kind.
            by: Who removes it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: ``kind`` is malformed, or ``by`` or ``reason`` has the wrong type or
                size.
        """
        return await self._ask(RemoveRule(kind, by, reason))

    async def disable_rule(
        self, kind: str, *, by: str | None = None, reason: str | None = None
    ) -> bool:
        """Disable the rule of follow-ups for a kind, if it is not; return whether there is one.

        It creates nothing until `enable_rule`, whatever engines are opened with. Jobs that it has
        created go on.

        Args:
            kind: The kind.
            by: Who disables it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: ``kind`` is malformed, or ``by`` or ``reason`` has the wrong type or
                size.
        """
        return await self._ask(SwitchRule(kind, by, reason, disabled=True))

    async def enable_rule(
        self, kind: str, *, by: str | None = None, reason: str | None = None
    ) -> bool:
        """Enable the rule of follow-ups for a kind if it is disabled; return if there is one.

        An error of a handler may have disabled it; see `FollowUp`. What has happened meanwhile has
        no follow-ups by it: `backfill` creates those of jobs that have ended.

        Args:
            kind: The kind.
            by: Who enables it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: ``kind`` is malformed, or ``by`` or ``reason`` has the wrong type or
                size.
        """
        return await self._ask(SwitchRule(kind, by, reason, disabled=False))

    async def pause(
        self,
        kind: str | None = None,
        *,
        gate: str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Pause a kind or a gate until `resume`; return whether it was not paused.

        No engine claims jobs of a paused kind. Attempts at work go on, and so do deadlines; jobs of
        the kind are still created, started, moved and cancelled.

        No engine calls the check of a paused gate. A check that runs ends, but its jobs stay, even
        if `resume` comes first: once this has returned, no gate of the name moves a job in this
        engine by an earlier choice. Callbacks and other gates still do.

        This engine follows at once. The others of a database follow within milliseconds if they
        hear notifications, and else at their next beat. The pause is kept with the jobs, and
        outlives each engine.

        Args:
            kind: The kind; there need be no job of it. Up to 256 kinds and gates may be paused.
            gate: Instead of a kind, the name of a `Gate`, 1 to 256 characters; it need not be open.
            by: Who pauses it: 1 to 256 characters, for `paused` and for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument is of the wrong type or size; both a kind and a gate are
                given, or neither; or too many are paused.
        """
        return await self._ask(BeginPause(kind, gate, by, reason))

    async def resume(
        self,
        kind: str | None = None,
        *,
        gate: str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Resume a kind or a gate; return whether it was paused.

        The ready jobs of the kind are claimed again. The check of the gate is called again at its
        next interval.

        Args:
            kind: The kind.
            gate: Instead of a kind, the name of a gate.
            by: Who resumes it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument is of the wrong type or size; or both a kind and a gate
                are given, or neither.
        """
        return await self._ask(EndPause(kind, gate, by, reason))

    async def paused(self) -> list[Pause]:
        """Return what is paused: the kinds in their order, and then the gates in theirs."""
        return [*await self._ask(ReadPauses())]

    async def drain(
        self,
        engine_id: int | None = None,
        *,
        undo: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Let an engine claim nothing more; it goes on with the jobs that it has.

        Drain it before you stop it, and wait until ``statistics().running`` is 0, or until `engine
        stats` shows that it has no jobs. A drain ends with the engine, or by ``undo``.

        Args:
            engine_id: The number of an engine of the same database, as `engine stats` shows it,
                which follows as another one does a `pause`; by default this engine, at once.
            undo: Whether it claims jobs again.
            by: Who drains it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument is of the wrong type or size, or no living engine has the
                number.
        """
        await self._ask(DrainEngine(engine_id, undo=undo, by=by, reason=reason))

    async def extend(
        self,
        job_id: str,
        status: Status,
        deadline: Deadline | None,
        *,
        by: str | None = None,
        reason: str | None = None,
    ) -> Job[Status]:
        """Give a job another deadline in a status.

        Args:
            job_id: The job's id.
            status: The present status of the job, or one that it may enter later.
            deadline: A `timedelta` above 0: from now in the present status, or else from entering
                the status. Or an aware `datetime`. None: no limit.
            by: Who extends it: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument has the wrong type or size, or the status has no
                ``expires_to``.
            JobNotFoundError: No job has this id.
            JobEndedError: The job has ended.
        """
        message = ExtendJob.checked(self._lifecycle, job_id, status, deadline, by, reason)
        await self._sent(message)
        return self._views.one(message)

    async def retry(
        self, job_id: str, *, by: str | None = None, reason: str | None = None
    ) -> Job[Status]:
        """Let a job run again now, with fresh attempts: no failure or death counts any more.

        From the lifecycle's ``exhausted_to`` the job moves back to the running status. A running
        job whose attempt has failed or died, and that waits for its next one, does not move: it
        waits no longer. The numbers of its attempts go on. The earliest time that its submitter has
        given, ``not_before``, stays as it is, and so does the deadline of a job that does not move.

        Args:
            job_id: The job's id.
            by: Who retries it: 1 to 256 characters, for the history, which has only moves.
            reason: Why: up to 4,096 characters, for the history.

        Raises:
            InvalidValueError: An argument has the wrong type or size.
            JobNotFoundError: No job has this id.
            NotRetryableError: No attempt of the job has failed, or one is at work, or the job is
                elsewhere: it waits for its start or an answer, or has ended.
        """
        message = RetryJob.checked(job_id, by, reason)
        await self._sent(message)
        return self._views.one(message)

    async def provide_input(
        self,
        job_id: str,
        prompt_id: str,
        value: object,
        *,
        by: str | None = None,
        reason: str | None = None,
    ) -> Job[Status]:
        """Answer a job's prompt and resume it.

        The handler runs again, and `Context.request_input` returns the answer.

        Args:
            job_id: The job's id.
            prompt_id: The id of the prompt, from `Job.prompt`.
            value: The answer, which fits the prompt's schema: a JSON value, or a value of a type
                that pydantic knows, as for `create`; up to 262,144 characters as JSON.
            by: Who answers: 1 to 256 characters, for the job's history.
            reason: Why: up to 4,096 characters, for its history.

        Raises:
            InvalidValueError: The value doesn't fit the JSON Schema of the prompt, is no such value
                or would not come back equal; or the schema's steps for a value, times the values in
                the answer, exceed 5,000,000; or all answers of the job exceed 1,048,576 characters.
                The job still waits.
            StalePromptError: The job doesn't wait for an answer to this prompt, or not any more.
            InvalidStateTransitionError: The lifecycle can't move the job back to running.
            JobNotFoundError: No job has this id.
            RuntimeError: The extra ``engine[input]`` is not installed.
        """
        message = AnswerPrompt.checked(job_id, prompt_id, value, by, reason)
        check_answer(await self.get(job_id), prompt_id, message.value)
        await self._sent(message)
        return self._views.one(message)

    async def wait(
        self,
        job_id: str,
        *,
        until: Collection[Status] | None = None,
        follow_ups: bool = False,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Wait until a job ends or reaches one of some statuses, and return it.

        Does not poll; any number of tasks may wait. Cancelling the wait does not affect the job.

        Args:
            job_id: The job's id.
            until: The statuses to wait for; the end of the job ends the wait, too. None: wait for
                the end.
            follow_ups: Wait until all its follow-ups, and theirs, have ended, too. One that needs
                attention has not.
            timeout: Seconds for the whole call, 0 or more; None for no limit. 0 reads the job once,
                however long that takes, and does not wait.

        Raises:
            InvalidValueError: An argument has the wrong type, size or form.
            JobNotFoundError: No job has this id.
            JobDamagedError: The job can't be read; or a follow-up that is waited for, so nobody
                knows whether it has ended.
            CallTimeoutError: The job did not get there in time, or a follow-up did not end, which
                the error then names; it carries on.
        """
        self.core.check_caller()
        message = GetJobs.one(job_id)
        return await self.core.wait(
            message,
            checked_until(self._lifecycle, until),
            check_timeout(timeout),
            follow_ups=check_flag("follow_ups", follow_ups),
        )

    @overload
    async def result(
        self, job_id: str, kind: None = None, *, timeout: float | None = None
    ) -> str | None: ...
    @overload
    async def result(
        self, job_id: str, kind: type[Kind], *, timeout: float | None = None
    ) -> Kind: ...
    @overload
    async def result(
        self, job_id: str, kind: UnionType | TypeAliasType, *, timeout: float | None = None
    ) -> Any: ...  # noqa: ANN401 - checkers don't know the type of these
    async def result(
        self,
        job_id: str,
        kind: Any = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Wait until a job ends, and return its result.

        Args:
            job_id: The job's id.
            kind: The type of the result: a pydantic model, or any type that pydantic knows. A text
                is read as a text, or else as JSON; a result that is JSON (`Job.result_form`) the
                other way round. Aliases and names are read. None returns `Job.result`.
            timeout: Seconds for the wait, as for `wait`; None for no limit.

        Raises:
            JobFailedError: The job has failed, and so has no result.
            InvalidValueError: An argument has the wrong type, size or form; or the result doesn't
                fit the type, or can take too long to read as it.
            JobNotFoundError: No job has this id.
            CallTimeoutError: The job did not end in time; it carries on.
        """
        return self._views.result(await self.wait(job_id, timeout=timeout), kind)

    @overload
    def watch(
        self,
        job_id: str | None = None,
        *,
        after: int | str | None = None,
        progress: Literal[False] = ...,
    ) -> Watch[Transition[Status]]: ...
    @overload
    def watch(
        self, job_id: str | None = None, *, after: int | str | None = None, progress: bool
    ) -> Watch[Transition[Status] | Progress]: ...
    def watch(
        self, job_id: str | None = None, *, after: int | str | None = None, progress: bool = False
    ) -> AsyncIterator[Any]:
        """Yield the transitions of one job or of all, past and new, in order.

        Use it in ``async for``. For one job it ends after the last transition; for all jobs it goes
        on until the engine closes. A slow watcher misses nothing and delays no one. It takes no
        more memory either: it keeps up to 1,000 transitions, and reads the rest from the history.
        You may cancel the wait for a transition and iterate on: none is lost. ``aclose`` ends the
        iteration, even of a task that waits for the next transition; `contextlib.aclosing` calls it
        at the end of a block.

        Args:
            job_id: The job's id; None for all jobs.
            after: The sequence number or the cursor (`Transition.cursor`) to start behind: from the
                history on, without gaps or duplicates. A copy of the storage that goes on in
                another way refuses a cursor; it can't know a number. 0: start with the oldest
                transition that is left. None: start with the job's first transition; for all jobs,
                with the first that is committed after this call.
            progress: Also yield the progress that handlers report, the newest of each job.

        Raises:
            InvalidValueError: An argument has the wrong type, size or form.
            JobNotFoundError: No job has this id.
            UnknownCursorError: The newest transition has a lower number than ``after``, or the
                cursor is of another history, as in a storage that was restored from a copy.
            CursorExpiredError: The retention rule has removed transitions that come after. Never
                for one job, which keeps all its transitions.
            EngineClosedError, EngineCrashedError: The engine ended before the job did. This also
                ends the watch of all jobs.
        """
        self.core.check_caller()
        watcher = self.core.watcher(*checked_watch(job_id, after), progress=progress)
        return Watch(watcher, call_soon())

    async def count(
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
    ) -> int:
        """Count the jobs that fit all of the given arguments; by default all jobs.

        A count by several of them, by the kind ``default``, by the time of creation or by the hash
        goes through many jobs in steps; other calls are answered in between. Then a job that
        changes its status meanwhile counts as it was or as it is.

        Args:
            status: The status of the jobs; by default any. This and the others as for `list_jobs`.
            kind: Their kind; by default any.
            labels: Labels that they all have.
            created_after: They were created at this time or later.
            created_before: They were created before this time.
            input_hash: The hash of their input.
            follow_ups: False: leave follow-ups out.
            at_most: Stop at this number, from 1 on: to know whether there are so many takes less
                time than to count them all.

        Raises:
            InvalidValueError: As for `list_jobs`; or ``at_most`` is no number from 1 on.
        """
        times = (created_after, created_before)
        jobs = checked_filter(
            *(self._lifecycle, status, kind, labels, *times),
            input_hash=input_hash,
            follow_ups=follow_ups,
        )
        counting = Count(jobs, at_most)
        message: CountJobs | None = counting.first()
        while message is not None:
            message = counting.following(await self._ask(message))
        return counting.found

    async def list_jobs(
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
    ) -> JobPage[Status]:
        """Return a page of the jobs that fit all of the given arguments, in order of creation.

        The pages repeat no job, and leave out no job that keeps its status. Jobs that are created
        meanwhile come at the end; with ``newest_first`` they don't come.

        A page by one of ``status``, ``kind`` and a label is as long as it may be. One by several of
        them, by the kind ``default``, by the time of creation or by the hash goes through a few
        thousand jobs at most, and so may have fewer, even none, and a ``next_cursor``: go on until
        that is None.

        Args:
            status: The status of the jobs; by default any.
            kind: Their kind; by default any.
            labels: Labels that they all have; they may have others.
            created_after: They were created at this time or later: an aware datetime. Times come
                from the engine's clock, so they need not be in the order of creation.
            created_before: They were created before this time: an aware datetime.
            input_hash: The hash of their input, as `create` got it or made it.
            follow_ups: False: leave follow-ups out.
            newest_first: Whether the newest job comes first.
            limit: The size of the page: 1 to 1,000. It ends early, with a cursor, where its inputs,
                results, errors, prompts and answers have 16,777,216 characters together.
            after: The ``next_cursor`` of the page before, in the same order; by default the first
                page.

        Raises:
            InvalidValueError: An argument is of the wrong type, out of its range, or no cursor of
                this order; or no job can have the kind, the labels or the hash.
        """
        times = (created_after, created_before)
        jobs = checked_filter(
            *(self._lifecycle, status, kind, labels, *times),
            input_hash=input_hash,
            follow_ups=follow_ups,
        )
        message = ListJobs.checked(jobs, limit, after, newest_first=newest_first)
        stored = await self._ask(message)
        return await self._views.page_in_slices(stored, newest_first=newest_first)

    async def history(self, job_id: str) -> list[Transition[Status]]:
        """Return every transition of a job, from its creation on.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: No job has this id.
            LifecycleError: The job went through a status that the lifecycle no longer has.
        """
        return self._views.transitions(await self._ask(ReadHistory.checked(job_id)))

    async def attempts(self, job_id: str) -> list[FailedAttempt]:
        """Return the attempts of a job that have failed or died, oldest first: the newest 20.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: No job has this id.
        """
        return self._views.attempts(await self._ask(ReadAttempts.checked(job_id)))

    async def audit(
        self, *, job_id: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[AuditEntry]:
        """Return the newest entries of the audit, newest first: who has acted, and why.

        Every call that is given ``by`` and changes something leaves an entry for each job that it
        changes, in the commit that changes the job. Creations leave none, and neither do workers,
        gates, deadlines and the follow-ups that rules create. The newest 100,000 entries are kept,
        also those of jobs that were removed.

        Args:
            job_id: Only acts on this job, which need not be there; None: all acts.
            limit: The most entries to return: 1 to 1,000.
            before: The number of an entry: only older ones. None: from the newest on.

        Raises:
            StorageDamagedError: One of these entries can't be read. The error says its number, as
                ``before`` needs it to read those behind it.
            InvalidValueError: An argument is of the wrong type or out of its range.
        """
        return self._views.audit(await self._ask(ReadAudit.checked(job_id, limit, before)))

    async def statistics(self) -> Statistics[Status]:
        """Count the jobs that the engine holds, and its work since it started."""
        return self.core.statistics(await self._ask(ReadStatistics()))

    async def backup(
        self, path: str | PathLike[str], *, by: str | None = None, reason: str | None = None
    ) -> None:
        """Write a consistent copy of all jobs into a new file, while other calls go on.

        The copy has every change that was acknowledged before this call. Cancelling the backup
        stops it and leaves no file.

        Args:
            path: The new file. Its folder has to exist.
            by: Who makes it: 1 to 256 characters, for the audit, which notes it behind the copy;
                if it can't, that is logged, for the copy is there.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            StorageError: The file exists already or can't be written, or the engine keeps its jobs
                in memory, or in a database: `pg_dump` copies that.
            InvalidValueError: ``path`` is no path, or ``by`` or ``reason`` has the wrong type or
                size.
        """
        target = path_at(path, "path")
        act = acted("backup", checked_act(by, reason), {"path": str(target)})
        await self._ask(Count(ALL_JOBS).first())  # fails if the engine can't be called

        is_abandoned = False

        def check_cancelled(_done: int, _of: int) -> None:
            from_thread.check_cancelled()
            if is_abandoned:  # by a cancellation of asyncio's own, which anyio's check misses
                raise StorageError("the backup was abandoned")

        try:
            await to_thread.run_sync(self._storage.backup, target, check_cancelled)
        finally:
            is_abandoned = True
        if act is not None:
            with logged_if_not_noted(target):
                await self.core.ask(NoteAct(act), internal=True)

    async def prune(
        self,
        *,
        older_than: timedelta | None = None,
        keep: int | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Remove ended jobs now, as a `Retention` does; return how many jobs were removed.

        It goes in steps of 200 jobs, and other calls are answered in between. A cancellation stops
        it between two steps; what is removed stays so. The audit gets an entry for each step, with
        its number of jobs.

        Args:
            older_than: Remove jobs that ended longer ago than this, with their follow-ups; see
                `Retention.max_age`. None: no limit.
            keep: Keep at most this many ended jobs; see `Retention.max_jobs`. None: no limit.
            by: Who prunes: 1 to 256 characters, for the audit.
            reason: Why: up to 4,096 characters, for the same.

        Raises:
            InvalidValueError: An argument is of the wrong type or out of its range, or neither
                limit is given.
            StorageError: The storage can't remove more. What the steps before have removed stays
                so.
            OutcomeUnknownError: The engine has ended between two steps, or nobody can tell whether
                a step was applied.
        """
        retention, act = pruned_by(older_than, keep), checked_act(by, reason)
        self.core.check_caller()
        return await prune(self._inbox, retention, act)

    async def _ask(self, message: Message[Answer]) -> Answer:
        await self._sent(message)
        return message.outcome()

    def _sent(self, message: Message[Any]) -> Awaitable[object]:
        """Put a message into the inbox; return an awaitable that ends when it is answered."""
        affinity = self._affinity
        if affinity is None:
            raise EngineNotStartedError
        affinity.check()
        return self._inbox.put(message).wait()
