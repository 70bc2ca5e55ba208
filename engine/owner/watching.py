"""Waiting for jobs and watching them: no polling, any number of callers.

Both first join the feed and then ask the owner what there was before, so nothing falls between. A
watcher that is slower than the engine loses nothing and holds nobody up: it keeps a bounded number
of changes, and past that reads the history again from where it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio

from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.domain.models import Progress, Status, Transition
from engine.owner.commands.read import GetJobs, ReadTransitions
from engine.owner.events import Events
from engine.owner.message import Message
from engine.owner.views import Views
from engine.storage.record import Change, Entry, Record, entries_of

Item = TypeVar("Item")

Ask: TypeAlias = Callable[[Message[Any]], Awaitable[Any]]
"""Sends a message and returns its answer."""

MAX_KEPT: Final = 1_000  # changes that a watcher keeps before it reads the history again


class _Waiter:
    """Waits until a job has one of some statuses."""

    def __init__(self, statuses: Collection[str]) -> None:
        self._statuses = statuses
        self._told = anyio.Event()
        self._outcome: Record | EngineUnavailableError | None = None

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Look whether the job has come there."""
        for change in changes:
            if self._outcome is None and change.record.status in self._statuses:
                self._outcome = change.record
                self._told.set()

    def on_progress(self, progress: Progress) -> None:
        """Ignore it."""

    def on_end(self, error: EngineUnavailableError) -> None:
        """Wait no more."""
        if self._outcome is None:
            self._outcome = error
            self._told.set()

    async def wait(self) -> Record:
        """Return the job as it was when it came there.

        Raises:
            EngineUnavailableError: The engine was closed, or crashed, before.
        """
        await self._told.wait()
        if isinstance(self._outcome, EngineUnavailableError):
            raise self._outcome
        assert self._outcome is not None  # noqa: S101 - told
        return self._outcome


async def wait_for(
    events: Events,
    ask: Ask,
    message: GetJobs,
    statuses: Collection[str],
) -> Record:
    """Return a job as soon as it has one of these statuses.

    Args:
        events: Says when the job moves.
        ask: Asks how it is.
        message: Asks for that one job.
        statuses: Those to wait for.

    Raises:
        EngineError: Whatever the message is answered; or the engine was closed meanwhile.
    """
    [job_id] = message.job_ids
    waiter = _Waiter(statuses)
    events.subscribe(waiter, job_id)
    try:
        record = await read_job(ask, message)
        if record.status in statuses:
            return record
        return await waiter.wait()
    finally:
        events.unsubscribe(waiter, job_id)


async def read_job(ask: Ask, message: GetJobs) -> Record:
    """Return the one job that a message asks for.

    Raises:
        EngineError: The answer; it speaks of no item.
    """
    try:
        [record] = await ask(message)
    except EngineError as error:
        error.item = None  # there is only one
        raise
    return cast("Record", record)


class Watcher(Generic[Status]):
    """Gives the transitions of one job or of all, in order, without a gap or a double.

    A watcher of one job ends after the job's last transition; one of all jobs ends with the engine.
    Who made it closes it.

    Args:
        job_id: None for all jobs.
        after: The sequence number behind which to begin.
        progress: Whether to give what handlers say of their progress, too. Only the newest of each
            job is kept, and none of it belongs to the history.
    """

    def __init__(
        self,
        events: Events,
        ask: Ask,
        views: Views[Status],
        final_statuses: Collection[str],
        *,
        job_id: str | None,
        after: int,
        progress: bool,
    ) -> None:
        self._events = events
        self._ask = ask
        self._views = views
        self._final_statuses = final_statuses
        self._job_id = job_id
        self._after = after
        self._wants_progress = progress
        self._joined = False
        self._kept: deque[Entry] = deque()
        self._progress: dict[str, Progress] = {}
        self._is_behind = True  # what comes next is in the history, not here
        self._has_ended = False  # the one job that is watched
        self._closed = anyio.Event()
        self._told = anyio.Event()
        self._error: EngineUnavailableError | None = None

    # What the feed tells.

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Keep what happened, or remember that it was more than can be kept."""
        for entry in entries_of(changes):
            self._progress.pop(entry.job_id, None)  # what it said before it moved is over
            if len(self._kept) == MAX_KEPT:
                self._kept.clear()
                self._is_behind = True
            if not self._is_behind:
                self._kept.append(entry)
            self._told.set()

    def on_progress(self, progress: Progress) -> None:
        """Keep the newest of each job."""
        if self._wants_progress:
            self._progress[progress.job_id] = progress
            self._told.set()

    def on_end(self, error: EngineUnavailableError) -> None:
        """Give what is kept, and then end."""
        self._error = error
        self._told.set()

    # What the caller asks.

    async def next(self) -> Sequence[Transition[Status] | Progress]:
        """Wait for what comes next, and return all that is there; nothing once it has ended.

        Raises:
            JobNotFoundError: There is no such job.
            EngineUnavailableError: The engine was closed, or crashed.
        """
        if not self._joined and not self._closed.is_set():
            await self._join()
        while not self._closed.is_set():
            self._told = anyio.Event()
            found: list[Transition[Status] | Progress] = [*await self._transitions()]
            if not self._has_ended:
                found += self._progress.values()
            self._progress.clear()
            if self._closed.is_set():  # in the meantime
                break
            if found or self._has_ended:
                return found
            if self._error is not None:
                raise self._error
            if not self._is_behind:
                await self._told.wait()
        return ()

    async def _join(self) -> None:
        self._events.subscribe(self, self._job_id)
        try:
            if self._job_id is not None:
                await read_job(self._ask, GetJobs([self._job_id]))
        except BaseException:  # there is no such job; or a cancellation
            self._events.unsubscribe(self, self._job_id)
            raise
        self._joined = True

    async def _transitions(self) -> Sequence[Transition[Status]]:
        if self._is_behind:
            # What is committed from now on is kept, and perhaps read as well.
            self._is_behind = False
            self._kept.clear()
            try:
                lines = await self._ask(ReadTransitions(self._after, MAX_KEPT, self._job_id))
            except BaseException:  # a cancellation, too: it is to be read the next time
                self._is_behind = True
                raise
            if len(lines) == MAX_KEPT:
                self._is_behind = True
            elif not lines:
                await self._look_for_end()
        else:
            lines = list(self._kept)
            self._kept.clear()
        new = [line for line in lines if line.sequence > self._after]
        if new:
            self._after = new[-1].sequence
        if self._job_id is not None and lines and lines[-1].to_status in self._final_statuses:
            self._has_ended = True
        return self._views.transitions(new)

    async def _look_for_end(self) -> None:
        """Find out whether the job had its last transition before the watcher begins."""
        if self._job_id is not None:
            record = await read_job(self._ask, GetJobs([self._job_id]))
            # What came after the reading is kept, and is to be given first.
            nothing_more = not self._kept and not self._is_behind
            self._has_ended = nothing_more and record.status in self._final_statuses

    def close(self) -> None:
        """Stop watching, and end `next`. May be called again."""
        self._closed.set()
        self._events.unsubscribe(self, self._job_id)
        self._told.set()


class Watch(AsyncIterator[Item]):
    """Iterates over the transitions that a watcher gives, for one task at a time.

    It is no asynchronous generator: the first cancellation would end one, and trio warns of
    generators that are left before their end.

    Args:
        watcher: Closed at its end, by `aclose`, or once nothing refers to this iterator.
        call_soon: Schedules a callback on the event loop, for the garbage collector, which may run
            in any thread and in the middle of anything.
    """

    def __init__(
        self, watcher: Watcher[Any], call_soon: Callable[[Callable[[], object]], object]
    ) -> None:
        self._watcher = watcher
        self._call_soon = call_soon
        self._found: deque[Item] = deque()
        self._asking = anyio.ResourceGuard("iterating over these transitions")

    async def __anext__(self) -> Item:
        if not self._found:
            with self._asking:
                found: Sequence[Any] = await self._watcher.next()
                self._found += found
        if not self._found:
            self._watcher.close()
            raise StopAsyncIteration
        return self._found.popleft()

    async def aclose(self) -> None:
        """Stop watching, and end the iteration of a task that waits. Again, it does nothing."""
        self._found.clear()
        self._watcher.close()

    def __del__(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._call_soon(self._watcher.close)
