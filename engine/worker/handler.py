"""The handler: a user's function, and the place where it runs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import is_async_function, takes
from engine.portal import BlockingCall, Threads
from engine.worker.processes import Processes, ProcessPool, Work
from engine.worker.results import Result, Results
from engine.worker.signature import signature_of

HandlerFunction: TypeAlias = Callable[..., Any]
"""``async def handle(job)`` or ``def handle(job)``, with a second parameter for the context."""


class Handler:
    """Calls a user's function: an async one on the event loop, a plain one in a thread.

    Args:
        function: Takes the job, and the context if it has a second parameter.
        lifecycle: The lifecycle of its jobs.
        processes: The rules of the processes in which to call it instead of threads; or None.

    Raises:
        InvalidValueError: It is no function of one or two positional parameters; or it can't run in
            processes, because it is async or can't be imported by its name.
    """

    def __init__(
        self, function: HandlerFunction, lifecycle: Lifecycle[Any], processes: Processes | None
    ) -> None:
        if not callable(function):
            raise InvalidValueError("handler", f"must be a function, not {shown(function)}")
        self.function = function
        self.is_async = is_async_function(function)
        self._wants_context = takes_context(function)
        self._results = Results(signature_of(function))
        self._threads = Threads("engine handler")
        self._processes: ProcessPool | None = None
        if processes is not None:
            if self.is_async:
                raise InvalidValueError("handler", "that runs in processes must not be async")
            self._processes = ProcessPool(function, lifecycle, processes, self._threads)

    async def open(self) -> None:
        """Get ready to run on this event loop; `close` ends it.

        Raises:
            HandlerProcessError: A process can't start, or can't load the function.
        """
        if self._processes is not None:
            await self._processes.open()

    async def close(self) -> None:
        """End the idle threads and processes. Can't be cancelled.

        A busy thread can't be ended; it ends after its function.
        """
        if self._processes is not None:
            await self._processes.close()
        self._threads.close()

    def call(self, work: Work) -> tuple[Awaitable[Any], BlockingCall[Any] | None]:
        """Start the function; return an awaitable of its outcome, and its call if in a thread.

        Cancelling the awaitable cancels an async function, kills a process, and leaves a thread
        running.
        """
        if self._processes is not None:
            return self._processes.call(work)
        work.begin()
        context = work.context
        arguments = (context.job, context) if self._wants_context else (context.job,)
        if self.is_async:
            return self.function(*arguments), None
        call = self._threads.start(self.function, *arguments)
        return call.wait(), call

    def result(self, outcome: Any) -> Result:  # noqa: ANN401 - the function may return anything
        """Return the result of a call in its stored form: a process has made it already.

        Raises:
            InvalidValueError: It is too long, or can't be made JSON.
        """
        return outcome if self._processes is not None else self._results.result(outcome)


def takes_context(function: HandlerFunction) -> bool:
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
    wants_context = len(named) > 1 and (
        named[1].default is inspect.Parameter.empty or named[1].name == "context"
    )
    if not takes(function, 2 if wants_context else 1):
        raise InvalidValueError(
            "handler", f"must take a job, or a job and a context: {shown(function)} does not"
        )
    return wants_context
