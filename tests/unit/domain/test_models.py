"""Models: their checks, and the default lifecycle."""

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from engine import (
    LEGAL_TRANSITIONS,
    PAID_JOB_LIFECYCLE,
    AgentJobStatus,
    InvalidStateTransitionError,
    Job,
    JobPage,
    JobStatus,
    Move,
    NewJob,
    Pause,
    Progress,
    Prompt,
    Statistics,
    Transition,
    validate_transition,
)
from engine.domain.snapshot import NOTHING

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER = datetime(2026, 3, 1, 11, tzinfo=timezone(timedelta(hours=5)))

FIELDS: dict[str, Any] = {
    "job_id": "0b4f2c9e-6f0a-4f5e-9d5e-0d5b8f6a7c11",
    "status": JobStatus.AWAITING_PAYMENT,
    "input_hash": "a" * 64,
    "blockchain_identifier": "mock_bc_1",
    "created_at": NOW,
    "updated_at": NOW,
    "result": None,
    "error": None,
}


def test_a_job_of_the_first_eight_fields_is_valid() -> None:
    job = Job(**FIELDS)
    assert (job.version, job.idempotency_key) == (1, None)


def test_times_are_converted_to_utc() -> None:
    job = Job(**(FIELDS | {"created_at": EARLIER, "updated_at": EARLIER}))
    assert job.created_at == EARLIER
    assert {job.created_at.tzinfo, job.updated_at.tzinfo} == {UTC}
    assert job.created_at.hour == 6
    line = Transition(
        sequence=1, job_id="one", from_status=None, to_status=JobStatus.RUNNING, at=EARLIER
    )
    assert line.at.tzinfo is UTC


@pytest.mark.parametrize("field", ["created_at", "updated_at"])
def test_a_time_without_a_zone_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Job(**(FIELDS | {field: datetime(2026, 3, 1)}))  # noqa: DTZ001 - the refused value


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"status": "unheard of"},
        {"status": AgentJobStatus.AWAITING_INPUT},
        {"job_id": None},
        {"result": 5},
        {"surplus": "x"},
    ],
    ids=str,
)
def test_a_job_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Job(**(FIELDS | change))


def test_a_job_of_another_lifecycle_has_its_statuses() -> None:
    fields = FIELDS | {"status": "awaiting_input"}
    assert Job[AgentJobStatus](**fields).status is AgentJobStatus.AWAITING_INPUT


SNAPSHOTS: list[BaseModel] = [
    Job(**FIELDS),
    Transition(sequence=1, job_id="one", from_status=None, to_status=JobStatus.RUNNING, at=NOW),
    JobPage(jobs=(Job(**FIELDS),), next_cursor=None),
    Prompt(prompt_id="p-1", name="colour", question=None, json_schema={"type": "string"}),
    Progress(job_id="one", attempt=1, done=0.5),
    Pause(kind="report", at=NOW),
    Statistics(
        jobs={},
        last_sequence=0,
        answered=0,
        refused=0,
        batches=0,
        largest_batch=0,
        queued=0,
        removed=0,
        ready=0,
        running=0,
        waiting=0,
        strays=0,
        unhandled=0,
        paused=0,
        draining=False,
        attempts=0,
        retried=0,
        expired=0,
        watchers=0,
    ),
]


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda snapshot: type(snapshot).__name__)
def test_snapshots_are_frozen_and_closed(snapshot: BaseModel) -> None:
    for field in type(snapshot).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(snapshot, field, getattr(snapshot, field))
    with pytest.raises(ValidationError):
        type(snapshot).model_validate({**snapshot.model_dump(), "surplus": 1})


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda snapshot: type(snapshot).__name__)
def test_snapshots_survive_json(snapshot: BaseModel) -> None:
    assert type(snapshot).model_validate_json(snapshot.model_dump_json()) == snapshot


@pytest.mark.parametrize(
    ("result", "form", "value"),
    [
        (None, None, None),
        ("", None, ""),
        ('{"pages": 3}', None, '{"pages": 3}'),  # a text that only looks like JSON
        ('{"pages": [1, 2.5, null]}', "json", {"pages": [1, 2.5, None]}),
        ("null", "json", None),
        ("5", "json", 5),
    ],
)
def test_the_value_is_the_result_as_it_was_returned(
    result: str | None, form: str | None, value: object
) -> None:
    job = Job(**(FIELDS | {"result": result, "result_form": form}))
    assert job.value == value
    for dump in (job.model_dump(), job.model_dump(mode="json"), json.loads(job.model_dump_json())):
        assert (dump["value"], dump["result"]) == (value, result)
        assert Job.model_validate(dump) == job
    assert Job.model_validate_json(job.model_dump_json()) == job
    assert "value" not in job.model_dump(round_trip=True)
    assert "value=" not in repr(job)
    page = JobPage(jobs=(job,), next_cursor=None)
    assert JobPage.model_validate(page.model_dump()) == page


def test_a_dump_is_a_json_response_as_it_is() -> None:
    prompt = Prompt(prompt_id="p-1", name="colour", question=None, json_schema={"type": "string"})
    more = {"result": "[1]", "result_form": "json", "prompt": prompt, "deadline_at": NOW}
    for kind in (Job, Job[AgentJobStatus]):
        dump = kind(**(FIELDS | more)).model_dump(mode="json")
        assert json.loads(json.dumps(dump)) == dump
        assert dump.keys() == {*kind.model_fields, "value"}


def test_only_what_names_the_job_is_given_by_its_place() -> None:
    for make, names in ((NewJob, ["input_hash"]), (Move, ["job_id", "target"])):
        by_place = [
            name
            for name, each in inspect.signature(make).parameters.items()
            if each.kind is not each.KEYWORD_ONLY
        ]
        assert by_place == names


def test_a_shared_empty_dict_of_a_snapshot_can_not_be_filled() -> None:
    changes: tuple[Callable[[], object], ...] = (
        lambda: NOTHING.update(a=1),
        lambda: NOTHING.update({"a": 1}),
        lambda: NOTHING.setdefault("a", 1),
        lambda: NOTHING.__setitem__("a", 1),
        lambda: NOTHING.__ior__({"a": 1}),
    )
    for change in changes:
        with pytest.raises(TypeError, match="a snapshot can't be changed"):
            change()
    assert not NOTHING


@pytest.mark.parametrize("item", [NewJob("a"), Move("id", JobStatus.RUNNING)], ids=["new", "move"])
def test_items_of_bulk_calls_are_frozen_and_closed(item: NewJob | Move) -> None:
    for field in type(item).__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(item, field, None)
    with pytest.raises((AttributeError, TypeError)):
        item.surplus = 1  # type: ignore[union-attr]


def test_the_default_lifecycle_is_the_acceptance_table() -> None:
    assert [status.value for status in JobStatus] == [
        "awaiting_payment",
        "running",
        "completed",
        "failed",
    ]
    assert dict(PAID_JOB_LIFECYCLE.moves) == LEGAL_TRANSITIONS
    assert PAID_JOB_LIFECYCLE.initial is JobStatus.AWAITING_PAYMENT
    assert PAID_JOB_LIFECYCLE.running is JobStatus.RUNNING
    assert PAID_JOB_LIFECYCLE.success == {JobStatus.COMPLETED}
    assert PAID_JOB_LIFECYCLE.failure == {JobStatus.FAILED}


def test_validate_transition_judges_by_the_default_lifecycle() -> None:
    for current in JobStatus:
        for target in JobStatus:
            if target in LEGAL_TRANSITIONS[current]:
                validate_transition(current, target)
                continue
            with pytest.raises(InvalidStateTransitionError) as caught:
                validate_transition(current, target)
            assert caught.value.from_state == current.value
            assert caught.value.to_state == target.value
            assert caught.value.job_id is None
