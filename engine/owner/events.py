"""Events: pass committed changes to the listeners that wait for jobs or watch them.

Of a shared storage, listeners get the changes of their own engine as it commits them, in no order
among those of others; the followers also get the transitions of all engines, in their order.

Publishing never waits and keeps nothing. A listener keeps a change, or only notes that it missed
some (see `engine.owner.watching`). A listener of one job costs nothing when another job changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.domain.exceptions import EngineUnavailableError
from engine.domain.models import Progress
from engine.storage.record import Change, Entry


class Listener:
    """Takes changes, on the event loop of the owner. Must not raise, and must be quick.

    What a listener does not say, it ignores.

    Attributes:
        follows: Whether it takes the transitions of a shared storage.
    """

    __slots__ = ()

    follows: bool = False

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Take committed changes: of the listener's job, or of all jobs."""

    def on_entries(self, entries: Sequence[Entry]) -> None:
        """Take transitions of a shared storage, of any engine, in their order."""

    def on_gap(self) -> None:
        """Note that transitions of a shared storage were not passed on."""

    def on_progress(self, progress: Progress) -> None:
        """Take the progress of a handler."""

    def on_end(self, error: EngineUnavailableError) -> None:
        """Take the end of the engine: no event follows."""


class Events:
    """Passes changes to listeners, of one job or of all. Belongs to one event loop.

    Attributes:
        progress: The newest progress of each running handler, by job id.
    """

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self._of_all: list[Listener] = []
        self._of_job: dict[str, list[Listener]] = {}
        self._ended: Callable[[], EngineUnavailableError] | None = None

    def __len__(self) -> int:
        """Count the listeners."""
        return len(self._of_all) + sum(map(len, self._of_job.values()))

    def subscribe(self, listener: Listener, job_id: str | None = None) -> None:
        """Pass all events from now on to a listener: of one job, or of all."""
        if self._ended is not None:
            listener.on_end(self._ended())
        elif job_id is None:
            self._of_all.append(listener)
        else:
            self._of_job.setdefault(job_id, []).append(listener)

    def unsubscribe(self, listener: Listener, job_id: str | None = None) -> None:
        """Pass no more events to a listener. Does nothing if it is not subscribed."""
        listeners = self._of_all if job_id is None else self._of_job.get(job_id, [])
        if listener in listeners:
            listeners.remove(listener)
        if job_id is not None and not listeners:
            self._of_job.pop(job_id, None)

    def publish(self, changes: Sequence[Change]) -> None:
        """Pass committed changes to the listeners."""
        if self._of_job:
            for change in changes:
                for listener in tuple(self._of_job.get(change.record.job_id, ())):
                    listener.on_changes((change,))
        for listener in tuple(self._of_all):
            listener.on_changes(changes)

    @property
    def has_followers(self) -> bool:
        """Whether a listener takes the transitions of a shared storage."""
        return bool(self._of_job) or any(listener.follows for listener in self._of_all)

    def publish_entries(self, entries: Sequence[Entry]) -> None:
        """Pass transitions of a shared storage to the followers."""
        if self._of_job:
            for entry in entries:
                for listener in tuple(self._of_job.get(entry.job_id, ())):
                    listener.on_entries((entry,))
        for listener in tuple(self._of_all):
            if listener.follows:
                listener.on_entries(entries)

    def publish_gap(self) -> None:
        """Let the followers read what they have not seen."""
        for listener in self._all():
            if listener.follows:
                listener.on_gap()

    def publish_progress(self, progress: Progress) -> None:
        """Pass the progress of a handler to the listeners, and keep it as the newest."""
        self.progress[progress.job_id] = progress
        for listener in (*self._of_job.get(progress.job_id, ()), *self._of_all):
            listener.on_progress(progress)

    def end(self, error: Callable[[], EngineUnavailableError]) -> None:
        """End all listeners with an error, and every later one at once."""
        self._ended = error
        for listener in self._all():
            listener.on_end(error())
        self._of_all.clear()
        self._of_job.clear()

    def _all(self) -> Iterable[Listener]:
        return [*self._of_all, *(each for some in self._of_job.values() for each in some)]
