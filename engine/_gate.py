"""The gate: asks again and again which of the waiting jobs may go on, all at once.

A gate is one way for a job to begin; the other is that somebody calls `transition`, a payment
service's callback say. Both may do it at the same time: the owner decides, and the second is none.
"""

from __future__ import annotations

import logging
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from random import random
from typing import Any, Final, Generic, TypeAlias

import anyio

from engine.domain.exceptions import (
    EngineError,
    EngineUnavailableError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobClaimedError,
    JobNotFoundError,
    LifecycleError,
    OverloadedError,
    VersionConflictError,
    shown,
)
from engine.domain.models import Job, Progress, Status
from engine.domain.validation import check_seconds, is_async_function
from engine.owner.attachment import Attachment
from engine.owner.base import EngineBase
from engine.owner.commands.move import CheckedMove, MoveJobs
from engine.owner.commands.read import ListJobs
from engine.owner.core import Core
from engine.owner.views import Views
from engine.portal import is_ctrl_c
from engine.storage.record import (
    Change,
    Damaged,
    Record,
)

logger = logging.getLogger("engine.gate")

_PAGE_JOBS: Final = 1_000
_LONGEST_PAUSE_SECONDS: Final = 300.0
_JITTER: Final = 0.1

# Why a job is not moved that has been chosen: it was moved, or removed, or an attempt has it.
_SOMEBODY_ELSE: Final = (
    VersionConflictError,
    InvalidStateTransitionError,
    JobNotFoundError,
    JobClaimedError,
)


class WaitingJobs(Collection[Job[Status]], Generic[Status]):
    """The jobs that wait at a gate, oldest first. Each is made when it is looked at.

    So a check that asks somewhere else which were paid, and looks for those by `get`, takes as long
    for a hundred thousand waiting jobs as for ten.
    """

    def __init__(self, records: dict[str, Record], views: Views[Status]) -> None:
        self._records = records
        self._views = views

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._records)

    def __iter__(self) -> Iterator[Job[Status]]:
        """Return them one after the other."""
        return (self._views.job(record) for record in list(self._records.values()))

    def __contains__(self, job: object) -> bool:
        """Tell whether a job waits, given as a job or by its id."""
        return (job.job_id if isinstance(job, Job) else job) in self._records

    def get(self, job_id: str) -> Job[Status] | None:
        """Return the job with an id, if it waits."""
        record = self._records.get(job_id)
        return None if record is None else self._views.job(record)


GateCheck: TypeAlias = Callable[[WaitingJobs[Any]], Awaitable[Iterable[Job[Any] | str]]]
"""Takes the waiting jobs; returns those that may go on, as jobs or ids."""


class Gate(Attachment):
    """Moves jobs on that wait in a status, as soon as a check says that they may.

    ::

        async def paid(jobs: WaitingJobs) -> list[str]:
            return [each.job_id for each in await payments.since(yesterday)]

        async with JobEngine("jobs.db") as engine, Gate(engine, paid):
            ...

    The check is asked at every interval, while jobs wait, with all of them at once; and what it
    returns is moved on, each job for itself. What doesn't wait (any more) is passed over, so it may
    return more than it was asked for. With a `SyncJobEngine` it is a plain context manager.

    Args:
        engine: The engine, which is to be entered before and left after.
        check: Takes the waiting jobs and returns those that may go on, as jobs or as ids. When it
            raises, or takes longer than ``timeout_seconds``, that is logged, and it is asked again
            after a pause that doubles each time, from the interval up to 300 s.
        status: Where the jobs wait; by default the lifecycle's initial status.
        target: Where they go; by default the lifecycle's running status.
        interval_seconds: How long to wait between two checks: above 0, by default 5. Each time it
            is made up to 10 % shorter or longer, so that many gates don't ask at the same time.
        timeout_seconds: How long a check may take: above 0, by default 60.

    Raises:
        InvalidValueError: An argument is of the wrong type or out of its range.
        LifecycleError: The lifecycle has no move from the one status to the other.
    """

    _name = "gate"

    def __init__(
        self,
        engine: EngineBase[Status],
        check: GateCheck,
        *,
        status: Status | None = None,
        target: Status | None = None,
        interval_seconds: float = 5.0,
        timeout_seconds: float = 60.0,
    ) -> None:
        super().__init__(engine)
        if not is_async_function(check):
            raise InvalidValueError("check", f"must be an async function, not {shown(check)}")
        check_seconds("interval_seconds", interval_seconds, above_zero=True)
        check_seconds("timeout_seconds", timeout_seconds, above_zero=True)
        core = engine.core
        lifecycle = core.lifecycle
        start = lifecycle.value(lifecycle.initial if status is None else status)
        end = lifecycle.value(lifecycle.running if target is None else target)
        try:
            lifecycle.validate(start, end)
        except InvalidStateTransitionError as error:
            raise LifecycleError(f"a gate from {start} to {end}: {error}") from None
        self._part = _Keeper(
            core,
            check,
            (start, end),
            interval_seconds=interval_seconds,
            timeout_seconds=timeout_seconds,
        )


class _Keeper:
    """The gate on the event loop of the engine, in the engine's own task group."""

    def __init__(
        self,
        core: Core[Any],
        check: GateCheck,
        way: tuple[str, str],
        *,
        interval_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._core = core
        self._check = check
        self._status, self._target = way
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._waiting: dict[str, Record] = {}
        self._gone: set[str] | None = None  # while the first jobs are being read

    async def open(self) -> None:
        """Learn who waits, and begin to ask."""
        self._core.inbox.check_open()
        # What cancels the application closes the gate, too, and that waits for it to end.
        self._scope = anyio.CancelScope(shield=True)
        self._arrived = anyio.Event()
        self._ended = anyio.Event()
        self._core.state.events.subscribe(self)
        try:
            await self._read_waiting()
        except BaseException:
            self._core.state.events.unsubscribe(self)
            raise
        self._core.tasks.start_soon(self._ask_on, name="engine gate")

    async def close(self) -> None:
        """Ask no more."""
        self._core.state.events.unsubscribe(self)
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def _read_waiting(self) -> None:
        """Take in the jobs that wait already; the feed tells of who comes and goes meanwhile."""
        self._gone, after = set(), 0
        while True:
            page = await self._core.ask(ListJobs(self._status, _PAGE_JOBS, after))
            for record in page:
                if not isinstance(record, Damaged) and record.job_id not in self._gone:
                    self._waiting.setdefault(record.job_id, record)
            if len(page) < _PAGE_JOBS:
                break
            last = page[-1]
            after = last.position
        self._gone = None
        # Those that came meanwhile stand before older ones of later pages.
        self._waiting = dict(sorted(self._waiting.items(), key=lambda pair: pair[1].position))

    # What the feed tells.

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Take in who comes and who goes."""
        for change in changes:
            record = change.record
            if record.status == self._status:
                self._waiting[record.job_id] = record
                self._arrived.set()
            elif change.from_status == self._status:
                self._waiting.pop(record.job_id, None)
                if self._gone is not None:
                    self._gone.add(record.job_id)

    def on_progress(self, progress: Progress) -> None:
        """Ignore it: nobody works on jobs that wait."""

    def on_end(self, error: EngineUnavailableError) -> None:
        """Ask no more."""
        logger.debug("the gate ends: %s", error)
        self._scope.cancel()

    # Asking.

    async def _ask_on(self) -> None:
        """Ask until the gate is closed, or the engine has ended."""
        pause = self._interval_seconds
        longest = max(_LONGEST_PAUSE_SECONDS, self._interval_seconds)
        try:
            with self._scope:
                while True:
                    while not self._waiting:
                        self._arrived = anyio.Event()
                        await self._arrived.wait()
                    went_well = await self._ask_once()
                    pause = self._interval_seconds if went_well else min(2 * pause, longest)
                    spread = 1.0 + _JITTER * (2.0 * random() - 1.0)  # noqa: S311 - it spreads load
                    await self._core.time.sleep(pause * spread)
        finally:
            self._ended.set()

    async def _ask_once(self) -> bool:
        """Ask, and move on those that may. Return False if that failed; it is logged then."""
        try:
            chosen = await self._chosen()
        except BaseException as error:
            if self._ends_by(error):
                raise
            logger.exception("the check of %s failed, and is asked again later", self._status)
            return False
        try:
            await self._let_go_on(chosen)
        except (EngineUnavailableError, OverloadedError) as error:
            logger.debug("jobs stay in %s for now: %s", self._status, error)
        except EngineError:
            logger.exception("jobs stay in %s, and are asked for again later", self._status)
            return False
        return True

    def _ends_by(self, error: BaseException) -> bool:
        """Tell whether this is more than a check that failed; as for a handler, an exit is not."""
        if isinstance(error, Exception):
            return False
        closing = self._scope.cancel_called
        return closing or isinstance(error, GeneratorExit) or is_ctrl_c(error)

    async def _chosen(self) -> list[Record]:
        """Ask which of those that wait may go on.

        Raises:
            BaseException: What the check raised; or it took too long, or returned something else.
        """
        jobs = WaitingJobs(self._waiting, self._core.views)
        with anyio.CancelScope() as scope:
            self._core.time.limit(scope, self._timeout_seconds)
            chosen = await self._check(jobs)
        if scope.cancelled_caught:
            raise TimeoutError(f"a check took more than {self._timeout_seconds:g} s")
        if isinstance(chosen, str | Job) or not isinstance(chosen, Iterable):
            raise InvalidValueError("check", f"must return jobs or ids, not {shown(chosen)}")
        return [record for each in chosen if (record := self._record_of(each)) is not None]

    def _record_of(self, chosen: Job[Any] | str) -> Record | None:
        job_id = chosen.job_id if isinstance(chosen, Job) else chosen
        if not isinstance(job_id, str):
            raise InvalidValueError("check", f"must return jobs or ids, not {shown(chosen)}")
        return self._waiting.get(job_id)

    async def _let_go_on(self, records: Sequence[Record]) -> None:
        """Move jobs on, each for itself; those that somebody else has moved are passed over.

        Raises:
            EngineError: The engine refused.
        """
        at_once = min(_PAGE_JOBS, self._core.inbox.max_waiting)
        for start in range(0, len(records), at_once):
            moves = [
                MoveJobs([CheckedMove(each.job_id, self._target, expected_version=each.version)])
                for each in records[start : start + at_once]
            ]
            for move in moves:
                answered = anyio.Event()
                self._core.inbox.put(move, answered.set)
            await answered.wait()  # the last one's: they are answered in their order
            for move in moves:
                self._take_in(move)

    def _take_in(self, move: MoveJobs) -> None:
        try:
            move.outcome()
        except _SOMEBODY_ELSE as error:
            logger.debug("somebody else was first: %s", error)
