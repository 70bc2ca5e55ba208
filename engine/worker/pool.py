"""The worker pool: claims ready jobs, runs an attempt for each, and reports each outcome.

It runs on the event loop of the engine, in the engine's own task group, where no cancellation of
the application reaches it: `close` ends it, with a time of grace. The end of a handler frees its
place, before the outcome is committed, so that one commit has both the outcome and the next claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import random
from typing import Any, Final

import anyio

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidStateTransitionError,
    JobNotFoundError,
    OverloadedError,
    StaleAttemptError,
)
from engine.domain.lifecycle import Event
from engine.domain.models import Progress
from engine.domain.retry import Retry
from engine.owner.commands.ask import AskForInput
from engine.owner.commands.claim import ClaimJobs
from engine.owner.commands.expire import ExpireJobs
from engine.owner.commands.finish import FinishJob
from engine.owner.commands.release import ReleaseJob
from engine.owner.core import Core
from engine.owner.message import Message
from engine.portal import BlockingCall, call_soon, is_ctrl_c, task_starter
from engine.storage.record import (
    Change,
    Record,
)
from engine.worker.attempt import Attempt, Middleware, Stop, error_text
from engine.worker.context import InputNeeded
from engine.worker.handler import Handler
from engine.worker.stuck_monitor import StuckMonitor

logger = logging.getLogger("engine.worker")

_PAUSE_SECONDS: Final = 1.0  # after a refused claim
_FIRST_PAUSE_SECONDS: Final = 0.05  # after a refused outcome
_LONGEST_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The arguments of a worker; `engine.worker.Worker` documents them."""

    concurrency: int
    retry: Retry
    timeout_seconds: float | None
    idempotent: bool
    grace_seconds: float
    middleware: Sequence[Middleware]


class WorkerPool:
    """Runs a handler for the ready jobs of an engine."""

    def __init__(self, core: Core[Any], handler: Handler, rules: Rules) -> None:
        self._core = core
        self._handler = handler
        self._rules = rules
        self._free = rules.concurrency
        self._is_closing = False
        self._is_left_alone = False
        self._is_out_of_time = False  # a refused outcome is then not sent again
        self._attempts: dict[str, Attempt] = {}  # by token, until their outcomes are committed
        self._by_job: dict[str, Attempt] = {}  # by job id, while their handlers run
        self._claim: ClaimJobs | None = None
        self._progress: dict[str, Progress] = {}  # the newest of each job, to be published
        self._is_publishing = False
        self._stuck_monitor = StuckMonitor(self._by_job)

    # Beginning and ending.

    async def open(self) -> None:
        """Start working, on the event loop of the engine.

        Raises:
            EngineUnavailableError: The engine is not open.
        """
        self._core.inbox.check_open()
        self._changed: anyio.Event | None = None
        self._outwaits: set[anyio.CancelScope] = set()
        self._call_soon = call_soon()
        self._start = task_starter(self._core.tasks)
        self._handler.open()
        self._core.state.events.subscribe(self)
        self._core.tasks.start_soon(self._claim_jobs, name="engine worker")
        self._stuck_monitor.open()
        self._core.tasks.start_soon(self._stuck_monitor.watch, name="engine stuck monitor")

    async def close(self) -> None:
        """Stop claiming, give the handlers their time of grace, and stop the rest.

        A job that is cut short is ready again, for the next worker. Can't be cancelled.
        """
        self._is_closing = True
        with anyio.CancelScope(shield=True):
            await self._withdraw_claim()
            # In real time, too: a failed test no longer moves its virtual clock.
            with anyio.move_on_after(self._rules.grace_seconds):
                await self._pause(self._rules.grace_seconds, lambda: not self._attempts)
            self._is_out_of_time = True
            self._change()
            self._stop_all(Stop.CLOSING)
            await self._until(lambda: not self._attempts and self._claim is None)
        self._core.state.events.unsubscribe(self)
        self._leave_alone()
        self._handler.close()

    def _stop_all(self, reason: Stop) -> None:
        for attempt in list(self._attempts.values()):
            attempt.stop(reason)

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    async def _pause(self, seconds: float, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, for a number of seconds at most."""
        with anyio.CancelScope() as scope:
            self._core.time.limit(scope, seconds)
            await self._until(condition)

    def _change(self) -> None:
        """Wake the tasks in `_until`, to check their conditions."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # Claiming.

    async def _claim_jobs(self) -> None:
        """Claim jobs for the free places until the worker closes or the engine ends."""
        try:
            with anyio.CancelScope(shield=True):
                while True:
                    await self._until(lambda: self._free or self._is_closing)
                    if self._is_closing:
                        break
                    try:
                        await self._claim_some()
                    except EngineUnavailableError:
                        break
                    except EngineError as error:
                        self._claim = None
                        level = (
                            logging.DEBUG if isinstance(error, OverloadedError) else logging.ERROR
                        )
                        logger.log(level, "jobs can't be claimed at the moment", exc_info=error)
                        await self._pause(_PAUSE_SECONDS, lambda: self._is_closing)
        finally:  # also at the end of the event loop
            self._claim = None
            self._change()

    async def _claim_some(self) -> None:
        """Claim a job for each free place; wait until there is at least one.

        Raises:
            EngineError: The engine refused.
        """
        told = anyio.Event()
        rules, retry = self._rules, self._rules.retry

        def take() -> None:
            # At once, in the owner's publishing of the commit: it misses no later change.
            try:
                self._begin(claim.outcome())
            except EngineError as error:
                claim.answer(error)
            told.set()

        claim = self._claim = ClaimJobs(
            self._free, max_attempts=retry.max_attempts, idempotent=rules.idempotent, notify=take
        )
        await self._core.inbox.put(claim).wait()
        if not claim.answered:  # there was nothing to claim yet
            await told.wait()
        claim.outcome()

    async def _withdraw_claim(self) -> None:
        """Take the claim back: mark it, and make the owner check its claims."""
        if self._claim is not None:
            self._claim.is_abandoned = True
        while self._claim is not None:
            try:
                await self._core.ask(ExpireJobs(()))
            except OverloadedError:
                await self._pause(_FIRST_PAUSE_SECONDS, lambda: self._claim is None)
                continue
            except EngineError as error:
                logger.debug("all claims were refused: %s", error)
            break
        self._change()

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
        """Run an attempt and report its outcome. Raises nothing except a Ctrl-C."""
        message: Message[Any] | None
        try:
            message = await self._outcome(attempt)
        except Exception as error:  # noqa: BLE001 - not the handler's own: a filter of the log, say
            message = self._failure(attempt, error)
        except BaseException:
            self._forget(attempt)  # so that closing the worker does not wait for it
            raise
        if self._by_job.get(attempt.job_id) is attempt:
            del self._by_job[attempt.job_id]
            self._core.state.events.progress.pop(attempt.job_id, None)
        self._leave_place(attempt)
        if message is None:
            self._forget(attempt)
        else:
            self._send(attempt, message)

    def _send(self, attempt: Attempt, message: Message[Any]) -> None:
        """Send the outcome of an attempt to the owner; no task waits for the answer."""
        try:
            # Beyond the limit of callers: the concurrency bounds them, and they end jobs.
            self._core.inbox.put(
                message, lambda: self._take_answer(attempt, message), internal=True
            )
        except EngineError as error:
            self._take_error(attempt, message, error)

    def _take_answer(self, attempt: Attempt, message: Message[Any]) -> None:
        try:
            message.outcome()
        except EngineError as error:
            self._take_error(attempt, message, error)
        else:
            self._forget(attempt)

    def _take_error(self, attempt: Attempt, message: Message[Any], error: EngineError) -> None:
        """Send the outcome again later, unless it no longer counts or the engine has ended.

        The owner may get the same outcome twice: by the token, only the first one counts.
        """
        whose = f"the outcome of attempt {attempt.number} of job {attempt.job_id}"
        if isinstance(error, StaleAttemptError | InvalidStateTransitionError | JobNotFoundError):
            logger.info("%s no longer counts: %s", whose, error, extra=attempt.fields)
        elif isinstance(error, EngineUnavailableError) or self._is_out_of_time:
            logger.warning(
                "%s is lost; the job will run again: %s", whose, error, extra=attempt.fields
            )
        else:
            logger.warning("%s is refused, and sent again: %s", whose, error, extra=attempt.fields)
            self._start(self._send_later, attempt, message, name="engine outcome")
            return
        self._forget(attempt)

    async def _send_later(self, attempt: Attempt, message: Message[Any]) -> None:
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(attempt.refusals, 10), _LONGEST_PAUSE_SECONDS)
        attempt.refusals += 1
        with anyio.CancelScope(shield=True):
            await self._pause(seconds, lambda: self._is_out_of_time)
        self._send(attempt, message)

    def _forget(self, attempt: Attempt) -> None:
        del self._attempts[attempt.token]
        self._change()

    async def _outcome(self, attempt: Attempt) -> Message[Any] | None:
        """Run an attempt, and return the message with its outcome; None for no message."""
        job_id, token = attempt.job_id, attempt.token
        if self._is_closing:
            attempt.stop(Stop.CLOSING)
        if reason := attempt.why_stopped():  # before it began
            return self._after_stop(attempt, reason)
        self._log(attempt, "begins")
        try:
            result = await attempt.run(self._rules.middleware, self._rules.timeout_seconds)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            if isinstance(error, InputNeeded) and attempt.context.request is not None:
                return AskForInput(job_id, token, *attempt.context.request)
            if reason := attempt.why_stopped():
                return self._after_stop(attempt, reason)
            return self._after_failure(attempt, error)
        self._log(attempt, "is done")
        return FinishJob(job_id, token, Event.SUCCEED, result=result)

    @staticmethod
    def _log(attempt: Attempt, what: str) -> None:
        if logger.isEnabledFor(logging.DEBUG):  # the fields cost more than this check
            names = (attempt.number, attempt.job_id, what)
            logger.debug("attempt %s of job %s %s", *names, extra=attempt.fields)

    def _after_stop(self, attempt: Attempt, reason: Stop) -> Message[Any] | None:
        logger.info(
            "attempt %s of job %s was stopped: %s",
            *(attempt.number, attempt.job_id, reason.value),
            extra=attempt.fields,
        )
        if reason is Stop.LOST:
            return None
        return ReleaseJob(attempt.job_id, attempt.token, 0.0, failed=False)

    def _after_failure(self, attempt: Attempt, error: BaseException) -> Message[Any]:
        """Log that an attempt failed, and return the message for the owner."""
        may_retry = self._rules.retry.may_retry(error, attempt.failures + 1)
        logger.warning(
            "attempt %s of job %s failed%s",
            *(attempt.number, attempt.job_id, ", and another one follows" * may_retry),
            exc_info=error,
            extra=attempt.fields,
        )
        return self._failure(attempt, error)

    def _failure(self, attempt: Attempt, error: BaseException) -> Message[Any]:
        """Return the message that retries the job, or fails it."""
        retry, failures = self._rules.retry, attempt.failures + 1
        if retry.may_retry(error, failures):
            delay = retry.delay_seconds(failures, random())  # noqa: S311 - it spreads load
            return ReleaseJob(attempt.job_id, attempt.token, delay, failed=True)
        return FinishJob(attempt.job_id, attempt.token, Event.FAIL, error=error_text(error))

    def _leave_place(self, attempt: Attempt) -> None:
        """Free the place of an attempt; a thread occupies it until its function ends."""
        call = attempt.call
        if call is None or call.ended:
            self._free += 1
            self._change()
        elif not self._is_left_alone:
            self._core.tasks.start_soon(self._outwait, attempt, call, name="engine orphan thread")

    async def _outwait(self, attempt: Attempt, call: BlockingCall[Any]) -> None:
        if self._is_left_alone:
            return
        self._stuck_monitor.add_orphan(attempt)
        with anyio.CancelScope(shield=True) as scope:
            self._outwaits.add(scope)
            await call.until_ended()
        self._outwaits.discard(scope)
        self._stuck_monitor.remove_orphan(attempt)
        self._free += 1
        self._change()

    def _leave_alone(self) -> None:
        """Stop waiting for threads, and stop the monitor."""
        self._is_left_alone = True
        for scope in self._outwaits:
            scope.cancel()
        self._stuck_monitor.close()

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
        """Ignore it: the pool published it."""

    def on_end(self, error: EngineUnavailableError) -> None:
        """Stop all attempts: the engine has ended, and takes no outcomes any more."""
        logger.debug("the worker ends: %s", error)
        self._is_closing = True
        self._stop_all(Stop.CLOSING)
        self._leave_alone()
        self._change()

    # Progress of handlers.

    def _publish(self, progress: Progress) -> None:
        """Publish a handler's progress, from any thread. It replaces an earlier one."""
        self._progress[progress.job_id] = progress
        if not self._is_publishing:
            self._is_publishing = True
            with suppress(RuntimeError):  # the event loop has ended
                self._call_soon(self._publish_all)

    def _publish_all(self) -> None:
        self._is_publishing = False  # first: later progress schedules another call
        for _ in range(len(self._progress)):
            _, each = self._progress.popitem()
            attempt = self._by_job.get(each.job_id)
            if attempt is not None and attempt.number == each.attempt:
                self._core.state.events.publish_progress(each)
