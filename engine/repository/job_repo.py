"""A job repository in memory: `create`, `get`, `update_status` and `count`, for any thread."""

from __future__ import annotations

from engine._sync_job_engine import SyncJobEngine
from engine.domain.models import Job, JobStatus


class InMemoryJobRepository:
    """Keeps jobs of the default lifecycle in memory, in a `SyncJobEngine` of its own.

    It needs no closing; its jobs are gone with it. Every call also raises the errors of
    `SyncJobEngine`.
    """

    def __init__(self) -> None:
        self._engine = SyncJobEngine()

    def create(self, input_hash: str) -> Job:
        """Create a job that awaits its payment.

        Raises:
            InvalidValueError: The input hash does not have 1 to 256 characters.
        """
        return self._engine.create(input_hash)

    def get(self, job_id: str) -> Job:
        """Return the job as it is now.

        Raises:
            JobNotFoundError: No job has this id.
        """
        return self._engine.get(job_id)

    def update_status(
        self, job_id: str, status: JobStatus, result: str | None = None, error: str | None = None
    ) -> Job:
        """Move a job to another status, with a result on success or an error on failure.

        Raises:
            JobNotFoundError: No job has this id.
            InvalidStateTransitionError: The lifecycle does not allow this move.
            InvalidValueError: There is a result without a success, or an error without a failure.
        """
        return self._engine.transition(job_id, status, result=result, error=error)

    def count(self) -> int:
        """Return the number of jobs."""
        return self._engine.count()
