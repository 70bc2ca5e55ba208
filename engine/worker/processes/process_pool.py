"""The processes of a worker: those at work, and those that wait for the next job.

All of it is called on the event loop of the engine; `HandlerProcess` blocks, on threads.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from engine.domain.lifecycle import Lifecycle
from engine.portal import BlockingCall, Threads, call_soon, choose_event
from engine.portal.logs import levels
from engine.worker.processes.handler_process import HandlerProcess
from engine.worker.processes.loading import import_paths, is_loading, set_up_for
from engine.worker.processes.messages import encoded
from engine.worker.processes.rules import Processes
from engine.worker.processes.work import Work
from engine.worker.results import Result

Outcome = TypeVar("Outcome")


class ProcessPool:
    """Runs a handler in processes. The caller limits how many work at once.

    Args:
        function: The handler.
        lifecycle: The lifecycle of its jobs.
        rules: How to keep the processes.
        threads: Their calls block these.

    Raises:
        InvalidValueError: The handler or the enum of the statuses can't be found by its name.
    """

    def __init__(
        self,
        function: Callable[..., object],
        lifecycle: Lifecycle[Any],
        rules: Processes,
        threads: Threads,
    ) -> None:
        self._function = function
        self._lifecycle = lifecycle
        self._set_up = b""
        if not is_loading():  # a module may make a worker, which then does not start there
            self._prepare()
        self._paths = import_paths()
        self._rules = rules
        self._threads = threads
        self._max_idle = (os.cpu_count() or 1) if rules.max_idle is None else rules.max_idle
        self._idle: list[HandlerProcess] = []
        self._ending: list[BlockingCall[None]] = []
        self._is_closed = False

    def _prepare(self) -> None:
        self._set_up = encoded(set_up_for(self._function, self._lifecycle, levels()))

    async def open(self) -> None:
        """Start the first process, which shows whether the handler can be loaded.

        Raises:
            HandlerProcessError: It can't.
            InvalidValueError: It can't be found by its name.
        """
        if not self._set_up:
            self._prepare()
        process = self._take()
        await self._outcome(process, self._threads.start(process.start))

    def call(self, work: Work) -> tuple[Awaitable[Result], BlockingCall[Result]]:
        """Start the handler in a process; return an awaitable of its outcome, and its call.

        Cancelling the awaitable kills the process, and waits for its end.

        Raises:
            RuntimeError: The system can't start another thread.
        """
        process = self._take()
        begun = choose_event()() if work.is_limited else None
        soon = call_soon()

        def begin() -> None:
            if begun is not None:
                with suppress(RuntimeError):  # the event loop has ended
                    soon(begun.set)

        def run() -> Result:
            try:
                return process.run(work, begin)
            finally:
                begin()  # whatever has happened: the loop waits for it

        try:
            call = self._threads.start(run)
        except BaseException:
            self._put_back(process)
            raise
        if begun is None:
            return self._outcome(process, call), call
        return self._outcome(process, call, begun.wait, work.begin), call

    async def _outcome(
        self,
        process: HandlerProcess,
        call: BlockingCall[Outcome],
        until_begun: Callable[[], Awaitable[object]] | None = None,
        begin: Callable[[], object] = lambda: None,
    ) -> Outcome:
        """Return the outcome of a call of a process, and keep the process if it is well."""
        try:
            if until_begun is not None:
                await until_begun()
                begin()
            return await call.wait()
        finally:
            if not call.ended:
                process.abandon()
                with anyio.CancelScope(shield=True):
                    await call.until_ended()
            self._put_back(process)

    async def close(self) -> None:
        """End the processes that wait for jobs, and wait until all have ended. Can't be cancelled.

        To be called when no job is at work.
        """
        self._is_closed = True
        while self._idle:
            self._put_back(self._idle.pop())
        with anyio.CancelScope(shield=True):
            for call in self._ending:
                await call.until_ended()

    def _take(self) -> HandlerProcess:
        if self._idle:
            return self._idle.pop()
        return HandlerProcess(self._set_up, self._paths, self._rules.start_seconds)

    def _put_back(self, process: HandlerProcess) -> None:
        is_spent = process.runs >= self._rules.max_jobs
        has_room = len(self._idle) < self._max_idle
        if process.is_ready and has_room and not is_spent and not self._is_closed:
            self._idle.append(process)
            return
        process.abandon()
        with suppress(RuntimeError):  # the machine has no thread for it; it is killed all the same
            self._ending = [call for call in self._ending if not call.ended]
            self._ending.append(self._threads.start(process.end))
