"""The worker pool: claims ready jobs, runs an attempt for each, and reports each outcome.

It runs on the event loop of the engine, in the engine's own task group, where no cancellation of
the application reaches it: `close` ends it, with a time of grace. The end of a handler frees its
place, before the outcome is committed, so that one commit has both the outcome and the next claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.domain.models import Progress
from engine.owner.attachment import Part
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.expire import ExpireJobs
from engine.owner.core import Core
from engine.owner.inside import Inside
from engine.owner.message import Message
from engine.portal import task_starter
from engine.portal.logs import TaskLogger
from engine.storage.record import Change, Record
from engine.worker.attempt import Attempt, Stop
from engine.worker.changes import Changes
from engine.worker.handler import Handler
from engine.worker.outcome import Rules, failure, outcome_of
from engine.worker.outcome_sender import OutcomeSender
from engine.worker.processes import check_not_loading
from engine.worker.progress import ProgressRelay
from engine.worker.stuck_monitor import StuckMonitor

logger = TaskLogger("engine.worker")

_PAUSE_SECONDS: Final = 1.0  # after a refused claim
_REFUSAL_SECONDS: Final = 0.75  # when closing: what then runs on is named before a forced exit


class WorkerPool(Part):
    """Runs a handler for the ready jobs of an engine.

    Attributes:
        rules: The worker's.
        ended_by: The error by which the engine has ended before the worker; None if it has not.
    """

    def __init__(self, core: Core[Any], handler: Handler, rules: Rules) -> None:
        super().__init__(core)
        self.rules = rules
        self._handler = handler
        self._free = rules.concurrency
        self._is_closing = False
        self._attempts: dict[str, Attempt] = {}  # by token, until their outcomes are committed
        self._by_job: dict[str, Attempt] = {}  # by job id, while their handlers run
        self._claim: ClaimJobs | None = None
        self._stuck_monitor = StuckMonitor(self._by_job)
        self.ended_by: EngineUnavailableError | None = None
        self._has_ended = False
        self._at_end: list[Callable[[], object]] = []

    # Beginning and ending.

    async def _open(self) -> None:
        """Start working.

        Raises:
            EngineUnavailableError: The engine is not open.
            HandlerProcessError: The handler can't run in processes.
            InvalidValueError: Another worker of the engine has another rule for deaths.
        """
        check_not_loading()
        try:
            await self._handler.open()
            self._begin_working()
        except BaseException:
            await self._handler.close()
            raise

    def _begin_working(self) -> None:
        self._core.inbox.check_open()
        for part in self._core.parts:
            if isinstance(part, WorkerPool):
                self.rules.deaths.check_agrees(part.rules.deaths)
        self._stuck_monitor.open()  # first: the machine may have no thread for it
        self._changes = Changes(self._core.time)
        self._publish = ProgressRelay(self._by_job, self._core.state.events).publish
        self._start = task_starter(self._core.tasks, self._core.context)
        self._sender = OutcomeSender(self._core, self._changes, self._start, self._forget)
        self._core.state.events.subscribe(self)
        self._core.start(self._claim_jobs, name="engine worker")
        self._core.start(self._stuck_monitor.watch, name="engine stuck monitor")

    async def _close(self) -> None:
        """Stop claiming, give the handlers their time of grace, and stop the rest.

        A job that is cut short is ready again, for the next worker.
        """
        self._is_closing = True
        await self._withdraw_claim()
        # In real time, too: a failed test no longer moves its virtual clock.
        with anyio.move_on_after(self.rules.grace_seconds):
            await self._changes.pause(self.rules.grace_seconds, lambda: not self._attempts)
        self._sender.is_out_of_time = True
        self._changes.wake()
        self._stop_all(Stop.CLOSING)
        with anyio.move_on_after(_REFUSAL_SECONDS):
            await self._changes.until(lambda: not self._attempts)
        if self._attempts:
            self._stuck_monitor.report_all()
        await self._changes.until(lambda: not self._attempts and self._claim is None)
        self._core.state.events.unsubscribe(self)
        self._tell_of_end()
        self._stuck_monitor.close()
        await self._handler.close()

    def interrupt(self) -> None:
        """Claim nothing more: the program is about to close."""
        self._is_closing = True
        if self._claim is not None:
            self._claim.is_abandoned = True
        self._changes.wake()

    @contextmanager
    def at_end(self, function: Callable[[], object]) -> Iterator[None]:
        """Call a function once the worker has closed or its engine has ended; now if it has.

        The function may be called twice, and has to be quick. Any thread may enter this.
        """
        self._at_end.append(function)
        try:
            if self._has_ended:
                function()
            yield
        finally:
            self._at_end.remove(function)

    def _tell_of_end(self) -> None:
        self._has_ended = True
        for function in tuple(self._at_end):
            function()

    def _stop_all(self, reason: Stop) -> None:
        for attempt in list(self._attempts.values()):
            attempt.stop(reason)

    # Claiming.

    async def _claim_jobs(self) -> None:
        """Claim jobs for the free places until the worker closes or the engine ends."""
        try:
            with anyio.CancelScope(shield=True):
                while True:
                    await self._changes.until(lambda: self._free or self._is_closing)
                    if self._is_closing:
                        break
                    try:
                        await self._claim_some()
                    except EngineUnavailableError:
                        break
                    except EngineError:
                        self._claim = None
                        logger.exception("jobs can't be claimed at the moment")
                        await self._changes.pause(_PAUSE_SECONDS, lambda: self._is_closing)
        finally:  # also at the end of the event loop
            self._claim = None
            self._changes.wake()

    async def _claim_some(self) -> None:
        """Claim a job for each free place; wait until there is at least one.

        Raises:
            EngineError: The engine refused.
        """
        woken = anyio.Event()

        def take() -> None:
            # At once, in the owner's publishing of the commit: it misses no later change.
            try:
                self._begin(claim.outcome())
                claim.answer(())  # so that the claim doesn't hold the jobs
            except EngineError as error:
                claim.answer(error)
            woken.set()

        claim = self._claim = ClaimJobs(self._free, self.rules.deaths, take)
        await self._core.inbox.put(claim, internal=True).wait()
        if not claim.answered:  # there was nothing to claim yet
            await woken.wait()
        claim.outcome()

    async def _withdraw_claim(self) -> None:
        """Take the claim back: mark it, and make the owner check its claims."""
        if self._claim is not None:
            self._claim.is_abandoned = True
            try:
                await self._core.ask(ExpireJobs(()), internal=True)
            except EngineError as error:
                logger.debug("all claims were refused: %s", error)
        self._changes.wake()

    # Running.

    def _begin(self, records: Sequence[Record]) -> None:
        """Start an attempt for each of these jobs, which have been claimed."""
        for record in records:
            attempt = Attempt(self._core, record, self._handler, self._publish)
            self._attempts[attempt.token] = self._by_job[attempt.job_id] = attempt
            self._free -= 1
            if record.execution.cancel_reason is not None:  # while the claim was in doubt
                attempt.stop(Stop.CANCELLED)
            self._start(self._run, attempt, name=f"engine attempt {attempt.job_id}")

    async def _run(self, attempt: Attempt) -> None:
        """Run an attempt and report its outcome. Raises nothing, unless the loop is ending."""
        message: Message[Any] | None = None
        if self._is_closing:
            attempt.stop(Stop.CLOSING)
        try:
            with Inside(self, self._core):
                message = await outcome_of(attempt, self.rules, self._core.interrupt)
        except Exception as error:  # noqa: BLE001 - not the handler's own, which are outcomes
            message = failure(attempt, self.rules, error)
        finally:
            self._conclude(attempt, message)

    def _conclude(self, attempt: Attempt, message: Message[Any] | None) -> None:
        """Free the place of an attempt that has ended, and send its outcome, if it has one."""
        if self._by_job.get(attempt.job_id) is attempt:
            del self._by_job[attempt.job_id]
            self._core.state.events.progress.pop(attempt.job_id, None)
        self._leave_place(attempt)
        if message is None:
            self._forget(attempt)
        else:
            self._sender.send(attempt, message)

    def _forget(self, attempt: Attempt) -> None:
        del self._attempts[attempt.token]
        self._changes.wake()

    def _leave_place(self, attempt: Attempt) -> None:
        """Free the place of an attempt; a thread occupies it, and holds its job, until it ends."""
        call = attempt.call
        if call is None or call.ended:
            self._free += 1
            self._changes.wake()
            return
        if self.rules.holds_back:
            self._core.state.ready_queue.strays.hold_back(attempt.job_id)
        self._stuck_monitor.add_orphan(attempt)
        call.when_ended(lambda: self._end_stray(attempt))

    def _end_stray(self, attempt: Attempt) -> None:
        """Free the place of a thread that has outlived its attempt, and let its job go."""
        self._stuck_monitor.remove_orphan(attempt)
        self._free += 1
        self._changes.wake()
        if self.rules.holds_back:
            self._core.state.ready_queue.strays.let_go(attempt.job_id)
            with suppress(EngineError):  # the engine has ended
                self._core.inbox.put(ExpireJobs(()), internal=True)  # a round, which may claim it

    # The listener of events.

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Stop the attempts whose jobs have moved on or were cancelled."""
        if not self._by_job:
            return
        running = self._core.lifecycle.running_value
        for change in changes:
            record = change.record
            attempt = self._by_job.get(record.job_id)
            if attempt is None:
                continue
            if record.status != running or record.execution.token != attempt.token:
                attempt.stop(Stop.LOST)
            elif record.execution.cancel_reason is not None:
                attempt.stop(Stop.CANCELLED)

    def on_progress(self, progress: Progress) -> None:
        """Ignore it: it comes from here."""

    def on_end(self, error: EngineUnavailableError) -> None:
        """Stop all attempts: the engine has ended, and takes no outcomes any more."""
        self._is_closing = True
        self.ended_by = error
        self._tell_of_end()
        self._stop_all(Stop.CLOSING)
        self._stuck_monitor.close()
        self._changes.wake()
        logger.debug("the worker ends: %s", error)
