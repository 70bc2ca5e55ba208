"""Waiting and watching: follow jobs without polling, for any number of callers.

Both subscribe to the events first and read the past second, so no change falls between. A slow
watcher misses nothing and delays no one: it keeps a bounded number of changes, and reads the rest
from the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio

from engine.domain.epochs import Cursor
from engine.domain.exceptions import EngineError, EngineUnavailableError
from engine.domain.lifecycle import Lifecycle
from engine.domain.models import Progress, Status, Transition
from engine.owner.commands.newest import ReadNewest
from engine.owner.commands.read import GetJobs, ReadTransitions
from engine.owner.events import Events, Listener
from engine.owner.message import Message
from engine.owner.views import Views
from engine.portal import Event
from engine.storage.record import Change, Entry, Record, entries_of

Item = TypeVar("Item")

Ask: TypeAlias = Callable[[Message[Any]], Awaitable[Any]]
"""Sends a message and returns its answer."""

MAX_KEPT: Final = 1_000  # changes that a watcher keeps before it turns to the history


class JobWait(Listener):
    """Waits until a job has one of some statuses.

    Args:
        events: Report the job's moves.
        statuses: The statuses to wait for.
        known: All statuses of the lifecycle. A job of another lifecycle may end in others.
        new_event: Returns an event of the loop.

    Attributes:
        status: The newest status of the job; None before it has been read.
        kind: The job's kind; the same.
    """

    __slots__ = (
        "_events",
        "_is_behind",
        "_known",
        "_new_event",
        "_outcome",
        "_statuses",
        "_woken",
        "kind",
        "status",
    )

    follows = True

    def __init__(
        self,
        events: Events,
        statuses: Collection[str],
        known: Collection[str],
        new_event: Callable[[], Event],
    ) -> None:
        self.status: str | None = None
        self.kind: str | None = None
        self._known = known
        self._new_event = new_event
        self._woken = new_event()
        self._is_behind = False  # the job may have moved since it was read
        self._events = events
        self._statuses = statuses
        self._outcome: Record | EngineUnavailableError | None = None

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Wake the caller if the job has reached a status."""
        for change in changes:
            self.status = change.record.status
            if self._outcome is None and self.status in self._statuses:
                self._outcome = change.record
                self._woken.set()

    def on_entries(self, entries: Sequence[Entry]) -> None:
        """Wake the caller if another engine has moved the job to a status, or to an unknown one."""
        for entry in entries:
            self.status = entry.to_status
            if entry.to_status in self._statuses or entry.to_status not in self._known:
                self.on_gap()

    def on_gap(self) -> None:
        """Let the job be read: it may have moved, and been removed."""
        self._is_behind = True
        self._woken.set()

    def on_end(self, error: EngineUnavailableError) -> None:
        """Wake the caller with the error."""
        if self._outcome is None:
            self._outcome = error
            self._woken.set()

    async def wait(self, ask: Ask, message: GetJobs) -> Record:
        """Return the job as it was when it reached a status.

        If another engine has moved it there, it may have gone on since: then as it is now.

        Args:
            ask: Sends the message.
            message: Reads the one job.

        Raises:
            EngineError: The answer to the message, or the engine was closed meanwhile.
        """
        [job_id] = message.job_ids
        self._events.subscribe(self, job_id)
        try:
            record = await read_job(ask, message)
            self.status, self.kind = self.status or record.status, record.kind
            while self._outcome is None:  # else it came meanwhile
                if record.status in self._statuses or record.outcome is not None:
                    return record
                if self._is_behind:
                    self._is_behind, self._woken = False, self._new_event()
                    record = await read_job(ask, GetJobs([job_id]))
                else:
                    await self._woken.wait()
        finally:
            self._events.unsubscribe(self, job_id)
        if isinstance(self._outcome, EngineUnavailableError):
            raise self._outcome
        assert self._outcome is not None  # noqa: S101 - woken
        return self._outcome


async def read_job(ask: Ask, message: GetJobs) -> Record:
    """Return the one job that a message reads.

    Raises:
        EngineError: The answer, without an item's number.
    """
    try:
        [record] = await ask(message)
    except EngineError as error:
        error.item = None  # this is no bulk call
        raise
    return cast("Record", record)


class Watcher(Listener, Generic[Status]):
    """Yields the transitions of one job or of all, in order, without gaps or duplicates.

    A watcher of one job ends after the job's last transition, a watcher of all jobs with the
    engine. Its maker closes it.

    Args:
        events: Report new changes.
        ask: Sends the reads of the history.
        views: Make the transitions.
        lifecycle: Says which statuses it knows, and in which a job has ended.
        job_id: The job; None for all jobs.
        after: Where to start; None for the newest transition at the first step.
        progress: Whether to yield the progress of handlers, too. The watcher keeps the newest of
            each job, and the history has none.
        follows: Whether the storage is shared.
    """

    def __init__(
        self,
        events: Events,
        ask: Ask,
        views: Views[Status],
        lifecycle: Lifecycle[Status],
        *,
        job_id: str | None,
        after: Cursor | None,
        progress: bool,
        follows: bool,
    ) -> None:
        self._events = events
        self._ask = ask
        self._views = views
        self._lifecycle = lifecycle
        self._job_id = job_id
        self._begins_now = after is None
        self._after = 0 if after is None else after.sequence
        self._epoch = "" if after is None else after.epoch  # until the first read has checked it
        # Watching from the beginning: what was removed before that is not missed.
        self._removed_before: int | None = 0 if self._after or after is None else None
        self._wants_progress = progress
        self._joined = False
        self._kept: deque[Entry] = deque()
        self._progress: dict[str, Progress] = {}
        self._is_behind = True  # the next transition is in the history, not in `_kept`
        self._has_ended = False  # the watched job
        self._closed = anyio.Event()
        self._woken = anyio.Event()
        self._error: EngineUnavailableError | None = None
        self.follows = follows

    # Events.

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Keep the changes of a private storage. Those of a shared one come as entries."""
        if not self.follows:
            self.on_entries(entries_of(changes))

    def on_entries(self, entries: Sequence[Entry]) -> None:
        """Keep transitions; if they are too many, note that the history has them."""
        for entry in entries:
            self._progress.pop(entry.job_id, None)  # a move makes earlier progress obsolete
            if len(self._kept) == MAX_KEPT:
                self._kept.clear()
                self._is_behind = True
            if not self._is_behind:
                self._kept.append(entry)
            self._woken.set()

    def on_gap(self) -> None:
        """Read the history."""
        self._kept.clear()
        self._is_behind = True
        self._woken.set()

    def on_progress(self, progress: Progress) -> None:
        """Keep the newest of each job."""
        if self._wants_progress:
            self._progress[progress.job_id] = progress
            self._woken.set()

    def on_end(self, error: EngineUnavailableError) -> None:
        """Note the error, to raise after the kept transitions."""
        self._error = error
        self._woken.set()

    # The caller's side.

    async def next(self) -> Sequence[Transition[Status] | Progress]:
        """Wait for the next transitions, and return all that are there; none after the end.

        Raises:
            JobNotFoundError: No job has this id.
            UnknownCursorError: No transition has the number to start behind.
            CursorExpiredError: Transitions that it has not seen have been removed.
            EngineUnavailableError: The engine was closed, or crashed.
        """
        if not self._joined and not self._closed.is_set():
            await self._join()
        while not self._closed.is_set():
            self._woken = anyio.Event()
            found: list[Transition[Status] | Progress] = [*await self._transitions()]
            if not self._has_ended:
                found += self._progress.values()
            self._progress.clear()
            if self._closed.is_set():  # meanwhile
                break
            if found or self._has_ended:
                return found
            if self._error is not None:
                raise self._error
            if not self._is_behind:
                await self._woken.wait()
        return ()

    async def _join(self) -> None:
        self._events.subscribe(self, self._job_id)
        try:
            if self._begins_now:
                self._after = await self._ask(ReadNewest())
            if self._job_id is not None:
                await read_job(self._ask, GetJobs([self._job_id]))
        except BaseException:  # no job has this id, or the caller was cancelled
            self._events.unsubscribe(self, self._job_id)
            raise
        self._joined = True

    async def _transitions(self) -> Sequence[Transition[Status]]:
        if self._is_behind:
            # Changes from now on are kept; the read may contain them, too.
            self._is_behind = False
            self._kept.clear()
            try:
                read = ReadTransitions(
                    self._after, MAX_KEPT, self._job_id, self._removed_before, self._epoch
                )
                lines = await self._ask(read)
                self._removed_before, self._epoch = read.removed_before, ""
            except BaseException:  # a cancellation, too: read again next time
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
        if self._job_id is not None and lines:
            await self._note_status(lines[-1].to_status)
        return self._views.transitions(new)

    async def _note_status(self, status: str) -> None:
        """Find out whether the watched job has ended: in another lifecycle's status, perhaps."""
        if status in self._lifecycle.final_values:
            self._has_ended = True
        elif status not in self._lifecycle.values:
            await self._look_for_end()

    async def _look_for_end(self) -> None:
        """Find out whether the job ended before the watcher starts."""
        if self._job_id is not None:
            record = await read_job(self._ask, GetJobs([self._job_id]))
            # Changes after the read are kept, and come first.
            nothing_more = not self._kept and not self._is_behind
            self._has_ended = nothing_more and record.outcome is not None

    def close(self) -> None:
        """Stop watching, and end a waiting `next`. A second call does nothing."""
        self._closed.set()
        self._events.unsubscribe(self, self._job_id)
        self._woken.set()


class Watch(AsyncIterator[Item]):
    """Iterates over the transitions of a watcher, for one task at a time.

    It is no asynchronous generator: a cancellation would end one for good, and trio warns of
    generators that are left before their end.

    Args:
        watcher: Closed at its end, by `aclose`, or when this iterator is garbage.
        call_soon: Schedules a callback on the event loop. The garbage collector needs it, because
            it runs in any thread and in the middle of anything.
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
        """Stop watching, and end the iteration of a waiting task. A second call does nothing."""
        self._found.clear()
        self._watcher.close()

    def __del__(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._call_soon(self._watcher.close)
