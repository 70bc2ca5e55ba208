"""Create and advance jobs in a repository."""

from __future__ import annotations

from typing import Protocol

from engine.domain.models import Job, JobStatus


class JobRepository(Protocol):
    """The methods of a repository that the services call."""

    def create(self, input_hash: str) -> Job:
        """Create a job."""
        ...

    def update_status(
        self, job_id: str, status: JobStatus, result: str | None = None, error: str | None = None
    ) -> Job:
        """Move a job to another status."""
        ...


def create_job(repository: JobRepository, input_hash: str) -> Job:
    """Create a job that awaits its payment.

    Raises:
        InvalidValueError: The input hash does not have 1 to 256 characters.
    """
    return repository.create(input_hash)


def advance_job_state(
    repository: JobRepository,
    job_id: str,
    target: JobStatus,
    result: str | None = None,
    error: str | None = None,
) -> Job:
    """Move a job to another status, with a result on success or an error on failure.

    Raises:
        JobNotFoundError: No job has this id.
        InvalidStateTransitionError: The lifecycle does not allow this move.
        InvalidValueError: There is a result without a success, or an error without a failure.
    """
    return repository.update_status(job_id, target, result=result, error=error)
