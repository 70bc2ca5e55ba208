"""Records hold plain values, so that the garbage collector need not track them."""

import gc
import pickle
from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest
from msgspec.structs import astuple, fields, replace

from engine import Job, JobStatus, MemoryStorage, SyncJobEngine
from engine.domain.deadlines import Due
from engine.storage.audit import AuditLine
from engine.storage.record import (
    NO_EXECUTION,
    AttemptRecord,
    Change,
    Execution,
    Record,
    newest_records,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORD = Record(
    *("id", "new", "hash", "bc", NOW, NOW, 7, 4),
    idempotency_key="key",
    input="[1]",
    execution=Execution(attempt=1, retry_at=NOW),
)


class Word(StrEnum):
    HASH = "hash"
    IDENTIFIER = "identifier"
    KEY = "key"
    RESULT = "result"
    ERROR = "error"


class KeepingStorage(MemoryStorage):
    """Records its committed changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.changes += changes
        await super().commit(changes, lines)


def test_a_move_changes_status_time_outcome_and_version_and_nothing_else() -> None:
    later = NOW + timedelta(seconds=1)
    done = RECORD.moved("done", later, 9, result="a result", outcome="succeeded")
    assert done == Record(
        *("id", "done", "hash", "bc", NOW, later, 7, 5),
        result="a result",
        idempotency_key="key",
        input="[1]",
        outcome="succeeded",
        sequence=9,
    )
    assert RECORD.moved("done", later, 9, execution=RECORD.execution).execution == RECORD.execution
    lost = RECORD.moved("lost", later, 9, error="an error")
    assert (lost.result, lost.error, lost.outcome) == (None, "an error", None)


def test_a_job_starts_once() -> None:
    later = NOW + timedelta(seconds=1)
    started = RECORD.moved("running", NOW, 9, starts=True)
    asking = started.moved("asking", later, 10)
    again = asking.moved("running", later, 11, starts=True)
    assert [RECORD.started_at, *(each.started_at for each in (started, asking, again))] == [
        None,
        NOW,
        NOW,
        NOW,
    ]


@pytest.mark.parametrize("seconds", [-1, -86_400 * 365, 0])
def test_a_move_never_turns_the_time_back(seconds: int) -> None:
    assert RECORD.moved("done", NOW + timedelta(seconds=seconds), 9).updated_at == NOW


def test_another_execution_changes_nothing_else() -> None:
    again = RECORD.with_execution(Execution(attempt=2))
    assert again == replace(RECORD, execution=Execution(attempt=2))
    assert newest_records([Change(1, None, RECORD), Change(None, "new", again)]) == {"id": again}


NEW = "the token of a new attempt"
ALL = Execution(
    priority=3,
    attempt=5,
    failures=2,
    token="token",  # noqa: S106 - of an attempt
    claimed_at=NOW,
    deadlines="deadlines",
    deadline_at=NOW,
    retry_at=NOW,
    prompt="prompt",
    answers="answers",
    cancel_reason="reason",
    result_form="json",
    trace="trace",
    deaths=7,
    died_attempt=4,
    deadline_since=NOW,
    retry_since=NOW,
    not_before=NOW,
    last_error="error",
    cancelled_by="somebody",
    repeat_of="another",
    repeated_by="a third",
)


def test_each_step_of_an_execution_changes_what_it_names_and_nothing_else() -> None:
    later = NOW + timedelta(seconds=1)
    due = Due(later + timedelta(hours=1), later)
    deadline = {"deadline_at": due.at, "deadline_since": due.since}
    retry = {"retry_at": due.at, "retry_since": due.since}
    gone = ("token", "deadline_at", "deadline_since", "retry_at", "retry_since", "prompt")
    entering = replace(ALL, **dict.fromkeys((*gone, "result_form", "died_attempt")))
    assert ALL.entering(due) == replace(entering, **deadline)
    assert ALL.entering(due, due) == replace(entering, **deadline, **retry)
    claimed = replace(ALL, attempt=6, token=NEW, claimed_at=later, retry_at=None, retry_since=None)
    assert ALL.claimed(NEW, later) == claimed
    released = replace(ALL, token=None, died_attempt=None, **retry)
    assert ALL.released(due) == released
    suspected = replace(ALL, token=None, died_attempt=5, **retry)
    assert ALL.suspected(due, deaths=7) == suspected
    assert ALL.suspected(due, deaths=0) == replace(suspected, deaths=None)
    assert ALL.fresh() == replace(ALL, failures=0, deaths=None)
    assert NO_EXECUTION.fresh() is NO_EXECUTION
    failure = AttemptRecord(5, NOW, NOW, "failed", "bad")
    death = failure._replace(outcome="died")
    assert ALL.failed(failure) == replace(ALL, failures=3, last_error="bad")
    assert ALL.failed(death) == replace(ALL, deaths=8, last_error="bad")
    assert (ALL.fresh().failed(failure).deaths, ALL.fresh().failed(death).deaths) == (None, 1)
    assert ALL.with_last_error("bad") == replace(ALL, last_error="bad")
    assert ALL.asking("asked", due) == replace(ALL, prompt="asked", **deadline)
    assert ALL.answered("{}") == replace(ALL, answers="{}")
    assert Execution().with_result("json") == Execution(result_form="json")
    cancelled = ALL.to_be_cancelled("late", None)
    assert cancelled == replace(ALL, cancel_reason="late", cancelled_by=None)
    assert Execution() == NO_EXECUTION


@pytest.mark.parametrize("began", ["deadline", "retry"])
def test_a_time_that_began_in_the_future_begins_anew(began: str) -> None:
    hour = timedelta(hours=1)
    times = {"deadline_at": NOW + hour, "retry_at": NOW + 2 * hour}
    ahead = Execution(**times, **{f"{began}_since": NOW})  # type: ignore[arg-type]
    assert not ahead.began_after(NOW)
    assert ahead.began_after(NOW - hour)
    moved = {f"{began}_at": times[f"{began}_at"] - hour, f"{began}_since": NOW - hour}
    assert ahead.set_back(NOW - hour) == replace(ahead, **moved)
    assert ahead.set_back(NOW) == ahead


def test_a_wait_that_is_set_back_ends_no_earlier_than_the_submitter_allows() -> None:
    hour = timedelta(hours=1)
    ahead = Execution(retry_at=NOW + hour, retry_since=NOW, not_before=NOW - hour / 2)
    moved = ahead.set_back(NOW - 2 * hour)
    assert (moved.retry_at, moved.retry_since) == (NOW - hour / 2, None)
    moved = ahead.set_back(NOW - hour)
    assert (moved.retry_at, moved.retry_since) == (NOW, NOW - hour)
    ready = Execution(deadline_at=NOW + hour, deadline_since=NOW, not_before=NOW + hour)
    assert ready.set_back(NOW - hour).retry_at is None


@pytest.mark.parametrize("began", ["deadline", "retry"])
def test_what_began_in_the_future_is_set_back_once(began: str) -> None:
    for at in (None, NOW - timedelta(days=999), NOW):
        times = {f"{began}_at": at, f"{began}_since": NOW + timedelta(hours=1)}
        ahead = Execution(**times)  # type: ignore[arg-type]
        assert ahead.began_after(NOW)
        assert not ahead.set_back(NOW).began_after(NOW)


def test_a_job_has_nothing_left_to_wait_for_when_it_has_ended() -> None:
    left = {"priority", "deadlines", "attempt", "failures", "answers", "cancel_reason"}
    left |= {"result_form", "trace", "deaths", "claimed_at", "not_before", "last_error"}
    left |= {"cancelled_by", "repeat_of", "repeated_by"}
    ended = ALL.ended()
    for field in fields(Execution):
        value = getattr(ALL, field.name) if field.name in left else field.default
        assert getattr(ended, field.name) == value


def test_a_job_is_reopened_with_new_names_and_ends() -> None:
    execution = replace(ALL, deadlines='{"old":1,"other":2}')
    record = replace(RECORD, status="old", execution=execution)
    live = record.reopened({"old": "new"}, {"new": None, "final": "failed"}, "running")
    renamed = replace(execution, deadlines='{"new":1,"other":2}')
    assert live == replace(record, status="new", execution=renamed)
    ended = record.reopened({"old": "final"}, {"final": "failed"}, "running")
    assert (ended.status, ended.outcome) == ("final", "failed")
    assert ended.reopened({}, {"final": "succeeded"}, "running").outcome == "failed"
    assert ended.reopened({}, {"final": None}, "running").outcome is None
    deadlines = '{"final":1,"other":2}'
    assert ended.execution == replace(execution, deadlines=deadlines).ended()
    plain = replace(record, execution=NO_EXECUTION)
    assert plain.reopened({}, {"old": "failed"}, "running").execution is NO_EXECUTION


@pytest.mark.parametrize("outcome", [None, "cancelled"])
def test_a_job_stays_as_it_is_in_a_status_that_a_lifecycle_does_not_know(
    outcome: str | None,
) -> None:
    record = replace(RECORD, status="another's", outcome=outcome, execution=ALL)
    kept = record if outcome is None else record.with_execution(ALL.ended())
    assert kept.reopened({}, {"waiting": None, "done": "succeeded"}, "running") == kept


def test_records_can_be_pickled_copied_and_hashed() -> None:
    for each in (RECORD, ALL, Change(1, None, RECORD)):
        assert pickle.loads(pickle.dumps(each)) == each  # noqa: S301 - our own
        assert copy(each) == each
        assert len({each, copy(each)}) == 1
        with pytest.raises(AttributeError):
            each.status = "other"  # type: ignore[union-attr, misc]


def _run_jobs(storage: MemoryStorage) -> list[Job]:
    """Complete one job and fail another, with enum members for all texts."""
    with SyncJobEngine(storage) as engine:
        one = engine.create(Word.HASH, payment_id=Word.IDENTIFIER, idempotency_key=Word.KEY)
        other = engine.create(Word.HASH)
        for job in (one, other):
            engine.transition(job.job_id, JobStatus.RUNNING)
        return [
            engine.transition(one.job_id, JobStatus.COMPLETED, result=Word.RESULT),
            engine.transition(other.job_id, JobStatus.FAILED, error=Word.ERROR),
        ]


def test_a_record_holds_plain_values_whatever_the_caller_gave() -> None:
    storage = KeepingStorage()
    _run_jobs(storage)
    assert len(storage.changes) == 6
    for change in storage.changes:
        record = astuple(change.record)
        assert change.record.execution in record
        values = [each for each in record if each is not change.record.execution]
        values += astuple(change.record.execution)
        assert {type(value) for value in values} <= {str, int, datetime, type(None)}
        assert type(change.from_status) in {str, type(None)}


def test_a_snapshot_holds_plain_texts_whatever_the_caller_gave() -> None:
    for job in _run_jobs(MemoryStorage()):
        texts = [getattr(job, name) for name in ("input_hash", "result", "error")]
        assert {type(text) for text in texts} <= {str, type(None)}


def test_the_garbage_collector_never_tracks_records() -> None:
    storage = KeepingStorage()
    _run_jobs(storage)
    for change in storage.changes:
        assert not any(map(gc.is_tracked, (change, change.record, change.record.execution)))
    assert not gc.is_tracked(ALL)
