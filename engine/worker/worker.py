"""The worker as its users hold it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

from engine.domain.exceptions import (
    InvalidValueError,
    LifecycleError,
    shown,
)
from engine.domain.lifecycle import Event
from engine.domain.retry import Retry
from engine.domain.validation import check_flag, check_integer, check_seconds
from engine.owner.attachment import Attachment
from engine.owner.base import EngineBase
from engine.portal import stop_signals
from engine.worker.attempt import Around
from engine.worker.handler import Function, Handler
from engine.worker.pool import Rules, WorkerPool

MAX_CONCURRENCY = 10_000
_MARGIN_SECONDS = 5.0  # after the time of grace, for what is left to be committed


class Worker(Attachment):
    """Runs a handler for the jobs of an engine that are ready: running, and nobody at work on them.

    ::

        async def handle(job: Job, context: Context) -> str:
            return await render(job.input)

        async with JobEngine("jobs.db") as engine, Worker(engine, handle):
            ...

    With a `SyncJobEngine` it is a plain context manager, ``with Worker(engine, handle):``. An
    engine may have several workers.

    **The handler** takes the job, and a `Context` if it has a second parameter. An async function
    runs on the event loop, a plain one in a thread. What it returns becomes the job's result: a
    text as it is; a JSON value or a pydantic model as JSON; None as no result. What it raises
    becomes the job's error, its type and message; the traceback goes to the log,
    ``engine.worker``. Whatever that is, an exit or an interrupt too, it ends its own job alone; but
    an exit out of a task that a handler has started on asyncio ends the program, as asyncio does.
    A function in a thread can't await a `JobEngine`: give it a `SyncJobEngine`, or what it needs.

    **Attempts**: each run is an attempt with a number. A job may be run more than once: when an
    attempt fails and ``retry`` allows another, and when the process ended in the middle of one. So
    a handler has to be safe to repeat, or ``idempotent=False`` says that it is not. The job itself
    ends once: an attempt that was given up can change nothing any more.

    **Closing** claims no more jobs, waits ``grace_seconds`` for the handlers at work, and then
    cancels them. What is cut short is ready again at the next start, and doesn't count as failed. A
    function in a thread can't be cancelled: it is left to itself, and does not hold up the
    interpreter's exit. A task that will not be cancelled holds up closing, and is named in the log;
    only `serve` has an end for it.

    Args:
        engine: The engine, which is to be entered before and left after.
        handler: ``async def handle(job)`` or ``def handle(job)``, or with a second parameter.
        concurrency: How many handlers may run at once: 1 to 10,000. A thread that goes on after
            its attempt was given up still counts.
        retry: What happens when an attempt fails.
        timeout_seconds: How long an attempt may take; above 0. Then its handler is cancelled, and
            it has failed, with an `AttemptTimeoutError`; but for a handler that goes on in spite
            of it and ends well. None: no limit.
        idempotent: Whether a job may be run again whose attempt died with its process. False: it
            fails then. True: the attempt counts as one that failed.
        grace_seconds: How long closing waits for handlers, 0 or more.
        processes: Run a plain function in processes, for work that keeps a processor busy. It is to
            be importable, and takes the job alone. A process is killed when its attempt is given
            up.
        around: Called with the context before each attempt; each returns a context manager that is
            entered before the handler runs, and left after it, with what the handler raised. For
            metrics and traces. Their own errors are logged.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range.
        LifecycleError: Its running status leads to no success, or to no failure.
    """

    _name = "worker"

    def __init__(
        self,
        engine: EngineBase[Any],
        handler: Function,
        *,
        concurrency: int = 10,
        retry: Retry | None = None,
        timeout_seconds: float | None = None,
        idempotent: bool = True,
        grace_seconds: float = 10.0,
        processes: bool = False,
        around: Sequence[Around] = (),
    ) -> None:
        super().__init__(engine)
        retry = Retry() if retry is None else retry
        if not isinstance(retry, Retry):
            raise InvalidValueError("retry", f"must be a Retry, not {shown(retry)}")
        check_integer("concurrency", concurrency, 1, MAX_CONCURRENCY)
        check_seconds("grace_seconds", grace_seconds)
        if timeout_seconds is not None:
            check_seconds("timeout_seconds", timeout_seconds, above_zero=True)
        check_flag("idempotent", idempotent)
        check_flag("processes", processes)
        hooks: object = around
        if not isinstance(hooks, list | tuple) or not all(map(callable, hooks)):
            raise InvalidValueError("around", f"must be a list of functions, not {shown(hooks)}")
        core = engine.core
        ends = (core.lifecycle.able(event) for event in (Event.SUCCEED, Event.FAIL))
        if not all(ends):
            raise LifecycleError(
                f"{core.lifecycle.running.name} leads to no success, or to no failure, so that a "
                "handler could not end its job"
            )
        self._grace_seconds = grace_seconds
        self._part = WorkerPool(
            core,
            Handler(handler, processes=processes, at_once=concurrency),
            Rules(concurrency, retry, timeout_seconds, idempotent, grace_seconds, tuple(around)),
        )
        self._serving = AsyncExitStack()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working. A cancellation does not cut it short; a second signal does, see `serve`."""
        async with self._serving:
            await super().__aexit__(kind, error, traceback)

    async def serve(self) -> None:
        """Work until the process is told to stop, by SIGINT (Ctrl-C) or SIGTERM.

        ::

            async with JobEngine("jobs.db") as engine, Worker(engine, handle) as worker:
                await worker.serve()

        Then it returns, so that worker and engine are closed, with the time of grace. A second
        signal ends the process at once, by its default action. So does the worker itself, with the
        exit code 70, if closing takes 5 seconds longer than the time of grace because a handler
        blocks the event loop or will not be cancelled. What was acknowledged is not lost by either.

        Raises:
            EngineNotStartedError: The worker has not been entered.
            WrongLoopError: This is not the main thread, the only one to which signals come.
        """
        self._check_started()
        seconds = self._grace_seconds + _MARGIN_SECONDS
        signals = await self._serving.enter_async_context(stop_signals(seconds))
        await signals.wait()
