"""The worker pool: runs an attempt for each claimed job, and reports each outcome.

It runs on the event loop of the engine, in the engine's own task group, where no cancellation of
the application reaches it: `close` ends it, with a time of grace. The end of a handler frees its
place, before the outcome is committed, so that one commit has both the outcome and the next claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.owner.acts import worker_act
from engine.owner.attachment import Part
from engine.owner.commands.expire import ExpireJobs
from engine.owner.core import Core
from engine.owner.events import Listener
from engine.owner.free_places import FreePlaces, KindPlaces
from engine.owner.inside import Inside
from engine.owner.message import Message
from engine.portal import task_starter
from engine.portal.logs import TaskLogger
from engine.storage.record import Change, Record
from engine.worker.attempt import Attempt, Stop
from engine.worker.changes import Changes
from engine.worker.claimer import Claimer
from engine.worker.handled import Handled
from engine.worker.outcome import failure, outcome_of
from engine.worker.outcome_sender import OutcomeSender
from engine.worker.processes import check_not_loading
from engine.worker.progress import ProgressRelay
from engine.worker.stuck_monitor import StuckMonitor

logger = TaskLogger("engine.worker")

_REFUSAL_SECONDS: Final = 0.75  # when closing: what then runs on is named before a forced exit


class WorkerPool(Part, Listener):
    """Runs the ready jobs of an engine that have some kinds, each by the handler of its kind.

    Args:
        core: The engine's parts.
        handled: The handler of each kind.
        concurrency: How many handlers may run at once, of all kinds.
        grace_seconds: How long closing waits for handlers.

    Attributes:
        ended_by: The error by which the engine has ended before the worker; None if it has not.
    """

    def __init__(
        self,
        core: Core[Any],
        handled: Mapping[str, Handled],
        concurrency: int,
        grace_seconds: float,
    ) -> None:
        super().__init__(core)
        self._handled = handled
        self._grace_seconds = grace_seconds
        self._places = FreePlaces(
            concurrency,
            {
                kind: KindPlaces(each.rules.concurrency, each.rules.deaths)
                for kind, each in handled.items()
            },
            worker_act(),
        )
        self._changes = Changes(core.time)
        self._claimer = Claimer(core, self._places, self._changes, self._begin)
        self._attempts: dict[str, Attempt] = {}  # by token, until their outcomes are committed
        self._by_job: dict[str, Attempt] = {}  # by job id, while their handlers run
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
            KindInUseError: Another worker of the engine has one of the kinds.
        """
        check_not_loading()
        try:
            for each in self._handled.values():
                await each.runner.open()
            self._begin_working()
        except BaseException:
            await self._close_runners()
            raise

    def _begin_working(self) -> None:
        core, kinds = self._core, self._core.state.ready_queue.handled
        core.inbox.check_open()
        kinds.check_free(self._handled)
        self._stuck_monitor.open()  # first: the machine may have no thread for it
        self._publish = ProgressRelay(self._by_job, core.state.events).publish
        self._start = task_starter(core.tasks, core.context)
        self._sender = OutcomeSender(core, self._changes, self._start, self._forget)
        core.state.events.subscribe(self)
        kinds.add(self._handled, core.time.now())
        core.start(self._claimer.run, name="engine worker")
        core.start(self._stuck_monitor.watch, name="engine stuck monitor")

    async def _close_runners(self) -> None:
        for each in self._handled.values():
            await each.runner.close()

    async def _close(self) -> None:
        """Stop claiming, give the handlers their time of grace, and stop the rest.

        A job that is cut short is ready again, for the next worker.
        """
        await self._claimer.withdraw()
        # In real time, too: a failed test no longer moves its virtual clock.
        with anyio.move_on_after(self._grace_seconds):
            await self._changes.pause(self._grace_seconds, lambda: not self._attempts)
        self._sender.is_out_of_time = True
        self._changes.wake()
        self._stop_all(Stop.CLOSING)
        with anyio.move_on_after(_REFUSAL_SECONDS):
            await self._changes.until(lambda: not self._attempts)
        if self._attempts:
            self._stuck_monitor.report_all()
        await self._changes.until(lambda: not self._attempts and not self._claimer.is_claiming)
        self._core.state.events.unsubscribe(self)
        self._core.state.ready_queue.handled.remove(self._handled, self._core.time.now)
        self._tell_of_end()
        self._stuck_monitor.close()
        await self._close_runners()

    def interrupt(self) -> None:
        """Claim nothing more: the program is about to close."""
        self._claimer.stop()

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

    # Running.

    def _begin(self, records: Sequence[Record]) -> None:
        """Start an attempt for each of these jobs, which have been claimed."""
        for record in records:
            runner = self._handled[record.kind].runner
            attempt = Attempt(self._core, record, runner, self._publish)
            self._attempts[attempt.token] = self._by_job[attempt.job_id] = attempt
            self._places.take(record.kind)
            if record.execution.cancel_reason is not None:  # while the claim was in doubt
                attempt.stop(Stop.CANCELLED)
            self._start(self._run, attempt, name=f"engine attempt {attempt.job_id}")

    async def _run(self, attempt: Attempt) -> None:
        """Run an attempt and report its outcome. Raises nothing, unless the loop is ending."""
        message: Message[Any] | None = None
        rules = self._handled[attempt.record.kind].rules
        if self._claimer.is_stopping:
            attempt.stop(Stop.CLOSING)
        try:
            with Inside(self, self._core):
                message = await outcome_of(attempt, rules, self._core.interrupt)
        except Exception as error:  # noqa: BLE001 - not the handler's own, which are outcomes
            message = failure(attempt, rules, error)
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
            self._ask_for_a_round()
        else:
            self._sender.send(attempt, message)

    def _forget(self, attempt: Attempt) -> None:
        del self._attempts[attempt.token]
        self._changes.wake()

    def _leave_place(self, attempt: Attempt) -> None:
        """Free the place of an attempt; a thread occupies it, and holds its job, until it ends."""
        call, kind = attempt.call, attempt.record.kind
        if call is None or call.ended:
            self._places.leave(kind)
            self._changes.wake()
            return
        if self._handled[kind].rules.holds_back:
            self._core.state.ready_queue.strays.hold_back(attempt.job_id)
        self._stuck_monitor.add_orphan(attempt)
        call.when_ended(lambda: self._end_stray(attempt))

    def _end_stray(self, attempt: Attempt) -> None:
        """Free the place of a thread that has outlived its attempt, and let its job go."""
        kind = attempt.record.kind
        self._stuck_monitor.remove_orphan(attempt)
        self._places.leave(kind)
        self._changes.wake()
        if self._handled[kind].rules.holds_back:
            self._core.state.ready_queue.strays.let_go(attempt.job_id)
        self._ask_for_a_round()

    def _ask_for_a_round(self) -> None:
        """Make the owner look at the claims again, where no outcome does: a place has got free."""
        with suppress(EngineError):  # the engine has ended
            self._core.inbox.put(ExpireJobs(()), internal=True)

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

    def on_end(self, error: EngineUnavailableError) -> None:
        """Stop all attempts: the engine has ended, and takes no outcomes any more."""
        self._claimer.stop()
        self.ended_by = error
        self._tell_of_end()
        self._stop_all(Stop.CLOSING)
        self._stuck_monitor.close()
        logger.debug("the worker ends: %s", error)
