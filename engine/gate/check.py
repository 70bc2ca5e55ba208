"""The check: a user's function that chooses jobs to move on, and the place where it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import isawaitable
from typing import Any

from engine.domain.exceptions import InvalidValueError, shown
from engine.domain.models import Job
from engine.domain.validation import is_async_function, is_generator_function, takes
from engine.gate.waiting_jobs import GateCheck, WaitingJobs
from engine.portal import BlockingCall, Threads
from engine.portal.time import Time

Chosen = Job[Any] | str


class Check:
    """Calls a user's function: an async one on the event loop, a plain one in a thread.

    A plain function that returns an awaitable, such as a decorated async function, is called in a
    thread as well; this awaits what it returns, on the event loop.

    Args:
        function: Takes the waiting jobs, and returns those that may move on.
        time: The engine's.

    Raises:
        InvalidValueError: It is no such function.
    """

    def __init__(self, function: GateCheck, time: Time) -> None:
        if not callable(function):
            raise InvalidValueError("check", f"must be a function, not {shown(function)}")
        if is_generator_function(function):
            raise InvalidValueError(
                "check", f"must return jobs or ids, and {shown(function)} yields them"
            )
        if not takes(function, 1):
            raise InvalidValueError(
                "check", f"must take the waiting jobs: {shown(function)} does not"
            )
        self._function = function
        self._time = time
        self._is_async = is_async_function(function)
        self._threads = Threads("engine gate")
        self._call: BlockingCall[Any] | None = None

    async def until_free(self) -> None:
        """Wait for the end of a thread that a cancelled call has left running, if there is one."""
        if self._call is not None:
            with self._time.at_work():
                await self._call.until_ended()

    async def choose(self, jobs: WaitingJobs[Any]) -> Sequence[Chosen]:
        """Return the jobs or ids that may move on; to be called while no thread runs.

        Cancelling this leaves a thread running.

        Raises:
            InvalidValueError: The function returned something else.
            BaseException: The function's own.
        """
        if self._is_async:
            awaitable: Any = self._function(jobs)
            return _listed(await awaitable)
        with self._time.at_work():
            self._call = self._threads.start(self._in_thread, jobs)
            outcome = await self._call.wait()
        return _listed(await outcome) if isawaitable(outcome) else outcome

    def close(self) -> None:
        """End the thread, if there is one: a busy one after its function."""
        self._threads.close()

    def _in_thread(self, jobs: WaitingJobs[Any]) -> Any:  # noqa: ANN401 - jobs, or an awaitable
        outcome = self._function(jobs)
        return outcome if isawaitable(outcome) else _listed(outcome)


def _listed(chosen: object) -> list[Chosen]:
    """Return jobs and ids as a list. What is lazy is made here.

    Raises:
        InvalidValueError: These are none.
    """
    if isinstance(chosen, str | Job) or not isinstance(chosen, Iterable):
        raise InvalidValueError("check", f"must return jobs or ids, not {shown(chosen)}")
    return list(chosen)
