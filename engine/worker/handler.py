"""The handler: a user's function, and the place where it runs."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_process

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.validation import is_async_function, takes
from engine.portal import BlockingCall, Threads
from engine.worker.context import Context

HandlerFunction: TypeAlias = Callable[..., Any]
"""``async def handle(job)`` or ``def handle(job)``, with a second parameter for the context."""


class Handler:
    """Calls a user's function: an async one on the event loop, a plain one in a thread.

    Args:
        function: Takes the job, and the context if it has a second parameter.
        processes: Call it in processes instead, for work that keeps a processor busy.
        at_once: The largest number of processes.

    Raises:
        InvalidValueError: It is no function of one or two positional parameters; or it can't run in
            processes, because it is async, takes the context or can't be imported by its name.
    """

    def __init__(self, function: HandlerFunction, *, processes: bool, at_once: int) -> None:
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
                "handler", "that runs in processes must be a plain function of the job alone"
            )
        try:
            pickle.dumps(self.function)
        except Exception as error:
            problem = f"that runs in processes must be a function of a module: {error}"
            raise InvalidValueError("handler", problem) from error

    def open(self) -> None:
        """Get ready to run on this event loop; `close` ends it."""
        self._limiter = CapacityLimiter(self._at_once)
        self._threads = Threads("engine handler")

    def close(self) -> None:
        """End the idle threads. Busy ones can't be ended; they end after their function."""
        self._threads.close()

    def call(self, context: Context[Any]) -> tuple[Awaitable[Any], BlockingCall[Any] | None]:
        """Start the function; return an awaitable of its outcome, and its call if in a thread.

        Cancelling the awaitable cancels an async function, kills a process, and leaves a thread
        running.
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


def _outcome_of(function: HandlerFunction, job: object) -> tuple[object, BaseException | None]:
    """Return a function's result or its error. Runs in the process of the function.

    An exit that was raised there would end the process just after its return to the pool.
    """
    try:
        return function(job), None
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        return None, error


def _takes_context(function: HandlerFunction) -> bool:
    """Tell whether a function has a second parameter.

    Raises:
        InvalidValueError: It takes neither a job nor a job and a context.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C may have no signature
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [each for each in signature.parameters.values() if each.kind in places]
    takes_context = len(named) > 1 and (
        named[1].default is inspect.Parameter.empty or named[1].name == "context"
    )
    if not takes(function, 2 if takes_context else 1):
        raise InvalidValueError(
            "handler", f"must take a job, or a job and a context: {shown(function)} does not"
        )
    return takes_context
