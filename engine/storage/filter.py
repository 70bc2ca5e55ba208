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
    root_id: str | None = None
    """The job is a follow-up of the one with this id, or one of such a follow-up."""
    follow_ups: bool = True
    """Whether a follow-up may be among them."""
    still_since: datetime | None = None
    """Up to this time the job came to its status, its newest attempt began, and the time of its
    next attempt came: whichever it has of these. Nothing has begun since then."""
    due_by: datetime | None = None
    """The job's deadline or the time of its next attempt comes up to this time."""
    input_hash: str | None = None

    @property
    def is_simple(self) -> bool:
        """Whether it is one of status, label, kind (but for ``default``) and root, or nothing.

        An index has just the jobs of such a filter.
        """
        named = (self.status, self.kind, self.root_id)
        parts = sum(each is not None for each in named) + len(self.labels)
        times = (self.created_after, self.created_before, self.still_since, self.due_by)
        has_an_index = times == (None, None, None, None) and self.input_hash is None
        return parts <= 1 and self.kind != DEFAULT_KIND and has_an_index and self.follow_ups

    def admits(self, job: Record) -> bool:
        """Return whether a job is among those that the filter is about."""
        return (
            self.status in {None, job.status}
            and self.kind in {None, job.kind}
            and self.input_hash in {None, job.input_hash}
            and (self.created_after is None or job.created_at >= self.created_after)
            and (self.created_before is None or job.created_at < self.created_before)
            and (self.still_since is None or newest_time(job) <= self.still_since)
            and (self.due_by is None or self._is_due(job, self.due_by))
            and (not self.labels or self._has_labels(job))
            and (self.follow_ups or job.parent_id is None)
            and self.root_id in {None, job.origin and job.origin.root_id}
        )

    @staticmethod
    def _is_due(job: Record, by: datetime) -> bool:
        times = (job.execution.deadline_at, job.execution.retry_at)
        return any(time is not None and time <= by for time in times)

    def _has_labels(self, job: Record) -> bool:
        if job.labels is None:
            return False
        labels = read_labels(job.labels)
        return all(labels.get(name) == value for name, value in self.labels)


def newest_time(job: Record) -> datetime:
    """Return up to when something has begun with a job; see `JobFilter.still_since`."""
    times = (job.updated_at, job.execution.claimed_at, job.execution.retry_at)
    return max(time for time in times if time is not None)


ALL_JOBS: Final = JobFilter()
