"""The acceptance suite of the models."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pydantic import ValidationError

from engine.domain.exceptions import InvalidStateTransitionError
from engine.domain.models import Job, JobStatus, validate_transition


def _fields() -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "job_id": str(uuid4()),
        "status": JobStatus.AWAITING_PAYMENT,
        "input_hash": "a" * 64,
        "blockchain_identifier": "mock_bc_1",
        "created_at": now,
        "updated_at": now,
        "result": None,
        "error": None,
    }


def test_statuses_are_exactly_four() -> None:
    assert {status.value for status in JobStatus} == {
        "awaiting_payment",
        "running",
        "completed",
        "failed",
    }


def test_extra_fields_are_rejected() -> None:
    Job.model_validate(_fields())
    with pytest.raises(ValidationError):
        Job.model_validate(_fields() | {"surprise": 1})


def test_job_is_frozen() -> None:
    job = Job.model_validate(_fields())
    with pytest.raises(ValidationError):
        job.status = JobStatus.RUNNING  # type: ignore[misc]
    assert job.status == JobStatus.AWAITING_PAYMENT


@pytest.mark.parametrize(
    ("current", "target"),
    [
        (JobStatus.AWAITING_PAYMENT, JobStatus.RUNNING),
        (JobStatus.RUNNING, JobStatus.COMPLETED),
        (JobStatus.RUNNING, JobStatus.FAILED),
    ],
)
def test_legal_moves(current: JobStatus, target: JobStatus) -> None:
    validate_transition(current, target)


@pytest.mark.parametrize(
    ("current", "target"),
    [
        (JobStatus.AWAITING_PAYMENT, JobStatus.COMPLETED),
        (JobStatus.AWAITING_PAYMENT, JobStatus.FAILED),
        (JobStatus.COMPLETED, JobStatus.RUNNING),
        (JobStatus.FAILED, JobStatus.RUNNING),
        (JobStatus.COMPLETED, JobStatus.AWAITING_PAYMENT),
        (JobStatus.RUNNING, JobStatus.AWAITING_PAYMENT),
    ],
)
def test_illegal_moves(current: JobStatus, target: JobStatus) -> None:
    with pytest.raises(InvalidStateTransitionError):
        validate_transition(current, target)


def test_error_carries_both_states() -> None:
    with pytest.raises(InvalidStateTransitionError) as caught:
        validate_transition(JobStatus.COMPLETED, JobStatus.RUNNING)
    assert (caught.value.from_state, caught.value.to_state) == ("completed", "running")
    assert type(caught.value.from_state) is str
    assert type(caught.value.to_state) is str
