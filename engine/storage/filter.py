"""Filters: which jobs a page or a count is about."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from engine.domain.labels import DEFAULT_KIND, read_labels
from engine.storage.record import Record


class Label(NamedTuple):
    """A label that jobs are asked for."""

    name: str
    value: str


class JobFilter(NamedTuple):
    """Admits the jobs for which all of these hold; without any, all jobs."""

    status: str | None = None
    kind: str | None = None
    labels: tuple[Label, ...] = ()
    """The job has all of them, and maybe others."""
    created_after: datetime | None = None
    """The job was created at this time or later."""
    created_before: datetime | None = None
    """The job was created before this time."""

    @property
    def is_simple(self) -> bool:
        """Whether it is one of status, label and kind (but for ``default``), or nothing.

        An index has just the jobs of such a filter.
        """
        parts = (self.status is not None) + (self.kind is not None) + len(self.labels)
        times = (self.created_after, self.created_before)
        return parts <= 1 and self.kind != DEFAULT_KIND and times == (None, None)

    def admits(self, job: Record) -> bool:
        """Return whether a job is among those that the filter is about."""
        return (
            self.status in {None, job.status}
            and self.kind in {None, job.kind}
            and (self.created_after is None or job.created_at >= self.created_after)
            and (self.created_before is None or job.created_at < self.created_before)
            and (not self.labels or self._has_labels(job))
        )

    def _has_labels(self, job: Record) -> bool:
        if job.labels is None:
            return False
        labels = read_labels(job.labels)
        return all(labels.get(name) == value for name, value in self.labels)


ALL_JOBS: Final = JobFilter()
