"""Waiting jobs: a check's view of the jobs that wait at its gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any, Generic, TypeAlias

from engine.domain.models import Job, Status
from engine.owner.views import Views
from engine.storage.record import Record


class WaitingJobs(Collection[Job[Status]], Generic[Status]):
    """Holds the jobs that wait at a gate, oldest first. Makes a snapshot when you look at a job.

    Any thread may look. So a check that fetches the newest payments, and looks up each job by
    `get`, takes as long for a hundred thousand waiting jobs as for ten.
    """

    def __init__(self, records: dict[str, Record], views: Views[Status]) -> None:
        self._records = records
        self._views = views

    def __len__(self) -> int:
        """Count the waiting jobs."""
        return len(self._records)

    def __iter__(self) -> Iterator[Job[Status]]:
        """Iterate over the waiting jobs, oldest first."""
        return (self._views.job(record) for record in list(self._records.values()))

    def __contains__(self, job: object) -> bool:
        """Return whether a job waits, given as a job or by its id."""
        return (job.job_id if isinstance(job, Job) else job) in self._records

    def get(self, job_id: str) -> Job[Status] | None:
        """Return the waiting job that has this id; None if there is none."""
        record = self._records.get(job_id)
        return None if record is None else self._views.job(record)


GateCheck: TypeAlias = Callable[
    [WaitingJobs[Any]], Awaitable[Iterable[Job[Any] | str]] | Iterable[Job[Any] | str]
]
"""Takes the waiting jobs, and returns those that may move on, as jobs or ids: async or plain."""
