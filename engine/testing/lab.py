"""The lab: an engine, a worker and a virtual clock, for tests of one handler."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, overload

import anyio

from engine._job_engine import JobEngine
from engine.domain.deadlines import Deadline
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import PAID_JOB_LIFECYCLE, Job, JobStatus, Status
from engine.storage.locations import Location
from engine.testing.virtual_clock import Span, VirtualClock
from engine.worker import Worker
from engine.worker.handler import HandlerFunction


class Lab(Generic[Status]):
    """Runs one handler in an engine of its own, by a clock that the test moves.

    ::

        async with Lab(handle, retry=Retry(first_delay_seconds=3_600)) as lab:
            job = await lab.run({"pages": 3})
            assert job.status is JobStatus.COMPLETED

    `run`, `finish` and `answer` move time on, whenever all tasks wait, until the job has ended or
    asks for an input: hours of retries, timeouts and deadlines take milliseconds. Elsewhere time
    stands still, but for `advance`. Only one of these calls may be under way; to have several jobs
    at work, `start` them and then `finish` each. Everything else is there by ``engine``: gates,
    watching, cancelling.

    Leaving stops what is still at work, as a worker that closes does, when its time of grace has
    passed: so a second lab on the same storage goes on as after a restart.

    Args:
        handler: What is tested; see `Worker`.
        lifecycle: By default `PAID_JOB_LIFECYCLE`.
        storage: Where the jobs are kept, by default in memory; see `JobEngine`.
        clock: By default a new one; for a second lab, that of the first.
        worker: All other arguments of `Worker`, such as ``retry`` and ``timeout_seconds``.

    Raises:
        InvalidValueError, LifecycleError: As for `JobEngine` and `Worker`.

    Attributes:
        engine: The engine; open inside the ``async with``.
        clock: Its clock.
    """

    @overload
    def __init__(
        self,
        handler: HandlerFunction,
        *,
        lifecycle: Lifecycle[Status],
        storage: Location | None = None,
        clock: VirtualClock | None = None,
        **worker: Any,  # noqa: ANN401 - those of Worker
    ) -> None: ...
    @overload
    def __init__(
        self: Lab[JobStatus],
        handler: HandlerFunction,
        *,
        storage: Location | None = None,
        clock: VirtualClock | None = None,
        **worker: Any,  # noqa: ANN401 - those of Worker
    ) -> None: ...
    def __init__(
        self,
        handler: HandlerFunction,
        *,
        lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
        storage: Location | None = None,
        clock: VirtualClock | None = None,
        **worker: Any,
    ) -> None:
        self.clock: VirtualClock = VirtualClock() if clock is None else clock
        self.engine: JobEngine[Status] = JobEngine(storage, lifecycle=lifecycle, clock=self.clock)
        self._worker = Worker(self.engine, handler, **worker)
        self._lifecycle: Lifecycle[Status] = lifecycle

    async def __aenter__(self) -> Self:
        """Open the engine, and begin to work."""
        await self.engine.__aenter__()
        await self._worker.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Stop to work, and close the engine."""
        try:
            with anyio.CancelScope(shield=True):
                # The worker's time of grace is of this clock, which nobody else moves any more.
                await self.clock.run_until(partial(self._worker.__aexit__, kind, error, traceback))
        finally:
            swallow = await self.engine.__aexit__(kind, error, traceback)
        return swallow

    async def run(
        self,
        input: Any = None,  # noqa: A002, ANN401 - as in JobEngine.create
        *,
        input_hash: str = "a test",
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
    ) -> Job[Status]:
        """Create a job, move it to the running status as its payment would, and `finish` it.

        Args:
            input: What the handler is given; this and the rest is as in `JobEngine.create`.
            input_hash: What the work is about.
            priority: Of the jobs that are ready, those with a higher one are run first.
            deadlines: How long the job may stay in a status.

        Returns:
            The job: ended, or with the `Prompt` of what it asks for.

        Raises:
            StandstillError: It can't end: its handler waits for what will never happen.
            EngineError: As for `JobEngine.create` and `JobEngine.transition`.
        """
        job = await self.start(input, input_hash=input_hash, priority=priority, deadlines=deadlines)
        return await self.finish(job)

    async def start(
        self,
        input: Any = None,  # noqa: A002, ANN401 - as in JobEngine.create
        *,
        input_hash: str = "a test",
        priority: int = 0,
        deadlines: Mapping[Status, Deadline] | None = None,
    ) -> Job[Status]:
        """Create a job and move it to the running status; see `run`. No time passes.

        Raises:
            EngineError: As for `JobEngine.create` and `JobEngine.transition`.
        """
        job = await self.engine.create(
            input_hash, input=input, priority=priority, deadlines=deadlines
        )
        if job.status is self._lifecycle.running:
            return job
        return await self.engine.transition(job.job_id, self._lifecycle.running)

    async def finish(self, job: Job[Status]) -> Job[Status]:
        """Let time pass until a job has ended, or asks for an input; return it as it is then.

        Raises:
            StandstillError: It can't end: it waits for what will never happen, such as a payment.
            JobNotFoundError: There is no such job.
        """
        awaiting = self._lifecycle.awaiting_input
        until = None if awaiting is None else [awaiting]
        return await self.clock.run_until(self.engine.wait(job.job_id, until=until))

    async def answer(self, job: Job[Status], value: object) -> Job[Status]:
        """Answer what a job asks for, and `finish` it.

        Args:
            job: The job, with the prompt that is answered.
            value: See `JobEngine.provide_input`.

        Raises:
            StalePromptError: It asks for nothing, or not for this any more.
            EngineError: As for `JobEngine.provide_input`; see also `finish`.
        """
        prompt_id = "none" if job.prompt is None else job.prompt.prompt_id
        return await self.finish(await self.engine.provide_input(job.job_id, prompt_id, value))

    async def advance(self, by: Span) -> None:
        """Let time pass: seconds or a timedelta; see `VirtualClock.advance`."""
        await self.clock.advance(by)


@overload
def run(
    handler: HandlerFunction,
    input: Any = None,  # noqa: ANN401 - as in JobEngine.create
    *,
    lifecycle: Lifecycle[Status],
    deadlines: Mapping[Status, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,  # noqa: ANN401 - those of Worker
) -> Job[Status]: ...
@overload
def run(
    handler: HandlerFunction,
    input: Any = None,  # noqa: ANN401 - as in JobEngine.create
    *,
    deadlines: Mapping[JobStatus, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,  # noqa: ANN401 - those of Worker
) -> Job[JobStatus]: ...
def run(
    handler: HandlerFunction,
    input: Any = None,  # noqa: A002 - as in JobEngine.create
    *,
    lifecycle: Lifecycle[Any] = PAID_JOB_LIFECYCLE,
    deadlines: Mapping[Any, Deadline] | None = None,
    backend: str = "asyncio",
    **worker: Any,
) -> Job[Any]:
    """Run a handler for one job, from a test that is not async; return the job. See `Lab.run`.

    Args:
        handler: What is tested; see `Worker`.
        input: What it is given.
        lifecycle: By default `PAID_JOB_LIFECYCLE`.
        deadlines: How long the job may stay in a status.
        backend: The event loop: ``"asyncio"`` or ``"trio"``.
        worker: All other arguments of `Worker`, such as ``retry`` and ``timeout_seconds``.

    Raises:
        RuntimeError: An event loop is running in this thread: there, use `Lab`.
        Exception: As for `Lab` and `Lab.run`.
    """

    async def run_it() -> Job[Any]:
        async with Lab(handler, lifecycle=lifecycle, **worker) as lab:
            return await lab.run(input, deadlines=deadlines)

    return anyio.run(run_it, backend=backend)
