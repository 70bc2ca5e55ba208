"""The feed: tells those who wait for jobs, or watch them, of what has been committed.

It never waits and keeps nothing: a listener takes a change in, or just remembers that there was
more (see `engine.owner.watching`). A caller who waits for one job costs nothing when another one
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from engine.domain.exceptions import EngineUnavailableError
from engine.domain.models import Progress
from engine.storage.record import (
    Change,
)


class Listener(Protocol):
    """Is told of changes, on the event loop of the owner; must neither raise nor take long."""

    def tell(self, changes: Sequence[Change]) -> None:
        """Take in what has been committed: of the listener's job alone, if it has one."""
        ...

    def tell_progress(self, progress: Progress) -> None:
        """Take in what a handler has said."""
        ...

    def end(self, error: EngineUnavailableError) -> None:
        """Take in that nothing more will come."""
        ...


class Feed:
    """Passes changes on to listeners, of one job or of all. Belongs to one event loop.

    Attributes:
        progress: What handlers at work have said last, by their jobs' ids.
    """

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self._of_all: list[Listener] = []
        self._of_job: dict[str, list[Listener]] = {}
        self._ended: Callable[[], EngineUnavailableError] | None = None

    def __len__(self) -> int:
        """Return how many listen."""
        return len(self._of_all) + sum(map(len, self._of_job.values()))

    def join(self, listener: Listener, job_id: str | None = None) -> None:
        """Tell a listener of all that is committed from now on: of one job, or of all."""
        if self._ended is not None:
            listener.end(self._ended())
        elif job_id is None:
            self._of_all.append(listener)
        else:
            self._of_job.setdefault(job_id, []).append(listener)

    def leave(self, listener: Listener, job_id: str | None = None) -> None:
        """Tell a listener no more. Does nothing if it has left."""
        listeners = self._of_all if job_id is None else self._of_job.get(job_id, [])
        if listener in listeners:
            listeners.remove(listener)
        if job_id is not None and not listeners:
            self._of_job.pop(job_id, None)

    def publish(self, changes: Sequence[Change]) -> None:
        """Tell of committed changes."""
        if self._of_job:
            for change in changes:
                for listener in tuple(self._of_job.get(change.record.job_id, ())):
                    listener.tell((change,))
        for listener in tuple(self._of_all):
            listener.tell(changes)

    def publish_progress(self, progress: Progress) -> None:
        """Tell of what a handler says."""
        self.progress[progress.job_id] = progress
        for listener in (*self._of_job.get(progress.job_id, ()), *self._of_all):
            listener.tell_progress(progress)

    def end(self, error: Callable[[], EngineUnavailableError]) -> None:
        """Tell everybody, from now on too, that nothing more will come."""
        self._ended = error
        for listener in self._all():
            listener.end(error())
        self._of_all.clear()
        self._of_job.clear()

    def _all(self) -> Iterable[Listener]:
        return [*self._of_all, *(each for some in self._of_job.values() for each in some)]
