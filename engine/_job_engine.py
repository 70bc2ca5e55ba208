"""The facade that asyncio and trio applications await."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Self, overload

from anyio import from_thread, to_thread
from typing_extensions import TypeVar

from engine.domain.deadlines import Deadline
from engine.domain.exceptions import EngineNotStartedError, EngineStartedError, StorageError
from engine.domain.ids import IdSource, new_job_id
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import (
    PAID_JOB_LIFECYCLE,
    Job,
    JobPage,
    JobStatus,
    Move,
    NewJob,
    Progress,
    Statistics,
    Status,
    Transition,
)
from engine.domain.retention import Retention
from engine.domain.validation import check_timeout
from engine.owner.base import EngineBase
from engine.owner.commands.answer import AnswerPrompt
from engine.owner.commands.cancel import CancelJob
from engine.owner.commands.create import CreateJobs
from engine.owner.commands.move import MoveJobs
from engine.owner.commands.read import (
    CountJobs,
    GetJobs,
    ListJobs,
    ReadHistory,
    ReadStatistics,
    checked_until,
    checked_watch,
)
from engine.owner.hooks import OnTransition
from engine.owner.message import Answer, Message
from engine.owner.prompts import check_answer
from engine.owner.watching import Watch
from engine.portal import LoopAffinity, call_soon
from engine.portal.time import Clock, utc_now
from engine.storage.locations import Location
from engine.storage.sqlite.paths import path_at

Kind = TypeVar("Kind")


class JobEngine(EngineBase[Status]):
    """Keeps jobs, and moves them as its lifecycle allows. An async context manager.

    ::

        async with JobEngine() as engine:
            job = await engine.create("2c26b46b…")
            await engine.transition(job.job_id, JobStatus.RUNNING)

    Every call is one message to one owner task, which decides all of them in one order; when a call
    returns, its change is committed to the storage. Any number of tasks of the event loop that
    started the engine may call it at the same time; threads have `engine.SyncJobEngine`.

    **Cancellation**: a call puts its message into the inbox at once, without a checkpoint, and then
    waits for the answer. A caller that is cancelled while it waits does not learn of the answer: a
    read is lost, a write is applied whole or not at all. Any later read comes after that write, and
    so tells what became of it. An ``idempotency_key`` makes it safe to repeat a create, an
    ``expected_version`` to repeat a transition.

    **Errors of every call**, besides its own: `OverloadedError` when ``max_waiting`` is reached;
    `StorageError` when the storage refused; `EngineNotStartedError`, `EngineClosedError`,
    `EngineCrashedError`, `WrongLoopError` when the engine can't be called. None of them applied
    anything, but for `CommitCrashedError`, which is also an `OutcomeUnknownError`.

    Args:
        storage: Where the jobs are kept. The path of a file, such as ``"jobs.db"`` (see
            `SQLiteStorage`), a URL of one, such as ``"sqlite:///jobs.db"``, or any storage; by
            default a new `MemoryStorage`, which ``":memory:"`` stands for, too. The engine closes
            it.
        lifecycle: The statuses and the legal moves; by default `PAID_JOB_LIFECYCLE`.
        retention: Which ended jobs to keep; by default all.
        on_transition: Called with each transition when it has been committed, in their order, on
            the event loop of the engine: it must not take long. What it raises is logged.
        clock: Returns the time as an aware datetime; read by the owner, once for all that is
            decided together. Used for time stamps only, never to measure a duration.
        new_id: Returns a new job's id: 1 to 256 characters, never the same twice. Called in the
            caller's task, or thread.
        max_waiting: How many jobs may be named by the calls that wait to be decided; past it calls
            are refused. A job counts once more for each 4,096 characters of result or error that
            come with it, and a call counts until it is decided, also if its caller has gone away.
            1 to 1,000,000.
        max_batch: From how many jobs on a batch is full. 1 to 100,000.

    Raises:
        InvalidValueError: A limit is out of its range, or the lifecycle is none.
    """

    @overload
    def __init__(
        self: JobEngine[JobStatus],
        storage: Location | None = None,
        *,
        retention: Retention | None = None,
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None: ...
    @overload
    def __init__(
        self,
        storage: Location | None = None,
        *,
        lifecycle: Lifecycle[Status],
        retention: Retention | None = None,
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None: ...
    def __init__(
        self,
        storage: Location | None = None,
        *,
        lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
        retention: Retention | None = None,
        on_transition: OnTransition | None = None,
        clock: Clock = utc_now,
        new_id: IdSource = new_job_id,
        max_waiting: int = 10_000,
        max_batch: int = 1_000,
    ) -> None:
        super().__init__(
            storage,
            lifecycle=lifecycle,
            retention=retention,
            on_transition=on_transition,
            clock=clock,
            new_id=new_id,
            max_waiting=max_waiting,
            max_batch=max_batch,
            is_blocking=False,
        )
        self._affinity: LoopAffinity | None = None

    async def __aenter__(self) -> Self:
        """Open the storage and start the owner task. An engine can be started once.

        To be entered and left by the same task, as every task group is. Cancelled, it closes the
        storage again.

        Raises:
            EngineStartedError: It was started before.
            InvalidValueError: The clock tells no usable time.
            StorageError: The storage can't be opened; `SQLiteStorage.open` says which errors there
                are.
            LifecycleError: The storage has a job in a status that the lifecycle doesn't know.
        """
        if self._affinity is not None:
            raise EngineStartedError
        self._affinity = self.core.affinity = LoopAffinity()
        await self._owner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Refuse new calls, answer those that wait, close the storage.

        A cancellation does not cut this short: what was accepted is answered.

        Raises:
            EngineCrashedError: The owner crashed, and nothing else is being raised.
            StorageError: The storage can't be closed, and nothing else is being raised.
            KeyboardInterrupt, SystemExit: It was raised in the owner's task.
        """
        return await self._owner.__aexit__(kind, error, traceback)

    async def create(
        self,
        input_hash: str,
        *,
        blockchain_identifier: str | None = None,
        idempotency_key: str | None = None,
        input: object = None,  # noqa: A002 - what a handler calls it, too
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
    ) -> Job[Status]:
        """Create a job in the initial status.

        Args:
            input_hash: What the work is about: 1 to 256 characters.
            blockchain_identifier: The payment's name elsewhere: 1 to 256 characters; by default
                ``mock_bc_`` and the job's id.
            idempotency_key: 1 to 256 characters. The same key with the same content gives the job
                that exists already, as it is now. The content is ``input_hash``,
                ``blockchain_identifier`` and ``input``.
            input: What the handler is to be given: a JSON value, or a pydantic model, of up to
                262,144 characters as JSON.
            priority: Of the jobs that are ready, those with a higher one are run first:
                -1,000,000 to 1,000,000.
            deadlines: How long the job may stay in a status: a `timedelta` from entering it, or an
                aware `datetime`. Then it goes where the lifecycle's ``expires_to`` says.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form; or a deadline is for a
                status that has no ``expires_to``.
            IdempotencyConflictError: The key belongs to a job with other content.
            DuplicateJobIdError: The id source gave an id that a job has already.
        """
        message = CreateJobs.one(
            self._lifecycle,
            self._new_id,
            input_hash,
            blockchain_identifier,
            idempotency_key,
            input,
            priority,
            deadlines,
        )
        await self._sent(message)
        return self._views.one(message)

    async def create_many(self, jobs: Iterable[NewJob]) -> list[Job[Status]]:
        """Create up to 10,000 jobs in one message, all or none, in their order.

        Raises:
            InvalidValueError, IdempotencyConflictError, DuplicateJobIdError: As for `create`; the
                error's ``item`` says which job was wrong, counted from 0.
        """
        return self._views.jobs(
            await self._ask(CreateJobs.many(self._lifecycle, self._new_id, jobs))
        )

    async def get(self, job_id: str) -> Job[Status]:
        """Return the job as it is now.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: There is no such job.
        """
        message = GetJobs.one(job_id)
        await self._sent(message)
        return self._views.one(message)

    async def get_many(self, job_ids: Iterable[str]) -> list[Job[Status]]:
        """Return up to 10,000 jobs as they are at one moment, in the order of their ids.

        Raises:
            InvalidValueError, JobNotFoundError: As for `get`; the error's ``item`` says which id
                was wrong, counted from 0.
        """
        return self._views.jobs(await self._ask(GetJobs.many(job_ids)))

    async def transition(
        self,
        job_id: str,
        target: Status,
        *,
        result: str | None = None,
        error: str | None = None,
        expected_version: int | None = None,
        attempt_token: str | None = None,
    ) -> Job[Status]:
        """Move a job to another status.

        Args:
            job_id: The job.
            target: The status to move to.
            result: What came of the work; only with a status that means success. Up to 1,048,576
                characters.
            error: Why it failed; only with a status that means failure. Up to 65,536 characters.
            expected_version: Move only if the job has this version still.
            attempt_token: Move as the attempt of a handler that has the job: `Context.token`.

        Raises:
            InvalidValueError: A value is of the wrong type, size or form; a result without success,
                an error without failure.
            JobNotFoundError: There is no such job.
            VersionConflictError: The job has another version.
            InvalidStateTransitionError: The lifecycle has no such move.
            JobClaimedError: An attempt of a handler has the job, and no token was given.
            StaleAttemptError: The attempt with this token has the job no more.
        """
        message = MoveJobs.one(
            self._lifecycle, job_id, target, result, error, expected_version, attempt_token
        )
        await self._sent(message)
        return self._views.one(message)

    async def transition_many(self, moves: Iterable[Move[Status]]) -> list[Job[Status]]:
        """Make up to 10,000 moves in one message, all or none, in their order.

        A job may be moved more than once; a later move sees the earlier ones.

        Raises:
            InvalidValueError, JobNotFoundError, VersionConflictError, InvalidStateTransitionError:
                As for `transition`; the error's ``item`` says which move was wrong, counted from 0.
        """
        return self._views.jobs(await self._ask(MoveJobs.many(self._lifecycle, moves)))

    async def cancel(self, job_id: str, reason: str = "") -> Job[Status]:
        """End a job that waits, or ask the attempt that has it to stop.

        A job that no attempt has ends at once, in the status that the lifecycle's ``cancels_to``
        says, with the error ``cancelled`` and the reason. A handler at work is cancelled, and may
        still complete its job before it learns of it: of the two one wins. The request is kept with
        the job, so it also outlives a crash. Cancelling again changes nothing.

        Args:
            job_id: The job.
            reason: Why; kept with the job. Up to 4,096 characters.

        Returns:
            The job: ended, or still running with its ``cancel_reason``; `wait` tells how it ends.

        Raises:
            InvalidValueError: The id or the reason is not right.
            JobNotFoundError: There is no such job.
            JobEndedError: It has ended otherwise.
            InvalidStateTransitionError: The lifecycle can't cancel a job in its status.
        """
        message = CancelJob.checked(job_id, reason)
        await self._sent(message)
        return self._views.one(message)

    async def provide_input(self, job_id: str, prompt_id: str, value: object) -> Job[Status]:
        """Answer what a job waits to be told, and let it go on.

        Its handler is run again, and finds the answer where it asked.

        Args:
            job_id: The job.
            prompt_id: The prompt that is answered: `Job.prompt` has it.
            value: A JSON value, or a pydantic model, that fits the prompt's schema. Up to 262,144
                characters as JSON.

        Raises:
            InvalidValueError: It doesn't fit, or is no JSON value; the job waits as before.
            StalePromptError: The job doesn't wait for this answer, or not any more.
            JobNotFoundError: There is no such job.
            RuntimeError: The extra ``engine[input]`` is not installed.
        """
        message = AnswerPrompt.checked(job_id, prompt_id, value)
        check_answer(await self.get(job_id), prompt_id, message.value)
        await self._sent(message)
        return self._views.one(message)

    async def wait(
        self,
        job_id: str,
        *,
        until: Collection[Status] | None = None,
        timeout: float | None = None,
    ) -> Job[Status]:
        """Wait until a job has ended, or has come to one of some statuses; return it then.

        Nothing is asked again and again, and any number may wait.

        Args:
            job_id: The job.
            until: Statuses to wait for; a job that ends first ends the waiting as well. None: until
                it has ended.
            timeout: Seconds for the whole call, 0 or more, or None for no limit. 0 just looks: it
                reads the job, however long that takes, and does not wait for it.

        Raises:
            InvalidValueError: An argument is not right.
            JobNotFoundError: There is no such job.
            CallTimeoutError: It did not come there in time. It goes on.
        """
        self.core.check_caller()
        message = GetJobs.one(job_id)
        return await self.core.wait(
            message, checked_until(self._lifecycle, until), check_timeout(timeout)
        )

    @overload
    async def result(self, job_id: str, *, timeout: float | None = None) -> str | None: ...
    @overload
    async def result(
        self, job_id: str, kind: type[Kind], *, timeout: float | None = None
    ) -> Kind: ...
    async def result(
        self,
        job_id: str,
        kind: Any = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Wait until a job has ended, and return its result.

        Args:
            job_id: The job.
            kind: What the result is to be: a pydantic model, or any type that pydantic knows; it
                is made of the result as JSON. ``str``, or nothing, gives the text as it is.
            timeout: Seconds, 0 or more; None for no limit.

        Raises:
            JobFailedError: It has failed.
            InvalidValueError: An argument is not right, or the result is nothing of this kind.
            JobNotFoundError: There is no such job.
            CallTimeoutError: It has not ended in time. It goes on.
        """
        return self._views.result(await self.wait(job_id, timeout=timeout), kind)

    @overload
    def watch(
        self, job_id: str | None = None, *, after: int | None = None, progress: Literal[False] = ...
    ) -> Watch[Transition[Status]]: ...
    @overload
    def watch(
        self, job_id: str | None = None, *, after: int | None = None, progress: bool
    ) -> Watch[Transition[Status] | Progress]: ...
    def watch(
        self, job_id: str | None = None, *, after: int | None = None, progress: bool = False
    ) -> AsyncIterator[Any]:
        """Return the transitions of one job or of all, in order, those to come as well.

        To be used in ``async for``. Of one job it ends after the last transition; of all jobs it
        goes on until the engine is closed. Who is slower than the engine loses nothing, holds
        nobody up, and takes no more memory: up to 1,000 transitions are kept for each, and what
        comes after is read from the history again. Cancelled, it can be asked for the next one.
        ``aclose`` ends it, also for a task that waits for the next one: use `contextlib.aclosing`
        to end it with a block.

        Args:
            job_id: The job; None for all.
            after: A sequence number: begin behind it, with the history first, and go on without a
                gap or a double. None: with a job's first transition; of all jobs, with the first
                that is committed after this call.
            progress: Give what handlers say of their progress, too, the newest of each job.

        Raises:
            InvalidValueError: An argument is not right.
            JobNotFoundError: There is no such job.
            EngineClosedError, EngineCrashedError: The engine can't go on, and the job has not
                ended.
        """
        self.core.check_caller()
        watcher = self.core.watcher(*checked_watch(job_id, after), progress=progress)
        return Watch(watcher, call_soon())

    async def count(self, status: Status | None = None) -> int:
        """Return how many jobs have this status; all of them by default.

        Raises:
            InvalidValueError: The lifecycle has no such status.
        """
        return await self._ask(CountJobs.checked(self._lifecycle, status))

    async def list_jobs(
        self, status: Status | None = None, *, limit: int = 100, after: str | None = None
    ) -> JobPage[Status]:
        """Return a page of jobs in the order of their creation.

        Pages never show a job twice, nor leave one out that kept its status: jobs that are created
        in the meantime come at the end.

        Args:
            status: Only jobs that have this status; by default all.
            limit: The size of the page: 1 to 1,000.
            after: The ``next_cursor`` of the page before; by default the first page.

        Raises:
            InvalidValueError: One of them is not right.
        """
        records = await self._ask(ListJobs.checked(self._lifecycle, status, limit, after))
        return self._views.page(records, limit)

    async def history(self, job_id: str) -> list[Transition[Status]]:
        """Return every transition of a job, oldest first; the first one created it.

        Raises:
            InvalidValueError: The id is no text of 1 to 256 characters.
            JobNotFoundError: There is no such job.
            LifecycleError: It went through a status that the lifecycle doesn't have any more.
        """
        return self._views.transitions(await self._ask(ReadHistory.checked(job_id)))

    async def statistics(self) -> Statistics[Status]:
        """Return what the engine holds, and what it has done since it started."""
        return self.core.statistics(await self._ask(ReadStatistics()))

    async def backup(self, path: str | PathLike[str]) -> None:
        """Write a consistent copy of all jobs into a new file, while others go on writing.

        It has everything that was acknowledged before this call. Cancelled, it stops, and leaves
        no file.

        Raises:
            StorageError: There is a file already, or it can't be written; or the jobs are kept in
                memory.
            InvalidValueError: The path is none.
        """
        target = path_at(path, "path")
        await self._ask(CountJobs(None))  # refuses when the engine can't be called

        given_up = False

        def check_cancelled(_done: int, _of: int) -> None:
            from_thread.check_cancelled()
            if given_up:  # natively, which anyio's check does not see
                raise StorageError("the backup was given up")

        try:
            await to_thread.run_sync(self._storage.backup, target, check_cancelled)
        finally:
            given_up = True

    async def _ask(self, message: Message[Answer]) -> Answer:
        await self._sent(message)
        return message.outcome()

    def _sent(self, message: Message[Any]) -> Awaitable[object]:
        """Put a message into the inbox; the answer is there when what this returns has ended."""
        affinity = self._affinity
        if affinity is None:
            raise EngineNotStartedError
        affinity.check()
        return self._inbox.put(message).wait()
