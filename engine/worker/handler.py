"""The handler of a kind: a user's function, and what a worker does otherwise for its kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeAlias, TypedDict, Unpack, overload

from typing_extensions import TypeVar

from engine.domain.models import Job
from engine.domain.retry import Retry
from engine.worker.context import Context
from engine.worker.options import Middleware, Options
from engine.worker.processes import Processes

HandlerFunction: TypeAlias = Callable[..., Any]
"""``async def handle(job)`` or ``def handle(job)``; see `engine.worker.parameters`."""

Input = TypeVar("Input", default=Any)
Result = TypeVar("Result", default=Any)
_In = TypeVar("_In")
_Out = TypeVar("_Out")

_OfJob: TypeAlias = (
    Callable[[Job[Any]], _Out]
    | Callable[[Job[Any], Context[Any]], _Out]
    | Callable[[Context[Any], Job[Any]], _Out]
)
_OfInput: TypeAlias = (
    Callable[[_In, Job[Any], Context[Any]], _Out]
    | Callable[[_In, Context[Any], Job[Any]], _Out]
    | Callable[[Job[Any], _In, Context[Any]], _Out]
    | Callable[[Context[Any], _In, Job[Any]], _Out]
    | Callable[[Job[Any], Context[Any], _In], _Out]
    | Callable[[Context[Any], Job[Any], _In], _Out]
    | Callable[[_In, Context[Any]], _Out]
    | Callable[[Context[Any], _In], _Out]
    | Callable[[_In, Job[Any]], _Out]
    | Callable[[Job[Any], _In], _Out]
    | Callable[[_In], _Out]
)


class _Options(TypedDict, total=False):
    concurrency: int | None
    retry: Retry | None
    timeout_seconds: float | None
    idempotent: bool | None
    max_deaths: int | None
    wait_for_threads: bool | None
    processes: bool | Processes | None
    middleware: Sequence[Middleware] | None


class Handler(Generic[Input, Result]):
    """A function for the jobs of one kind, with arguments of its own. Give it to a `Worker`.

    ::

        Worker(engine, {"report": write_report, "translate": Handler(translate, concurrency=2)})

    Its type has those of the input and of the result, ``Handler[Order, Report]``, as far as the
    function's annotations say them.

    Args:
        function: See `Worker`.
        concurrency: How many jobs of this kind may run at once, within the worker's own
            ``concurrency``: 1 to 10,000. None: as many as the worker may run.
        retry, timeout_seconds, idempotent, max_deaths, wait_for_threads, processes, middleware: As
            for a `Worker`. None: the worker's. So a handler has no time limit only if its worker
            has none, and with ``idempotent=False`` it still runs again after an error if the
            worker has a ``retry``: then give it ``retry=Retry(max_attempts=1)``. Each handler with
            ``processes`` has processes of its own. Follow-ups do not have the worker's ``retry``:
            without one here they are tried again over three days, by `FOLLOW_UP_RETRY`.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range. Making the worker
            checks the function.

    Attributes:
        function: The same.
    """

    @overload
    def __init__(
        self: Handler[Any, _Out], function: _OfJob[Awaitable[_Out]], **options: Unpack[_Options]
    ) -> None: ...
    @overload
    def __init__(
        self: Handler[_In, _Out],
        function: _OfInput[_In, Awaitable[_Out]],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Handler[Any, _Out],
        function: Callable[..., Awaitable[_Out]],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Handler[Any, _Out], function: _OfJob[_Out], **options: Unpack[_Options]
    ) -> None: ...
    @overload
    def __init__(
        self: Handler[_In, _Out], function: _OfInput[_In, _Out], **options: Unpack[_Options]
    ) -> None: ...
    @overload
    def __init__(
        self: Handler[Any, _Out], function: Callable[..., _Out], **options: Unpack[_Options]
    ) -> None: ...
    def __init__(
        self,
        function: HandlerFunction,
        *,
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout_seconds: float | None = None,
        idempotent: bool | None = None,
        max_deaths: int | None = None,
        wait_for_threads: bool | None = None,
        processes: bool | Processes | None = None,
        middleware: Sequence[Middleware] | None = None,
    ) -> None:
        self.function = function
        self._options = Options(
            concurrency,
            retry,
            timeout_seconds,
            idempotent,
            max_deaths,
            wait_for_threads,
            processes,
            middleware,
        )

    @property
    def retry(self) -> Retry | None:
        """Its own rule of retries; for the worker."""
        return self._options.retry

    def options_over(self, others: Options) -> Options:
        """Return the options of the handler in a worker that has others; for the worker."""
        return self._options.over(others)
