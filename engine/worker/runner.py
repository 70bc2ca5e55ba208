"""The runner: calls a user's function, on the event loop, in a thread or in a process."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.lifecycle import Lifecycle
from engine.domain.validation import is_async_function, is_generator_function
from engine.portal import BlockingCall, Threads
from engine.worker.handler import HandlerFunction
from engine.worker.parameters import Parameters
from engine.worker.processes import Processes, ProcessPool, Work
from engine.worker.results import Result, Results
from engine.worker.signature import signature_of


class Runner:
    """Calls a user's function: an async one on the event loop, a plain one in a thread.

    A plain function that returns an awaitable, such as a lambda or a decorated async function, is
    called in a thread as well; the attempt awaits what it returns, on the event loop.

    Args:
        function: Takes any of job, input and context; see `Parameters`.
        lifecycle: The lifecycle of its jobs.
        processes: The rules of the processes in which to call it instead of threads; or None.

    Raises:
        InvalidValueError: It is no function or a generator; or its annotations can't work;
            or it can't run in processes, because it is async or can't be imported by its name.
    """

    def __init__(
        self, function: HandlerFunction, lifecycle: Lifecycle[Any], processes: Processes | None
    ) -> None:
        if not callable(function):
            raise InvalidValueError("handler", f"must be a function, not {shown(function)}")
        if is_generator_function(function):
            raise InvalidValueError(
                "handler",
                f"must return its result, and {shown(function)} yields: report progress by a "
                "second parameter, `context.progress`",
            )
        self.function = function
        self.is_async = is_async_function(function)
        signature = signature_of(function)
        self._parameters = Parameters(signature)
        self._results = Results(signature)
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
        work.has_begun = True
        work.begin()
        if self.is_async:
            return self._run(work), None
        call = self._threads.start(self._run, work)
        return call.wait(), call

    def _run(self, work: Work) -> Any:  # noqa: ANN401 - the function may return anything
        return self._parameters.call(self.function, work.context, work.record.input)

    def result(self, outcome: Any) -> Result:  # noqa: ANN401 - the function may return anything
        """Return the result of a call in its stored form: a process has made it already.

        Raises:
            InvalidValueError: It is too long, or can't be made JSON.
        """
        return outcome if self._processes is not None else self._results.result(outcome)
