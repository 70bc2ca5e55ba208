"""The worker: the public class, its arguments and its life."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any

from engine.domain.exceptions import (
    InvalidValueError,
    LifecycleError,
)
from engine.domain.lifecycle import Event
from engine.domain.retry import Retry
from engine.domain.validation import check_integer, check_seconds
from engine.owner.attachment import Attachment
from engine.owner.base import EngineBase
from engine.portal import blocking_stop_signals, stop_signals
from engine.worker.handled import Handlers, handled_kinds
from engine.worker.options import MAX_CONCURRENCY, Middleware, Options
from engine.worker.pool import WorkerPool
from engine.worker.processes import Processes

_MARGIN_SECONDS = 1.5  # after the time of grace, for the last commits: 8 + 1.5 s are below 10 s


class Worker(Attachment):
    """Runs each ready job by the handler of its kind. Ready: running, and no attempt holds it.

    ::

        async def handle(job: Job, context: Context) -> str:
            return await render(job.input)

        async with JobEngine("jobs.db") as engine, Worker(engine, handle):
            ...

    With a `SyncJobEngine` it is a plain context manager, ``with Worker(engine, handle):``.

    **Kinds**: a function alone is for jobs of the kind ``default``. A mapping has a handler for
    each kind, a function or a `Handler`, which is a function with arguments of its own::

        Worker(engine, {"report": write_report, "translate": Handler(translate, concurrency=2)})

    All kinds share the worker's places. Free ones go to the kinds that have ready jobs, in turn,
    and within a kind by priority and age. In an engine each kind has one handler, so that an error
    and a death mean one thing: several workers of an engine have different kinds. Jobs of a kind
    that no worker has stay ready; the log ``engine`` warns of each such kind after 10 s, and
    ``statistics().unhandled`` counts them.

    **The handler** takes any of the job, its input and a `Context`, as its annotations say:
    ``Job``, ``Context``, or any other type that pydantic knows, as which it gets the input. Without
    annotations it takes the job, or the job and the context. An input that doesn't fit fails the
    job with an `InvalidValueError`, and no attempt follows. An async function runs on the event
    loop, a plain one in a thread. What a plain one returns is awaited if it can be, so decorated
    async functions work; a generator is refused. Each attempt begins in an empty context
    (`contextvars`), whoever opened the engine; it has what ``middleware`` sets, in a thread too.
    Its return value becomes the job's result: a text as it is; None as no result; any other value
    that pydantic knows as JSON. Its exception becomes the job's error, by type and message; the log
    ``engine.worker`` has a line of it, and the traceback if no attempt follows. Any exception that
    the handler raises, SystemExit included, fails only that job. An exit in a task that a handler
    started on asyncio ends the program, as it does in asyncio. So does what a signal's handler of
    the program raises while a job's is running: the job is cut short, no worker claims more, and
    the body of the engine's ``async with`` is cancelled. Other handlers have their time of grace,
    and the end of the ``async with`` raises the exception. A function in a thread can't await a
    `JobEngine`: pass it a `SyncJobEngine`, or its data.

    **Attempts**: each run is an attempt with a number. A job may run more than once: after a failed
    attempt if ``retry`` allows another, and after an attempt that was cut short or died with its
    process. So a handler has to be safe to repeat; if yours is not, pass ``idempotent=False``. The
    job itself ends once: an abandoned attempt can't change it any more.

    **Closing** claims no more jobs, waits ``grace_seconds`` for the running handlers, and then
    cancels them. A job that is cut short is ready again at the next start, without a failure. A
    function in a thread can't be cancelled: it runs on, and does not delay the interpreter's exit,
    but its job is not ready again before it ends. A task that refuses to be cancelled delays
    closing, and the log names it; only `serve` ends it.

    Args:
        engine: The engine. Enter it before the worker, and leave it after.
        handler: ``async def handle(order: Order)``, ``def handle(job: Job, context: Context)``, or
            any other function of these. A parameter with a default is left alone, unless it is the
            first, a job or a context. Or a `Handler`; or a mapping of 1 to 1,000 kinds to these.
        concurrency: How many handlers may run at once, of all kinds: 1 to 10,000. A thread that
            outlives its attempt still counts. This and the other arguments, but ``grace_seconds``,
            are what handlers have without arguments of their own.
        retry: The rule after a failed attempt; by default `Retry()`, or no retries with
            ``idempotent=False``. Not for follow-ups: see `Handler`.
        timeout_seconds: How long an attempt may take; above 0. After that its handler is cancelled,
            and it fails with an `AttemptTimeoutError`, unless the handler carries on regardless and
            succeeds. None: no limit.
        idempotent: Whether the handler is safe to repeat. False: a job whose attempt was cut short,
            by closing, a timeout or a death, does not run again. It fails, or waits in the
            lifecycle's ``exhausted_to``, if there is one. Two things still run it again: an error
            that the handler raises, if ``retry`` is given and allows it, and the answer to
            `Context.request_input`.
        max_deaths: A job fails, or waits in ``exhausted_to``, when so many deaths count against it:
            1 to 1,000. A death of a handler's process counts against its job. A death of the
            engine's counts against the one suspect at work, or else the only job at work:
            `docs/attempts.md` says more.
        grace_seconds: How long closing waits for handlers, 0 or more. By default 8: with the 1.5 s
            of `serve` that is less than the 10 s after which Docker kills.
        wait_for_threads: Whether a job is ready again only when its thread has ended, which a
            timeout or closing can't stop. It may be cancelled or expire meanwhile. False: it runs
            again beside the thread.
        processes: Run a plain function in processes, for work that keeps a processor busy or may
            crash; a `Processes` says how to keep them. The function and the enum of the statuses
            have to be importable: `docs/processes.md` says how. A cancel or a timeout kills the
            process at once, with the programs that it has started. Entering the worker starts one.
        middleware: Called with the context before each attempt. Each returns a context manager,
            entered before the handler runs and left after it, with the handler's exception. For
            metrics and traces. Their own errors are logged.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range, a kind is none, a
            handler has a parameter that gets nothing or an annotation that can't be resolved or
            contradicts its name, or the handler can't run in processes, or its return annotation
            can't come back from JSON: a secret, a field with ``exclude=True`` or a
            ``serialization_alias`` that isn't read, a type that pydantic doesn't know. Or one of
            its types is a recursive union that needs a discriminator.
        LifecycleError: The running status leads to no success, or to no failure.
    """

    _name = "worker"
    _part: WorkerPool

    def __init__(
        self,
        engine: EngineBase[Any],
        handler: Handlers,
        *,
        concurrency: int = 10,
        retry: Retry | None = None,
        timeout_seconds: float | None = None,
        idempotent: bool = True,
        max_deaths: int = 3,
        grace_seconds: float = 8.0,
        wait_for_threads: bool = True,
        processes: bool | Processes = False,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        super().__init__(engine)
        check_integer("concurrency", concurrency, 1, MAX_CONCURRENCY)
        check_seconds("grace_seconds", grace_seconds)
        options = Options(
            concurrency,
            retry,
            timeout_seconds,
            idempotent,
            max_deaths,
            wait_for_threads,
            processes,
            middleware,
        )
        core = engine.core
        ends = (core.lifecycle.able(event) for event in (Event.SUCCEED, Event.FAIL))
        if not all(ends):
            raise LifecycleError(
                f"{core.lifecycle.running.name} leads to no success, or to no failure, so a "
                "handler could not end its job: add the move to the lifecycle"
            )
        self._exit_after_seconds = grace_seconds + _MARGIN_SECONDS
        handled = handled_kinds(handler, options, core.lifecycle)
        self._part = WorkerPool(core, handled, concurrency, grace_seconds)
        self._serving = AsyncExitStack()
        self._serving_blocking = ExitStack()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working. A cancellation does not cut it short; a second signal does, see `serve`.

        Raises:
            EngineNotStartedError, InvalidValueError, WrongLoopError: See `Attachment.__aexit__`.
        """
        async with self._serving:
            await super().__aexit__(kind, error, traceback)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop working; a second signal cuts it short, see `serve_blocking`."""
        with self._serving_blocking:
            super().__exit__(kind, error, traceback)

    async def serve(self) -> None:
        """Work until SIGINT (Ctrl-C) or SIGTERM asks the process to stop.

        ::

            async with JobEngine("jobs.db") as engine, Worker(engine, handle) as worker:
                await worker.serve()

        It then returns, and your program closes worker and engine, with the time of grace. A second
        signal ends the process at once, by its default action. So does the worker itself, with exit
        code 70, if closing takes 1.5 seconds longer than the time of grace, because a handler
        blocks the event loop or refuses to be cancelled. Neither loses an acknowledged change.

        Also returns when another task leaves the worker.

        Raises:
            EngineCrashedError: The engine has crashed, so there is nothing to serve.
            EngineNotStartedError: The worker has not been entered.
            InvalidValueError: The engine is a `SyncJobEngine`: call `serve_blocking`.
            WrongLoopError: This is not the main thread, the only one that receives signals.
        """
        self._check_serving(blocking=False)
        signals = await self._serving.enter_async_context(stop_signals(self._exit_after_seconds))
        with self._part.at_end(signals.wake):
            await signals.wait()
        self._check_engine()

    def serve_blocking(self) -> None:
        """Do the same as `serve`, for the worker of a `SyncJobEngine`: block the main thread.

        ::

            with SyncJobEngine("jobs.db") as engine, Worker(engine, handle) as worker:
                worker.serve_blocking()

        Raises:
            EngineCrashedError: The engine has crashed, so there is nothing to serve.
            EngineNotStartedError: The worker has not been entered.
            InvalidValueError: The engine is a `JobEngine`: await `serve`.
            WrongLoopError: This is not the main thread, the only one that receives signals; or its
                event loop is running, and the engine must not block it.
        """
        self._check_serving(blocking=True)
        signals = self._serving_blocking.enter_context(
            blocking_stop_signals(self._exit_after_seconds)
        )
        with self._part.at_end(signals.wake):
            signals.wait()
        self._check_engine()

    def _check_engine(self) -> None:
        if self._part.ended_by is not None:
            raise self._part.ended_by

    def _check_serving(self, *, blocking: bool) -> None:
        self._check_started()
        if self._engine.core.is_blocking != blocking:
            right = "await `serve`" if blocking else "call `serve_blocking`"
            raise InvalidValueError("engine", f"is a {type(self._engine).__name__}: {right}")
        self._engine.core.check_caller()
