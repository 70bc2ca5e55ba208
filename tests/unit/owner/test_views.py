"""Views: the snapshots, ids and cursors that callers get.

The engine builds its snapshots without pydantic's validation; they must not differ from validated
ones.
"""

import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from time import time
from typing import Any, TypeAlias

import pytest
from pydantic import BaseModel

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    InvalidValueError,
    Job,
    JobPage,
    JobStatus,
    NewJob,
    SyncJobEngine,
    Transition,
)

Engine: TypeAlias = SyncJobEngine[Any]

SAME: dict[str, Callable[[Any], object]] = {
    "type": type,
    "hash": hash,
    "repr": repr,
    "str": str,
    "model_dump": lambda snapshot: snapshot.model_dump(),
    "model_dump in json mode": lambda snapshot: snapshot.model_dump(mode="json"),
    "model_dump of what was set": lambda snapshot: snapshot.model_dump(exclude_unset=True),
    "model_dump without defaults": lambda snapshot: snapshot.model_dump(exclude_defaults=True),
    "model_dump_json": lambda snapshot: snapshot.model_dump_json(),
    "model_dump_json of what was set": lambda snapshot: snapshot.model_dump_json(
        exclude_unset=True
    ),
    "model_fields_set": lambda snapshot: snapshot.model_fields_set,
    "type of model_fields_set": lambda snapshot: type(snapshot.model_fields_set),
    "model_extra": lambda snapshot: snapshot.model_extra,
    "vars": lambda snapshot: list(vars(snapshot).items()),
    "iteration": list,
    "model_copy": lambda snapshot: snapshot.model_copy(),
    "model_copy, deep": lambda snapshot: snapshot.model_copy(deep=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=["default", "agent"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Open an engine with an ended job and a new one."""
    default = request.param == "default"
    with SyncJobEngine() if default else SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        statuses: Any = JobStatus if default else AgentJobStatus
        job = engine.create("a" * 64, idempotency_key="key")
        engine.transition(job.job_id, statuses.RUNNING)
        engine.transition(job.job_id, statuses.COMPLETED, result="ä result")
        engine.create("b", payment_id="bc")
        yield engine


def _snapshots(engine: Engine) -> list[BaseModel]:
    page = engine.list_jobs()
    return [page, engine.list_jobs(limit=1), *page.jobs, *engine.history(page.jobs[0].job_id)]


def _validated(snapshot: BaseModel) -> BaseModel:
    """Return the same snapshot as pydantic builds it."""
    fields = {name: getattr(snapshot, name) for name in type(snapshot).model_fields}
    return type(snapshot)(**fields)


def test_every_snapshot_equals_a_validated_one(engine: Engine) -> None:
    snapshots = _snapshots(engine)
    assert len(snapshots) == 7
    for snapshot in snapshots:
        assert snapshot == _validated(snapshot)
        assert _validated(snapshot) == snapshot


@pytest.mark.parametrize("view", SAME)
def test_every_snapshot_looks_like_a_validated_one(engine: Engine, view: str) -> None:
    for snapshot in _snapshots(engine):
        assert SAME[view](snapshot) == SAME[view](_validated(snapshot))


def test_a_snapshot_can_be_copied_with_a_change(engine: Engine) -> None:
    [_, job] = engine.list_jobs().jobs
    changed = job.model_copy(update={"input_hash": "c"})
    assert changed == _validated(job).model_copy(update={"input_hash": "c"})
    assert changed.input_hash == "c"
    assert job.input_hash == "b"


def test_a_copy_of_a_snapshot_does_not_change_anothers_set_of_fields(engine: Engine) -> None:
    one, other = engine.list_jobs().jobs
    one.model_copy(update={"made up": 1})
    assert one.model_fields_set == other.model_fields_set == set(Job.model_fields)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_snapshot_can_be_pickled(engine: Engine, protocol: int) -> None:
    for snapshot in _snapshots(engine):
        other = pickle.loads(pickle.dumps(snapshot, protocol))  # noqa: S301 - our own bytes
        assert other == snapshot
        assert other.model_fields_set == snapshot.model_fields_set


def test_a_snapshot_is_frozen(engine: Engine) -> None:
    [job, _] = engine.list_jobs().jobs
    with pytest.raises(ValueError, match="frozen"):
        job.status = JobStatus.FAILED  # type: ignore[misc]


def test_the_default_lifecycle_gives_the_plain_classes() -> None:
    with SyncJobEngine() as engine:
        job = engine.create("a")
        assert type(job) is Job
        assert type(engine.list_jobs()) is JobPage
        assert type(engine.history(job.job_id)[0]) is Transition


def test_another_lifecycle_gives_members_of_its_own_enum() -> None:
    with SyncJobEngine(lifecycle=AGENT_JOB_LIFECYCLE) as engine:
        job = engine.create("a")
        assert type(job) is Job[AgentJobStatus]
        assert job.status is AgentJobStatus.AWAITING_PAYMENT
        assert engine.history(job.job_id)[0].to_status is AgentJobStatus.AWAITING_PAYMENT


def test_ids_are_uuids_of_version_7_in_their_usual_text() -> None:
    before = time()
    with SyncJobEngine() as engine:
        ids = [job.job_id for job in engine.create_many([NewJob("a")] * 2_000)]
    for job_id in ids:
        number = uuid.UUID(job_id)
        assert str(number) == job_id
        assert number.version == 7
        assert number.variant == uuid.RFC_4122
    assert len(set(ids)) == 2_000
    # They begin with the time. Each random digit takes every value.
    times = [int(job_id.replace("-", "")[:12], 16) / 1_000 for job_id in ids]
    assert times == sorted(times)
    assert before - 1 < times[0] <= times[-1] < time() + 1
    for place, digits in list(enumerate(zip(*ids, strict=True)))[14:]:
        assert len(set(digits)) == {14: 1, 18: 1, 19: 4, 23: 1}.get(place, 16)


@pytest.fixture(scope="module")
def cursor() -> str:
    with SyncJobEngine() as engine:
        engine.create_many([NewJob("a")] * 3)
        first = engine.list_jobs(limit=1).next_cursor
        assert first is not None
        assert first == engine.list_jobs(limit=1).next_cursor, "the same page, the same cursor"
        return first


GARBAGE = {
    "empty": "",
    "not base64": "!!!!",
    "not ascii": "pösition",
    "a number": "1",
    "spaces": "   ",
    "nul": "\0",
    "a lone surrogate": "\ud800",
    "too long": "A" * 257,
    "long": "A" * 256,
    "bytes": b"cG9zaXRpb24gMQ",
    "an integer": 1,
    "a list": [],
    "another form": "cGxhY2UgMQ",
    "position 0": "cG9zaXRpb24gMA",
    "position -1": "cG9zaXRpb24gLTE",
    "position 01": "cG9zaXRpb24gMDE",
    "position 1_0": "cG9zaXRpb24gMV8w",
    "position in Arabic digits": "cG9zaXRpb24g2aE",
    "position 2**63": "cG9zaXRpb24gOTIyMzM3MjAzNjg1NDc3NTgwOA",
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_cursor_that_no_page_gave_is_refused(garbage: str) -> None:
    after: Any = GARBAGE[garbage]
    with SyncJobEngine() as engine, pytest.raises(InvalidValueError) as caught:
        engine.list_jobs(after=after)
    assert caught.value.field == "after"


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase, lambda text: text + "="])
def test_a_cursor_that_was_changed_is_refused(cursor: str, change: Callable[[str], str]) -> None:
    with SyncJobEngine() as engine, pytest.raises(InvalidValueError):
        engine.list_jobs(after=change(cursor))


def test_a_cursor_is_opaque_and_short(cursor: str) -> None:
    assert cursor.isascii()
    assert not cursor.isdigit()
    assert len(cursor) < 50


def test_a_cursor_may_point_behind_the_last_job(cursor: str) -> None:
    with SyncJobEngine() as engine:
        page = engine.list_jobs(after=cursor)
    assert (page.jobs, page.next_cursor) == ((), None)
