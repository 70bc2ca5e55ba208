"""The handler: a user's function, and where it is run."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_process

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import is_async_function
from engine.portal import BlockingCall, Threads
from engine.worker.context import Context

Function: TypeAlias = Callable[..., Any]
"""``async def handle(job)`` or ``def handle(job)``, with a second parameter for the context."""


class Handler:
    """A user's function: an async one is run on the event loop, a plain one in a thread.

    Args:
        function: Takes the job, and the context if it has a second parameter.
        processes: Run it in processes instead: for work that keeps a processor busy.
        at_once: How many processes there may be.

    Raises:
        InvalidValueError: It is no function of one or two positional parameters; or it is to be run
            in processes, and is async, wants the context, or can't be found by its name there.
    """

    def __init__(self, function: Function, *, processes: bool, at_once: int) -> None:
        if not callable(function):
            raise InvalidValueError("handler", f"must be a function, not {shown(function)}")
        self.function = function
        self.is_async = is_async_function(function)
        self._wants_context = _takes_context(function)
        self._processes = processes
        self._at_once = at_once
        if processes:
            self._check_for_processes()

    def _check_for_processes(self) -> None:
        if self.is_async or self._wants_context:
            raise InvalidValueError(
                "handler", "that is run in processes must be a plain function of the job alone"
            )
        try:
            pickle.dumps(self.function)
        except Exception as error:
            problem = f"that is run in processes must be a function of a module: {error}"
            raise InvalidValueError("handler", problem) from error

    def open(self) -> None:
        """Make ready on the event loop that runs it; `close` ends what this begins."""
        self._limiter = CapacityLimiter(self._at_once)
        self._threads = Threads("engine handler")

    def close(self) -> None:
        """Let idle threads end. Those at work are left to themselves: they can't be ended."""
        self._threads.close()

    def call(self, context: Context[Any]) -> tuple[Awaitable[Any], BlockingCall[Any] | None]:
        """Begin to run it; return what gives its outcome, and its thread if it has one.

        Cancelled, an async function is cancelled, a process is killed, and a thread goes on.
        """
        arguments = (context.job, context) if self._wants_context else (context.job,)
        if self.is_async:
            return self.function(*arguments), None
        if self._processes:
            return self._in_process(context.job), None
        call = self._threads.start(self.function, *arguments)
        return call.wait(), call

    async def _in_process(self, job: object) -> object:
        result, error = await to_process.run_sync(
            _outcome_of, self.function, job, cancellable=True, limiter=self._limiter
        )
        if error is not None:
            raise error
        return result


def _outcome_of(function: Function, job: object) -> tuple[object, BaseException | None]:
    """Return what a function returns, or what it raises. In the process that runs it.

    Raised there, an exit would end the process just after it was given back to the others.
    """
    try:
        return function(job), None
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        return None, error


def _takes_context(function: Function) -> bool:
    """Tell whether a function has a second parameter.

    Raises:
        InvalidValueError: It can't be called with a job, or with a job and a context.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that is written in C need not say what it takes
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [each for each in signature.parameters.values() if each.kind in places]
    takes_context = len(named) > 1 and (
        named[1].default is inspect.Parameter.empty or named[1].name == "context"
    )
    try:
        signature.bind(*(("job", "context") if takes_context else ("job",)))
    except TypeError as error:
        problem = f"must take a job, or a job and a context: {shown(function)}: {error}"
        raise InvalidValueError("handler", problem) from None
    return takes_context
