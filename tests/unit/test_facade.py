"""The promises of each call of both facades: its answers, and every error with its condition."""

from collections.abc import Callable
from typing import Any

import pytest

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    IdempotencyConflictError,
    InvalidStateTransitionError,
    InvalidValueError,
    JobNotFoundError,
    JobStatus,
    Move,
    VersionConflictError,
)
from engine.testing.facades import FACADES, Engine, opened_engine
from tests.unit.finishing import finished

pytestmark = pytest.mark.anyio


async def test_a_job_goes_its_way(engine: Engine) -> None:
    job = await engine.create("hash")
    assert job.status is JobStatus.AWAITING_PAYMENT
    assert (job.input_hash, job.result, job.error, job.version) == ("hash", None, None, 1)
    assert job.blockchain_identifier == f"mock_bc_{job.job_id}"
    assert job.created_at == job.updated_at
    assert await engine.get(job.job_id) == job
    running = await engine.transition(job.job_id, JobStatus.RUNNING)
    assert (running.status, running.version) == (JobStatus.RUNNING, 2)
    failed = await engine.transition(job.job_id, JobStatus.FAILED, error="no")
    assert (failed.status, failed.error, failed.result, failed.version) == (
        *(JobStatus.FAILED, "no", None, 3),
    )
    assert await engine.get(job.job_id) == failed
    assert job.status is JobStatus.AWAITING_PAYMENT, "a snapshot never changes"


async def test_an_outcome_may_be_empty_or_left_out(engine: Engine) -> None:
    for outcome in ({}, {"result": ""}):
        job = await engine.create("hash")
        await engine.transition(job.job_id, JobStatus.RUNNING)
        done = await engine.transition(job.job_id, JobStatus.COMPLETED, **outcome)
        assert done.result == outcome.get("result")


async def test_an_identifier_is_kept(engine: Engine) -> None:
    job = await engine.create("hash", payment_id="bc-1")
    assert job.blockchain_identifier == "bc-1"


async def test_a_plain_string_may_stand_for_a_status(engine: Engine) -> None:
    job = await engine.create("hash")
    running = await engine.transition(job.job_id, "running")
    assert running.status is JobStatus.RUNNING
    assert await engine.count("running") == 1


CALLS_ABOUT_A_JOB: dict[str, Callable[[Engine, str], Any]] = {
    "get": lambda engine, job_id: engine.get(job_id),
    "get_many": lambda engine, job_id: engine.get_many([job_id]),
    "transition": lambda engine, job_id: engine.transition(job_id, JobStatus.RUNNING),
    "transition_many": lambda engine, job_id: engine.transition_many(
        [Move(job_id, JobStatus.RUNNING)]
    ),
    "history": lambda engine, job_id: engine.history(job_id),
}


@pytest.mark.parametrize("call", CALLS_ABOUT_A_JOB)
async def test_an_unknown_job_is_not_found(engine: Engine, call: str) -> None:
    await engine.create("hash")
    with pytest.raises(JobNotFoundError) as caught:
        await CALLS_ABOUT_A_JOB[call](engine, "unheard of")
    assert caught.value.job_id == "unheard of"
    assert caught.value.item == (0 if call.endswith("_many") else None)


async def test_an_illegal_move_changes_nothing(engine: Engine) -> None:
    job = await engine.create("hash")
    with pytest.raises(InvalidStateTransitionError) as caught:
        await engine.transition(job.job_id, JobStatus.COMPLETED)
    error = caught.value
    assert (error.from_state, error.to_state) == ("awaiting_payment", "completed")
    assert (error.allowed, error.job_id, error.item) == (("running",), job.job_id, None)
    assert await engine.get(job.job_id) == job
    assert len(await engine.history(job.job_id)) == 1


async def test_a_job_that_has_ended_never_changes(engine: Engine) -> None:
    job = await finished(engine)
    for target in JobStatus:
        with pytest.raises(InvalidStateTransitionError, match="completed is final"):
            await engine.transition(job.job_id, target)
    assert await engine.get(job.job_id) == job


async def test_an_expected_version_guards_a_move(engine: Engine) -> None:
    job = await engine.create("hash")
    for version in (2, 2**63 - 1):
        with pytest.raises(VersionConflictError) as caught:
            await engine.transition(job.job_id, JobStatus.RUNNING, expected_version=version)
        error = caught.value
        assert (error.job_id, error.expected_version, error.actual_version) == (
            *(job.job_id, version, 1),
        )
    assert await engine.get(job.job_id) == job
    running = await engine.transition(job.job_id, JobStatus.RUNNING, expected_version=1)
    assert running.version == 2


async def test_a_stale_version_is_told_of_before_an_illegal_move(engine: Engine) -> None:
    job = await finished(engine)
    with pytest.raises(VersionConflictError):
        await engine.transition(job.job_id, JobStatus.RUNNING, expected_version=1)


async def test_the_same_key_and_content_give_the_job_as_it_is_now(engine: Engine) -> None:
    job = await engine.create("hash", idempotency_key="key")
    assert job.idempotency_key == "key"
    assert await engine.create("hash", idempotency_key="key") == job
    running = await engine.transition(job.job_id, JobStatus.RUNNING)
    assert await engine.create("hash", idempotency_key="key") == running
    done = await engine.transition(job.job_id, JobStatus.COMPLETED, result="x")
    assert await engine.create("hash", idempotency_key="key") == done
    assert await engine.count() == 1


async def test_inputs_under_the_same_key_are_compared_as_values(engine: Engine) -> None:
    given = {"a": 1, "b": [{"c": 2, "d": 3.0}]}
    job = await engine.create("hash", idempotency_key="key", input=given)
    same = {"b": [{"d": 3, "c": 2}], "a": 1.0}
    again = await engine.create("hash", idempotency_key="key", input=same)
    assert again == job
    assert list(again.input) == ["a", "b"]
    for other in ({**given, "a": True}, {**given, "e": None}, {"a": 1, "b": []}, None):
        with pytest.raises(IdempotencyConflictError) as caught:
            await engine.create("hash", idempotency_key="key", input=other)
        assert caught.value.field == "input"


@pytest.mark.parametrize("ended", [False, True])
async def test_other_content_under_the_same_key_is_a_conflict(engine: Engine, ended: bool) -> None:  # noqa: FBT001 - a parameter of a test
    job = await engine.create("hash", idempotency_key="key")
    if ended:
        await engine.transition(job.job_id, JobStatus.RUNNING)
        await engine.transition(job.job_id, JobStatus.FAILED)
    for content, field in (
        ({"input_hash": "other"}, "input_hash"),
        ({"input_hash": "hash", "payment_id": "other"}, "payment_id"),
    ):
        with pytest.raises(IdempotencyConflictError) as caught:
            await engine.create(**content, idempotency_key="key")
        error = caught.value
        assert (error.idempotency_key, error.job_id, error.field) == ("key", job.job_id, field)
    assert await engine.count() == 1


@pytest.mark.parametrize("facade", FACADES)
async def test_a_lifecycle_of_ones_own_rules_everything(facade: type[Any]) -> None:
    async with opened_engine(facade, lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = await engine.create("hash")
        await engine.transition(job.job_id, AgentJobStatus.RUNNING)
        asking = await engine.transition(job.job_id, AgentJobStatus.AWAITING_INPUT)
        assert asking.status is AgentJobStatus.AWAITING_INPUT
        assert await engine.count(AgentJobStatus.AWAITING_INPUT) == 1
        failed = await engine.transition(job.job_id, AgentJobStatus.FAILED, error="expired")
        assert failed.error == "expired"
        assert set((await engine.statistics()).jobs) == set(AgentJobStatus)
        with pytest.raises(InvalidValueError, match="is not one of"):
            await engine.count("unheard of")


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize(
    "limits",
    [
        {"max_waiting": 0},
        {"max_waiting": 1_000_001},
        {"max_waiting": "1"},
        {"max_batch": 0},
        {"max_batch": 100_001},
        {"max_batch": True},
    ],
    ids=str,
)
async def test_a_limit_out_of_its_range_is_refused(
    facade: type[Any], limits: dict[str, Any]
) -> None:
    [field] = limits
    with pytest.raises(InvalidValueError, match=f"^{field} "):
        facade(**limits)
