"""The gate keeper: tracks the waiting jobs, runs the check, and moves the chosen jobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from random import random
from typing import Any, Final

import anyio

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidValueError,
    shown,
)
from engine.domain.interrupts import raised_by_signal
from engine.domain.models import Job
from engine.gate.check import Check, Chosen
from engine.gate.moves import MoveChosen
from engine.gate.waiting_jobs import WaitingJobs
from engine.owner.attachment import Part
from engine.owner.commands.lead import Lead
from engine.owner.commands.listing import ListJobs
from engine.owner.core import Core
from engine.owner.events import Listener
from engine.owner.inside import Inside
from engine.portal import to_the_end
from engine.portal.logs import TaskLogger
from engine.storage.filter import JobFilter
from engine.storage.record import Change, Damaged, Record

logger = TaskLogger("engine.gate")

_PAGE_JOBS: Final = 1_000
_LONGEST_PAUSE_SECONDS: Final = 300.0
_JITTER: Final = 0.1


class GateKeeper(Part, Listener):
    """Works for a gate on the event loop of the engine, in the engine's task group."""

    def __init__(
        self,
        core: Core[Any],
        check: Check,
        *,
        status: str,
        target: str,
        interval_seconds: float,
        timeout_seconds: float,
        name: str | None,
    ) -> None:
        super().__init__(core)
        self._check = check
        self._status = status
        self._target = target
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._name = name
        self._waiting: dict[str, Record] = {}
        self._gone: set[str] | None = None  # the jobs that left while the first ones are read

    async def _open(self) -> None:
        """Read the waiting jobs, and start polling.

        Raises:
            EngineError: The engine refused the read.
        """
        # Shielded: a cancelled application closes the gate, and waits until it has ended.
        self._scope = anyio.CancelScope(shield=True)
        self._arrived = anyio.Event()
        self._polled: anyio.Event | None = None  # the end of polling, once it has begun
        self._core.state.events.subscribe(self)
        if self._name is not None:
            self._core.state.gates[self._name] += 1
        try:
            await self._read_waiting()
            await self._leads()  # so that operators see it from now on
        except BaseException:
            self._core.state.events.unsubscribe(self)
            await to_the_end(self._leave)  # it may lead though it has not heard so
            raise
        self._core.start(self._poll, name="engine gate")

    async def _close(self) -> None:
        """Stop polling."""
        self._core.state.events.unsubscribe(self)
        self._scope.cancel()
        if self._polled is not None:
            await self._polled.wait()
        self._check.close()
        await self._leave()

    async def _leave(self) -> None:
        """Let other engines run the gates of the name, unless another one is open in this."""
        if self._name is None:
            return
        gates = self._core.state.gates
        gates[self._name] -= 1
        if not gates[self._name]:
            del gates[self._name]
            with suppress(EngineError):  # then another one leads once this engine is dead
                await self._core.ask(Lead(self._name, resigns=True), internal=True)

    async def _read_waiting(self) -> None:
        """Read the jobs that wait already; events report the others that come and go meanwhile."""
        self._gone = set()
        waiting, after = JobFilter(self._status), 0
        while True:
            page = await self._core.ask(ListJobs(waiting, _PAGE_JOBS, after), internal=True)
            for record in page.jobs:
                if not isinstance(record, Damaged) and record.job_id not in self._gone:
                    self._waiting.setdefault(record.job_id, record)
            if page.next_after is None:
                break
            after = page.next_after
        self._gone = None
        # New jobs that came meanwhile stand before older ones of later pages.
        self._waiting = dict(sorted(self._waiting.items(), key=lambda pair: pair[1].position))

    # Events.

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Note the jobs that start or stop waiting. Each check of a shared storage reads anew."""
        if self._core.state.shared is not None:
            return
        for change in changes:
            record = change.record
            if record.status == self._status:
                self._waiting[record.job_id] = record
                self._arrived.set()
            elif change.from_status == self._status:
                self._waiting.pop(record.job_id, None)
                if self._gone is not None:
                    self._gone.add(record.job_id)

    def on_end(self, error: EngineUnavailableError) -> None:
        """Stop polling."""
        self._scope.cancel()
        logger.debug("the gate stops: %s", error)

    # Polling.

    async def _poll(self) -> None:
        """Check and move jobs until the gate is closed or the engine has ended."""
        if self._scope.cancel_called:
            return
        self._polled = anyio.Event()
        pause = self._interval_seconds
        longest = max(_LONGEST_PAUSE_SECONDS, self._interval_seconds)
        try:
            with self._scope:
                while True:
                    await self._until_some_wait()
                    went_well = await self._poll_once()
                    pause = self._interval_seconds if went_well else min(2 * pause, longest)
                    spread = 1.0 + _JITTER * (2.0 * random() - 1.0)  # noqa: S311 - it spreads load
                    await self._core.time.sleep(pause * spread)
        finally:
            self._polled.set()

    async def _until_some_wait(self) -> None:
        """Return once jobs wait; at once if others may have created them."""
        while not self._waiting and self._core.state.shared is None:
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def _poll_once(self) -> bool:
        """Run the check and move the chosen jobs. Return whether that went well; log a failure."""
        try:
            chosen = await self._choose() if await self._may_check() else []
        except BaseException as error:
            if self._ends_by(error):
                raise
            if (interrupt := raised_by_signal(error)) is not None:
                self._core.interrupt(interrupt)
                return False
            logger.exception("the check of jobs in %s failed, and runs again later", self._status)
            return False
        try:
            await self._move(chosen)
        except EngineUnavailableError as error:
            logger.debug("jobs stay in %s for now: %s", self._status, error)
        except EngineError:
            logger.exception("jobs stay in %s until the next check", self._status)
            return False
        return True

    async def _may_check(self) -> bool:
        """Return whether jobs wait, and this engine runs the gates of the name, if they run."""
        if self._is_paused():
            return False
        if not await self._leads():
            return False
        if self._core.state.shared is not None:
            self._waiting.clear()
            await self._read_waiting()
        return bool(self._waiting)

    async def _leads(self) -> bool:
        """Return whether this engine runs the gates of the name."""
        return self._name is None or await self._core.ask(Lead(self._name), internal=True)

    def _is_paused(self) -> bool:
        return self._name in self._core.state.ready_queue.intake.pauses.by_gate

    def _pauses(self) -> int:
        """Return how many pauses of the gate have begun."""
        begun = self._core.state.ready_queue.intake.gate_pauses
        return 0 if self._name is None else begun[self._name]

    def _ends_by(self, error: BaseException) -> bool:
        """Return whether an exception ends the gate, not just the check. An exit does not."""
        if isinstance(error, Exception):
            return False
        return self._scope.cancel_called or isinstance(error, GeneratorExit)

    async def _choose(self) -> list[Record]:
        """Run the check unless the gate is paused by now; return the waiting jobs that it chose.

        Raises:
            BaseException: The check raised it.
            TimeoutError: The check took too long.
            InvalidValueError: It returned something else than jobs or ids.
        """
        jobs = WaitingJobs(self._waiting, self._core.views)
        with anyio.CancelScope() as scope:
            self._core.time.limit(scope, self._timeout_seconds)
            with Inside(self, self._core):
                await self._check.until_free()
                self._pauses_before = self._pauses()
                chosen = [] if self._is_paused() else await self._check.choose(jobs)
        if scope.cancelled_caught:
            raise TimeoutError(f"a check took more than {self._timeout_seconds:g} s")
        return [record for each in chosen if (record := self._record_of(each)) is not None]

    def _choice_counts(self) -> bool:
        return self._pauses() == self._pauses_before

    def _record_of(self, chosen: Chosen) -> Record | None:
        job_id = chosen.job_id if isinstance(chosen, Job) else chosen
        if not isinstance(job_id, str):
            raise InvalidValueError("check", f"must return jobs or ids, not {shown(chosen)}")
        return self._waiting.get(job_id)

    async def _move(self, records: Sequence[Record]) -> None:
        """Move jobs on, each by itself; pass over those that others have moved or claimed.

        A pause that has begun since the check did stops that, even if it has ended.

        Raises:
            EngineError: The engine refused.
        """
        at_once = min(_PAGE_JOBS, self._core.inbox.max_waiting)
        for start in range(0, len(records), at_once):
            moves = [
                MoveChosen(each, self._target, self._choice_counts)
                for each in records[start : start + at_once]
            ]
            for move in moves:
                answered = anyio.Event()
                self._core.inbox.put(move, answered.set, internal=True)
            await answered.wait()  # of the last move: they are answered in their order
            for move in moves:
                move.check_outcome()
