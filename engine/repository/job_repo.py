"""A job repository in memory: `create`, `get`, `update_status` and `count`, for any thread."""

from __future__ import annotations

from engine._sync_job_engine import SyncJobEngine
from engine.domain.models import Job, JobStatus


class InMemoryJobRepository:
    """Keeps jobs of the default lifecycle in memory, by a `SyncJobEngine` of its own.

    It needs no closing: its jobs go when it does. The errors of every call are those of
    `SyncJobEngine`.
    """

    def __init__(self) -> None:
        self._engine = SyncJobEngine()

    def create(self, input_hash: str) -> Job:
        """Create a job that awaits its payment.

        Raises:
            InvalidValueError: The text is not of 1 to 256 characters.
        """
        return self._engine.create(input_hash)

    def get(self, job_id: str) -> Job:
        """Return the job as it is now.

        Raises:
            JobNotFoundError: There is no such job.
        """
        return self._engine.get(job_id)

    def update_status(
        self, job_id: str, status: JobStatus, result: str | None = None, error: str | None = None
    ) -> Job:
        """Move a job to another status; a result goes with a success, an error with a failure.

        Raises:
            JobNotFoundError: There is no such job.
            InvalidStateTransitionError: The lifecycle has no such move.
            InvalidValueError: A result without success, or an error without failure.
        """
        return self._engine.transition(job_id, status, result=result, error=error)

    def count(self) -> int:
        """Return how many jobs there are."""
        return self._engine.count()
