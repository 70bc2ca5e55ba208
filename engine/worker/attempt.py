"""An attempt: one run of a handler for one job, and its outcome.

Any exception that the handler raises, SystemExit included, fails only its own job: an exit, an
interrupt, a stray cancellation, or a group of these. Only an exception that a signal's handler
raises in it, such as a Ctrl-C, goes on to the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from enum import Enum
from inspect import isawaitable
from typing import Any, Final

import anyio

from engine.domain.exceptions import (
    AttemptTimeoutError,
    HandlerError,
    InvalidValueError,
    message_of,
)
from engine.domain.interrupts import raised_by_signal
from engine.domain.models import Progress
from engine.domain.retry import retry_after_seconds
from engine.domain.validation import MAX_ERROR_CHARACTERS, kept_text
from engine.owner.commands.rules import SwitchRule
from engine.owner.core import Core
from engine.portal import BlockingCall, awaiting_text
from engine.portal.logs import TaskLogger
from engine.storage.record import Record
from engine.worker.context import Context, InputNeeded, JobCancelled, asks_for_input
from engine.worker.options import Middleware
from engine.worker.parent import Parent, parent_of
from engine.worker.results import Result
from engine.worker.runner import Runner

logger = TaskLogger("engine.worker")

_NO_MIDDLEWARE: Final = nullcontext()


class Stop(Enum):
    """The reasons to stop an attempt."""

    CANCELLED = "its job was cancelled"
    LOST = "its job has moved on without it"
    CLOSING = "the worker is closing"
    INTERRUPTED = "a signal interrupts the program"


class Attempt:
    """Runs a handler once, for one job.

    Args:
        core: The engine's parts.
        record: The job as it was claimed.
        runner: Calls the handler.
        publish: Takes the handler's progress; any thread may call it.

    Attributes:
        record: The job as it was claimed.
        parent: The job whose follow-up it is, once `read_parent` has read it.
        job_id, number, token, failures, deaths: As in the job.
        has_begun: Whether its handler was called.
        stopped_at: When it was asked to stop, or its time limit will ask it, in the event loop's
            time; None for neither.
        is_reported: Whether the log has it as an attempt that refuses to stop.
        refusals: How often the engine has refused its outcome.
    """

    def __init__(
        self,
        core: Core[Any],
        record: Record,
        runner: Runner,
        publish: Callable[[Progress], object],
    ) -> None:
        work = record.execution
        self.record = record
        self.job_id = record.job_id
        self.number = work.attempt
        self.token = work.token or ""
        self.failures = work.failures
        self.deaths = work.deaths or 0
        self.context: Context[Any] = Context(
            core.views.job(record), record, core.lifecycle, publish, core.time.at_work
        )
        self.parent: Parent | None = None
        self.has_begun = False
        self.stopped_at: float | None = None
        self._stop_reason: Stop | None = None
        self.is_reported = False
        self.refusals = 0
        self.call: BlockingCall[Any] | None = None
        self.awaited: Any = None
        self._core = core
        self._runner = runner
        self._scope = anyio.CancelScope(shield=True)
        self._timeout_seconds: float | None = None

    @property
    def fields(self) -> dict[str, object]:
        """The extra fields of a log record about this attempt."""
        return {
            "job_id": self.job_id,
            "attempt": self.number,
            "status": str(self._core.lifecycle.running.value),
        }

    def stop(self, reason: Stop) -> None:
        """Ask the handler to stop. A task is cancelled; a thread has to check for it."""
        if self._stop_reason is None:
            self._stop_reason = reason
            self.stopped_at = anyio.current_time()
            self.context.is_stopping = True
            self._scope.cancel()

    def why_stopped(self) -> Stop | None:
        """Return why it was asked to stop; None if it was not."""
        return self._stop_reason

    def stack(self) -> str:
        """Return the current stack of the handler."""
        if self.call is not None:
            return self.call.stack() or "(its thread has just ended)"
        return awaiting_text(self.awaited)

    async def read_parent(self) -> None:
        """Give the handler the parent of a follow-up, as it is now.

        Raises:
            EngineError: It can't be read.
        """
        self.parent = await parent_of(self._core, self.record)
        if self.parent is not None:
            self.context.set_parent(self.parent, self._core.views)

    async def disable_rule(self) -> None:
        """Disable the rule that has made this follow-up.

        Raises:
            EngineError: It can't be done.
        """
        await self._core.ask(SwitchRule(self.record.kind, disabled=True), internal=True)

    async def run(self, middleware: Sequence[Middleware], timeout_seconds: float | None) -> Result:
        """Run the handler, and return the result in its stored form.

        Raises:
            InputNeeded: The handler asked for an input.
            JobCancelled: It was asked to stop, and did.
            AttemptTimeoutError: It took too long.
            BaseException: Its own error; or its result can't be stored.
        """
        self._timeout_seconds = timeout_seconds
        with _entered(middleware, self.context) if middleware else _NO_MIDDLEWARE:
            try:
                result = await self._run_limited()
            except InputNeeded:
                raise
            except BaseException as error:
                if asks_for_input(error) and self.context.request is not None:
                    raise InputNeeded from error  # it was wrapped, or comes from a task
                raise
            self._check_request()
            if result.lost is not None:
                logger.warning(
                    "the result of attempt %s of job %s is kept, but does not come back from JSON "
                    "as it was returned, at %s",
                    *(self.number, self.job_id, result.lost),
                    extra=self.fields,
                )
            return result

    @property
    def is_limited(self) -> bool:
        """Whether its time has a limit."""
        return self._timeout_seconds is not None

    def begin(self) -> None:
        """Begin to count the time: the handler is called now. To be called on the event loop."""
        if self._timeout_seconds is not None:
            self._core.time.limit(self._scope, self._timeout_seconds)
            self.stopped_at = self._scope.deadline  # infinite if a virtual clock keeps the time

    async def _run_limited(self) -> Result:
        """Run the handler until it ends, reaches its time limit or is asked to stop."""
        with self._scope as scope:
            try:
                self.awaited, self.call = self._runner.call(self)
                outcome = await (self.awaited if self._runner.is_async else self._elsewhere())
                return self._runner.result(outcome)
            except Exception as error:
                if scope.cancel_called and self._stop_reason is None:  # caused by the time limit
                    raise AttemptTimeoutError(self._timeout_seconds or 0.0) from error
                raise
        if self._stop_reason is None:
            self.context.is_stopping = True
            raise AttemptTimeoutError(self._timeout_seconds or 0.0)
        raise JobCancelled

    async def _elsewhere(self) -> Any:  # noqa: ANN401 - the handler may return anything
        """Wait for a handler in a thread or in a process, and for what it returns to await."""
        with self._core.time.at_work():
            outcome = await self.awaited
        if isawaitable(outcome):  # of a function that only wraps an async one
            self.call, self.awaited = None, outcome  # its thread has ended
            outcome = await outcome
        return outcome

    def _check_request(self) -> None:
        """Unwind a handler that asked for an input and caught the exception that unwinds it.

        Raises:
            InputNeeded: It did so.
        """
        if self.context.request is not None:
            logger.warning(
                "a handler caught InputNeeded, which has to unwind it", extra=self.fields
            )
            raise InputNeeded


def error_text(error: BaseException) -> str:
    """Return an error in its stored form: its type and its message, cut if it is long."""
    if isinstance(error, HandlerError):
        return str(error)  # it has that form
    try:
        message = message_of(error)
    except KeyboardInterrupt as raised:
        if raised_by_signal(raised) is not None:
            raise
        message = ""
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        text += "".join(f"; {error_text(each)}" for each in error.exceptions)
    return kept_text(text, MAX_ERROR_CHARACTERS)


def retry_after_of(error: BaseException) -> float | None:
    """Return an error's own delay before the next attempt; None without one. Log a wrong one."""
    try:
        return retry_after_seconds(error)
    except InvalidValueError as wrong:
        logger.warning("%s, and is ignored: it is of a %s", wrong, type(error).__name__)
        return None


@contextmanager
def _entered(middleware: Sequence[Middleware], context: Context[Any]) -> Iterator[None]:
    """Enter the hooks around a handler. Their own errors are logged, and change nothing."""
    with ExitStack() as stack:
        for each in middleware:
            stack.enter_context(_guarded(each, context))
        yield


@contextmanager
def _guarded(middleware: Middleware, context: Context[Any]) -> Iterator[None]:
    try:
        manager = middleware(context)
        manager.__enter__()
    except Exception as error:
        if raised_by_signal(error) is not None:
            raise
        logger.exception("a middleware failed")
        yield
        return
    try:
        yield
    except BaseException as error:
        _leave(manager, error)
        raise
    _leave(manager, None)


def _leave(manager: AbstractContextManager[object], error: BaseException | None) -> None:
    details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
    try:
        manager.__exit__(*details)
    except Exception as raised:
        if raised_by_signal(raised) is not None:
            raise
        if raised is not error:
            logger.exception("a middleware failed")
