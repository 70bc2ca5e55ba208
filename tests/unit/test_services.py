"""The repository and the services, on the blocking engine."""

import inspect

import pytest

from engine import InvalidStateTransitionError, InvalidValueError, JobNotFoundError, JobStatus
from engine.repository.job_repo import InMemoryJobRepository
from engine.services.job_service import JobRepository, advance_job_state, create_job


def test_a_job_goes_its_way() -> None:
    repository = InMemoryJobRepository()
    job = create_job(repository, "hash")
    assert repository.get(job.job_id) == job
    running = advance_job_state(repository, job.job_id, JobStatus.RUNNING)
    assert running.status is JobStatus.RUNNING
    done = advance_job_state(repository, job.job_id, JobStatus.COMPLETED, result="x")
    assert (done.status, done.result, done.version) == (JobStatus.COMPLETED, "x", 3)
    assert repository.get(job.job_id) == done
    assert repository.count() == 1


def test_a_job_fails_with_an_error() -> None:
    repository = InMemoryJobRepository()
    job = create_job(repository, "hash")
    advance_job_state(repository, job.job_id, JobStatus.RUNNING)
    failed = advance_job_state(repository, job.job_id, JobStatus.FAILED, error="no")
    assert (failed.status, failed.error) == (JobStatus.FAILED, "no")


def test_errors_are_the_engines() -> None:
    repository = InMemoryJobRepository()
    job = create_job(repository, "hash")
    with pytest.raises(JobNotFoundError):
        advance_job_state(repository, "unheard of", JobStatus.RUNNING)
    with pytest.raises(InvalidStateTransitionError):
        advance_job_state(repository, job.job_id, JobStatus.COMPLETED)
    with pytest.raises(InvalidValueError):
        advance_job_state(repository, job.job_id, JobStatus.RUNNING, result="too early")
    with pytest.raises(InvalidValueError):
        create_job(repository, "")
    assert repository.get(job.job_id) == job


def test_repositories_share_nothing() -> None:
    one, other = InMemoryJobRepository(), InMemoryJobRepository()
    create_job(one, "hash")
    assert (one.count(), other.count()) == (1, 0)


@pytest.mark.parametrize("name", ["create", "update_status"])
def test_the_repository_has_what_a_service_needs(name: str) -> None:
    needed = inspect.signature(getattr(JobRepository, name))
    assert inspect.signature(getattr(InMemoryJobRepository, name)) == needed
