"""What an application does with a repository: create a job, and move it on."""

from __future__ import annotations

from typing import Protocol

from engine.domain.models import Job, JobStatus


class JobRepository(Protocol):
    """What a service needs of a repository."""

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
        InvalidValueError: The text is not of 1 to 256 characters.
    """
    return repository.create(input_hash)


def advance_job_state(
    repository: JobRepository,
    job_id: str,
    target: JobStatus,
    result: str | None = None,
    error: str | None = None,
) -> Job:
    """Move a job on; a result goes with a success, an error with a failure.

    Raises:
        JobNotFoundError: There is no such job.
        InvalidStateTransitionError: The lifecycle has no such move.
        InvalidValueError: A result without success, or an error without failure.
    """
    return repository.update_status(job_id, target, result=result, error=error)
