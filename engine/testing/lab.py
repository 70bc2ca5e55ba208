"""The lab: an engine, a worker and a virtual clock, to test a handler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, overload

import anyio

from engine._job_engine import JobEngine
from engine.domain.deadlines import Deadline
from engine.domain.follow_ups import FollowUp
from engine.domain.labels import DEFAULT_KIND
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import PAID_JOB_LIFECYCLE, Job, JobStatus, Status
from engine.storage.locations import Location
from engine.testing.virtual_clock import Span, VirtualClock
from engine.worker import Worker
from engine.worker.handled import Handlers


class Lab(Generic[Status]):
    """Runs a handler in an engine of its own, by a clock that the test moves.

    ::

        async with Lab(handle, retry=Retry(first_delay_seconds=3_600)) as lab:
            job = await lab.run({"pages": 3})
            assert job.status is JobStatus.COMPLETED

    `run`, `finish`, `answer` and `retry` move time on whenever all tasks are blocked, until the job
    has ended, asks for an input or has used up its attempts, in the lifecycle's ``exhausted_to``:
    hours of retries, timeouts and deadlines take milliseconds. Apart from that, only `advance`
    moves time. Only one of these calls may run at a time; to run several jobs at once, `start` them
    and then `finish` each. For everything else, such as gates, watching and cancelling, use
    ``engine``.

    Leaving the ``async with`` closes the worker, which stops running handlers after its grace
    period. A second lab on the same storage then resumes as after a restart.

    Args:
        handler: The handler under test, or handlers by kind; see `Worker`.
        lifecycle: `PAID_JOB_LIFECYCLE` by default.
        storage: The place of the jobs, memory by default; see `JobEngine`.
        follow_ups: The rules by which transitions create other jobs; see `FollowUp`. Their kinds
            need handlers, too.
        clock: A new one by default; give a second lab that of the first.
        worker: The other arguments of `Worker`, such as ``retry`` and ``timeout_seconds``.

    Raises:
        InvalidValueError, LifecycleError: As `JobEngine` and `Worker` raise them.

    Attributes:
        engine: The engine; open inside the ``async with``.
        clock: The clock of the engine.
    """

    @overload
    def __init__(
        self,
        handler: Handlers,
        *,
        lifecycle: Lifecycle[Status],
        storage: Location | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        clock: VirtualClock | None = None,
        **worker: Any,  # noqa: ANN401 - those of Worker
    ) -> None: ...
    @overload
    def __init__(
        self: Lab[JobStatus],
        handler: Handlers,
        *,
        storage: Location | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        clock: VirtualClock | None = None,
        **worker: Any,  # noqa: ANN401 - those of Worker
    ) -> None: ...
    def __init__(
        self,
        handler: Handlers,
        *,
        lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
        storage: Location | None = None,
        follow_ups: Iterable[FollowUp[Any]] = (),
        clock: VirtualClock | None = None,
        **worker: Any,
    ) -> None:
        self.clock: VirtualClock = VirtualClock() if clock is None else clock
        self.engine: JobEngine[Status] = JobEngine(
            storage, lifecycle=lifecycle, follow_ups=follow_ups, clock=self.clock
        )
        self._worker = Worker(self.engine, handler, **worker)
        self._lifecycle: Lifecycle[Status] = lifecycle

    async def __aenter__(self) -> Self:
        """Open the engine and start the worker."""
        await self.engine.__aenter__()
        await self._worker.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close the worker and the engine."""
        try:
            with anyio.CancelScope(shield=True):
                # The worker's grace period runs by this clock, which nothing else moves any more.
                await self.clock.run_until(partial(self._worker.__aexit__, kind, error, traceback))
        finally:
            swallow = await self.engine.__aexit__(kind, error, traceback)
        return swallow

    async def run(
        self,
        input: Any = None,  # noqa: A002, ANN401 - as in JobEngine.create
        *,
        kind: str = DEFAULT_KIND,
        input_hash: str = "a test",
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Job[Status]:
        """Create a job, move it to the running status as its payment would, and `finish` it.

        Args:
            input: The handler's input. This and the others are arguments of `JobEngine.create`.
            kind: Which of the handlers runs it.
            input_hash: Names the input.
            priority: Ready jobs with a higher priority run first.
            deadlines: The time that the job may stay in each status.
            trace: The submitter's trace context.

        Returns:
            The job: ended, with an open `Prompt`, or with its attempts used up.

        Raises:
            StandstillError: The job can't end: its handler waits for an event that can't happen.
            EngineError: As `JobEngine.create` and `JobEngine.transition` raise it.
        """
        job = await self.start(
            input,
            kind=kind,
            input_hash=input_hash,
            priority=priority,
            deadlines=deadlines,
            trace=trace,
        )
        return await self.finish(job)

    async def start(
        self,
        input: Any = None,  # noqa: A002, ANN401 - as in JobEngine.create
        *,
        kind: str = DEFAULT_KIND,
        input_hash: str = "a test",
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> Job[Status]:
        """Create a job and move it to the running status; see `run`. No time passes.

        Raises:
            EngineError: As `JobEngine.create` and `JobEngine.transition` raise it.
        """
        job = await self.engine.create(
            input_hash,
            kind=kind,
            input=input,
            priority=priority,
            deadlines=deadlines,
            trace=trace,
        )
        if job.status is self._lifecycle.running:
            return job
        return await self.engine.transition(job.job_id, self._lifecycle.running)

    async def finish(self, job: Job[Status], *, follow_ups: bool = False) -> Job[Status]:
        """Let time pass until a job has ended, asks for an input or needs attention; return it.

        Args:
            job: The job.
            follow_ups: Let time pass until all its follow-ups, and theirs, have ended, too.

        Raises:
            StandstillError: The job can't end: it waits for an event that can't happen, such as a
                payment.
            JobNotFoundError: No job has this id.
        """
        pauses = (self._lifecycle.awaiting_input, self._lifecycle.exhausted_to)
        until = [pause for pause in pauses if pause is not None]
        return await self.clock.run_until(
            self.engine.wait(job.job_id, until=until, follow_ups=follow_ups)
        )

    async def answer(self, job: Job[Status], value: object) -> Job[Status]:
        """Answer a job's prompt, and `finish` the job.

        Args:
            job: The job, with the prompt.
            value: The answer; see `JobEngine.provide_input`.

        Raises:
            StalePromptError: The job has no prompt, or it is not open any more.
            EngineError: As `JobEngine.provide_input` raises it.
            StandstillError: As for `finish`.
        """
        prompt_id = "none" if job.prompt is None else job.prompt.prompt_id
        return await self.finish(await self.engine.provide_input(job.job_id, prompt_id, value))

    async def retry(self, job: Job[Status]) -> Job[Status]:
        """Retry a job, and `finish` it.

        Args:
            job: The job, whose attempts are used up, or which waits for its next one.

        Raises:
            NotRetryableError: It is in another state.
            StandstillError: As for `finish`.
        """
        return await self.finish(await self.engine.retry(job.job_id))

    async def advance(self, by: Span) -> None:
        """Let time pass, in seconds or as a timedelta; see `VirtualClock.advance`."""
        await self.clock.advance(by)


@overload
def run(
    handler: Handlers,
    input: Any = None,  # noqa: ANN401 - as in JobEngine.create
    *,
    lifecycle: Lifecycle[Status],
    kind: str = DEFAULT_KIND,
    deadlines: Mapping[Status, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,  # noqa: ANN401 - those of Worker
) -> Job[Status]: ...
@overload
def run(
    handler: Handlers,
    input: Any = None,  # noqa: ANN401 - as in JobEngine.create
    *,
    kind: str = DEFAULT_KIND,
    deadlines: Mapping[JobStatus, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,  # noqa: ANN401 - those of Worker
) -> Job[JobStatus]: ...
def run(
    handler: Handlers,
    input: Any = None,  # noqa: A002 - as in JobEngine.create
    *,
    lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
    kind: str = DEFAULT_KIND,
    deadlines: Mapping[Any, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,
) -> Job[Any]:
    """Run a handler for one job in a test that is not async, and return the job. See `Lab.run`.

    Args:
        handler: The handler under test, or handlers by kind; see `Worker`.
        input: The handler's input.
        lifecycle: `PAID_JOB_LIFECYCLE` by default.
        kind: Which of the handlers runs it.
        deadlines: The time that the job may stay in each status.
        backend: The event loop: ``"asyncio"`` or ``"trio"``.
        worker: The other arguments of `Worker`, such as ``retry`` and ``timeout_seconds``.

    Raises:
        RuntimeError: This thread runs an event loop: use `Lab` there.
        Exception: As `Lab` and `Lab.run` raise it.
    """

    async def run_it() -> Job[Any]:
        async with Lab(handler, lifecycle=lifecycle, **worker) as lab:
            return await lab.run(input, kind=kind, deadlines=deadlines)

    return anyio.run(run_it, backend=backend)
