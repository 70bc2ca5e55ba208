"""Events: pass committed changes on to those that wait for jobs or watch them.

Publishing never waits and keeps nothing: a listener takes a change in, or just remembers that there
was more (see `engine.owner.watching`). A caller who waits for one job costs nothing when another
one changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from engine.domain.exceptions import EngineUnavailableError
from engine.domain.models import Progress
from engine.storage.record import Change


class Listener(Protocol):
    """Takes changes in, on the event loop of the owner; must neither raise nor take long."""

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Take committed changes in: of the listener's job alone, if it has one."""
        ...

    def on_progress(self, progress: Progress) -> None:
        """Take in how far a handler is."""
        ...

    def on_end(self, error: EngineUnavailableError) -> None:
        """Take in that nothing more will come."""
        ...


class Events:
    """Passes changes on to listeners, of one job or of all. Belongs to one event loop.

    Attributes:
        progress: The newest progress of handlers at work, by their jobs' ids.
    """

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self._of_all: list[Listener] = []
        self._of_job: dict[str, list[Listener]] = {}
        self._ended: Callable[[], EngineUnavailableError] | None = None

    def __len__(self) -> int:
        """Return the number of listeners."""
        return len(self._of_all) + sum(map(len, self._of_job.values()))

    def subscribe(self, listener: Listener, job_id: str | None = None) -> None:
        """Pass on to a listener all that is committed from now on: of one job, or of all."""
        if self._ended is not None:
            listener.on_end(self._ended())
        elif job_id is None:
            self._of_all.append(listener)
        else:
            self._of_job.setdefault(job_id, []).append(listener)

    def unsubscribe(self, listener: Listener, job_id: str | None = None) -> None:
        """Pass nothing more on to a listener. Does nothing if it is not subscribed."""
        listeners = self._of_all if job_id is None else self._of_job.get(job_id, [])
        if listener in listeners:
            listeners.remove(listener)
        if job_id is not None and not listeners:
            self._of_job.pop(job_id, None)

    def publish(self, changes: Sequence[Change]) -> None:
        """Pass committed changes on."""
        if self._of_job:
            for change in changes:
                for listener in tuple(self._of_job.get(change.record.job_id, ())):
                    listener.on_changes((change,))
        for listener in tuple(self._of_all):
            listener.on_changes(changes)

    def publish_progress(self, progress: Progress) -> None:
        """Pass on how far a handler is."""
        self.progress[progress.job_id] = progress
        for listener in (*self._of_job.get(progress.job_id, ()), *self._of_all):
            listener.on_progress(progress)

    def end(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Tell all listeners, later ones too, that nothing more will come."""
        self._ended = error
        for listener in self._all():
            listener.on_end(error())
        self._of_all.clear()
        self._of_job.clear()

    def _all(self) -> Iterable[Listener]:
        return [*self._of_all, *(each for some in self._of_job.values() for each in some)]
