"""Subclasses of int, float, datetime and timedelta become plain at the door.

Such are an enum's members, numpy's floats, pandas' and pendulum's times. Nothing odd reaches a
record, a JSON text, SQLite or another process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import pytest
from msgspec.structs import astuple

from engine import (
    AGENT_JOB_LIFECYCLE,
    AgentJobStatus,
    Progress,
    Retention,
)
from engine.domain.deadlines import check_deadline
from engine.domain.validation import check_integer, check_number, check_seconds, check_timeout
from engine.portal.time import read_clock
from engine.storage import Change, MemoryStorage
from engine.storage.audit import AuditLine
from engine.testing.facades import FACADES, opened_engine
from engine.worker.context import Context

pytestmark = pytest.mark.anyio

EAST = timezone(timedelta(hours=2))


class Level(IntEnum):
    HIGH = 7


class OddInt(int):
    def __str__(self) -> str:
        return "odd"

    __repr__ = __str__

    def __int__(self) -> int:
        return 99

    def __index__(self) -> int:
        return 99

    def __le__(self, _other: object) -> bool:
        return True

    __ge__ = __gt__ = __lt__ = __le__


class OddFloat(float):
    def __repr__(self) -> str:
        return "odd"

    def __float__(self) -> float:
        return 99.0


class OddTime(datetime):
    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return f"odd{sep}{timespec}"

    def __sub__(self, _other: object) -> object:  # type: ignore[override]
        raise AssertionError

    __add__ = __lt__ = __gt__ = __sub__  # type: ignore[assignment]


class OddDuration(timedelta):
    def total_seconds(self) -> float:
        return 99.0

    def __lt__(self, _other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__


ODD_TIME = OddTime(2040, 3, 1, 14, 0, 0, 5, EAST)
PLAIN_TIME = datetime(2040, 3, 1, 12, 0, 0, 5, UTC)


def is_plain(value: object, expected: object) -> bool:
    return (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (check_integer("n", Level.HIGH, 1), 7),
        (check_integer("n", OddInt(5), 1), 5),
        (check_number("n", OddInt(5)), 5),
        (check_number("n", OddFloat(0.5)), 0.5),
        (check_seconds("n", Level.HIGH), 7),
        (check_seconds("n", OddFloat(0.5)), 0.5),
        (check_timeout(OddFloat(0.5)), 0.5),
        (check_timeout(OddInt(5)), 5.0),
        (check_deadline("n", ODD_TIME), PLAIN_TIME),
        (check_deadline("n", OddDuration(seconds=5)), timedelta(seconds=5)),
        (read_clock(lambda: ODD_TIME), PLAIN_TIME),
        (Retention(max_age=OddDuration(days=5)).max_age, timedelta(days=5)),
    ],
)
def test_a_checked_value_is_plain(value: object, expected: object) -> None:
    assert is_plain(value, expected)


@pytest.mark.parametrize("check", [check_integer, check_number, check_seconds])
def test_a_value_is_compared_as_what_it_is(check: Callable[..., object]) -> None:
    arguments = (1, 3) if check is not check_seconds else ()
    with pytest.raises(ValueError, match=r"must be|and is"):
        check("n", OddInt(-5), *arguments)


def test_a_deadline_is_compared_as_what_it_is() -> None:
    with pytest.raises(ValueError, match="must be a timedelta above 0"):
        check_deadline("n", OddDuration(seconds=-5))


class WatchedStorage(MemoryStorage):
    """Remembers what was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    async def commit(self, changes: Sequence[Change], lines: Sequence[AuditLine] = ()) -> None:
        self.changes += changes
        await super().commit(changes, lines)


@pytest.mark.parametrize("facade", FACADES)
async def test_what_a_caller_gives_is_plain_in_the_record(facade: type[Any]) -> None:
    storage = WatchedStorage()
    odd_deadlines = {
        AgentJobStatus.AWAITING_PAYMENT: OddTime(2040, 3, 1, 14, 0, 0, 5, EAST),
        AgentJobStatus.AWAITING_INPUT: OddDuration(seconds=5),
    }
    async with opened_engine(
        facade, storage, lifecycle=AGENT_JOB_LIFECYCLE, clock=lambda: OddTime.now(EAST)
    ) as engine:
        job = await engine.create(
            "hash",
            input={"level": Level.HIGH, "odd": [OddFloat(0.5)]},
            priority=Level.HIGH,
            deadlines=odd_deadlines,
        )
        await engine.transition(job.job_id, AgentJobStatus.RUNNING, expected_version=OddInt(1))
        assert len((await engine.list_jobs(limit=OddInt(5))).jobs) == 1
    record = storage.changes[0].record
    execution = record.execution
    published: list[Progress] = []
    Context(job, record, AGENT_JOB_LIFECYCLE, published.append).progress(OddFloat(0.5), Level.HIGH)
    assert is_plain(published[0].done, 0.5)
    assert is_plain(published[0].total, 7.0)
    values = [*astuple(execution), record.created_at, record.updated_at, record.input]
    assert {type(value) for value in values} <= {int, str, datetime, type(None)}
    assert record.input == '{"level":7,"odd":[0.5]}'
    assert is_plain(execution.priority, 7)
    assert is_plain(execution.deadline_at, PLAIN_TIME)
    assert json.loads(execution.deadlines or "") == {
        "awaiting_payment": "2040-03-01T12:00:00.000005+00:00",
        "awaiting_input": 5.0,
    }
