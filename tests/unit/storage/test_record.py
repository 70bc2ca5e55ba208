"""Records: what storages are given is plain, so that the garbage collector need not walk it."""

import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest

from engine import Job, JobStatus, MemoryStorage, SyncJobEngine
from engine.storage.record import (
    NO_WORK,
    WORK,
    Change,
    Record,
    WorkState,
    moved,
    newest_records,
    reworked,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORD: Record = (
    *("id", "new", "hash", "bc", NOW, NOW, None, None, 4, 7, "key", "[1]"),
    NO_WORK._replace(attempt=1, retry_at=NOW).kept(),
)


class Word(StrEnum):
    HASH = "hash"
    IDENTIFIER = "identifier"
    KEY = "key"
    RESULT = "result"
    ERROR = "error"


class KeepingStorage(MemoryStorage):
    """Keeps what it was given to commit."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    async def commit(self, changes: Sequence[Change]) -> None:
        self.changes += changes
        await super().commit(changes)


def test_a_move_changes_status_time_outcome_and_version_and_nothing_else() -> None:
    later = NOW + timedelta(seconds=1)
    assert moved(RECORD, "done", later, "a result", None) == (
        *("id", "done", "hash", "bc", NOW, later, "a result", None, 5, 7, "key", "[1]", None),
    )
    assert moved(RECORD, "done", later, None, None, RECORD[WORK])[WORK] == RECORD[WORK]
    assert moved(RECORD, "lost", later, None, "an error")[6:8] == (None, "an error")


@pytest.mark.parametrize("seconds", [-1, -86_400 * 365, 0])
def test_a_move_never_turns_the_time_back(seconds: int) -> None:
    assert moved(RECORD, "done", NOW + timedelta(seconds=seconds), None, None)[5] == NOW


def test_a_rework_changes_the_work_and_nothing_else() -> None:
    again = reworked(RECORD, attempt=2, retry_at=None)
    assert again == (*RECORD[:WORK], NO_WORK._replace(attempt=2).kept())
    assert WorkState.of(again).attempt == 2
    idle: Record = (*RECORD[:WORK], None)
    assert WorkState.of(idle) == NO_WORK
    assert reworked(idle, priority=3)[WORK] == NO_WORK._replace(priority=3).kept()
    assert newest_records([(1, None, idle), (None, "new", again)]) == {"id": again}


def test_the_garbage_collector_lets_go_of_works() -> None:
    records = [
        reworked(RECORD, deadlines=str(number), token=f"token {number}") for number in range(3)
    ]
    gc.collect()  # of the works, and then
    gc.collect()  # of the records, which hold nothing else that is tracked
    assert type(records[0][WORK]) is tuple
    assert not any(gc.is_tracked(record) for record in records)


def _run_jobs(storage: MemoryStorage) -> list[Job]:
    """Make one job complete and another one fail, with enum members for all the texts."""
    with SyncJobEngine(storage) as engine:
        one = engine.create(
            Word.HASH, blockchain_identifier=Word.IDENTIFIER, idempotency_key=Word.KEY
        )
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
    for _, from_status, record in storage.changes:
        assert type(record) is tuple
        assert {type(value) for value in record} <= {str, int, datetime, type(None)}
        assert type(from_status) in {str, type(None)}


def test_a_snapshot_holds_plain_texts_whatever_the_caller_gave() -> None:
    for job in _run_jobs(MemoryStorage()):
        texts = [getattr(job, name) for name in ("input_hash", "result", "error")]
        assert {type(text) for text in texts} <= {str, type(None)}


def test_the_garbage_collector_lets_go_of_records() -> None:
    storage = KeepingStorage()
    _run_jobs(storage)
    gc.collect()
    assert not any(gc.is_tracked(record) for _, _, record in storage.changes)
