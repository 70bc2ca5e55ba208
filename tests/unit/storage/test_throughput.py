"""What transitions mean for the throughput, and the periods that it is told in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import AGENT_JOB_LIFECYCLE, ORDER_LIFECYCLE, PAID_JOB_LIFECYCLE, Lifecycle
from engine.domain.lifecycle.description import description
from engine.storage.overview import Statuses
from engine.storage.throughput import (
    KEPT_SPAN,
    MinuteCount,
    MinuteCounts,
    Periods,
    Span,
    Throughput,
    throughput_by,
)
from engine.testing.values import NOON, TIMES

MINUTE = timedelta(minutes=1)
HOUR = Periods.until(NOON, minutes=1, count=60)


def test_a_lifecycle_says_what_the_end_of_a_job_means() -> None:
    outcomes = ORDER_LIFECYCLE.status_outcomes
    counts = [
        MinuteCount(NOON, status, is_created, 10**place)
        for is_created in (True, False)
        for place, status in enumerate(outcomes)
    ]
    [(at, happened)] = throughput_by(HOUR, counts, outcomes).items()
    numbers = {status: 10**place for place, status in enumerate(outcomes)}
    assert at == NOON
    assert happened == Throughput(
        created=sum(numbers.values()),
        succeeded=2 * numbers["completed"],
        failed=2 * numbers["failed"],
        given_up=2 * (numbers["cancelled"] + numbers["expired"]),
    )


def test_a_job_whose_process_died_has_failed() -> None:
    counts = [MinuteCount(NOON, "broken", is_created=False, transitions=3)]
    assert throughput_by(HOUR, counts, {"broken": "died"}) == {NOON: Throughput(failed=3)}


def test_an_unknown_status_ends_nothing() -> None:
    counts = [MinuteCount(NOON, "elsewhere", is_created, 1) for is_created in (True, False)]
    assert throughput_by(HOUR, counts, {"done": "succeeded"}) == {NOON: Throughput(created=1)}
    assert throughput_by(HOUR, counts[1:], {"elsewhere": "unheard of"}) == {}


@pytest.mark.parametrize("lifecycle", [PAID_JOB_LIFECYCLE, ORDER_LIFECYCLE, AGENT_JOB_LIFECYCLE])
def test_the_kept_lifecycle_says_the_same(lifecycle: Lifecycle[Any]) -> None:
    statuses = Statuses.of(description(lifecycle))
    assert statuses is not None
    known = {status: each for status, each in lifecycle.status_outcomes.items() if each}
    assert statuses.status_outcomes == known


def test_periods_begin_at_full_quarters() -> None:
    now = datetime(2026, 11, 30, 3, 7, 59, 1, tzinfo=UTC)
    day = Periods.until(now, minutes=15, count=96)
    assert day.last == datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
    assert day.first == day.last - 95 * 15 * MINUTE
    counts = [
        MinuteCount(day.last + offset * MINUTE, "new", is_created=True, transitions=1)
        for offset in (-95 * 15 - 1, -95 * 15, -16, -15, -1, 0, 14, 15)
    ]
    created = {at: each.created for at, each in throughput_by(day, counts, {}).items()}
    assert created == {
        day.first: 1,
        day.last - 30 * MINUTE: 1,
        day.last - 15 * MINUTE: 2,
        day.last: 2,
    }
    assert [*created] == sorted(created)


@pytest.mark.parametrize("now", TIMES)
def test_any_clock_has_periods(now: datetime) -> None:
    for minutes, count in ((1, 60), (15, 96), (7, 206)):
        periods = Periods.until(now, minutes, count)
        counts = [MinuteCount(at, "new", True, 1) for at in (periods.first, periods.last)]  # noqa: FBT003
        found = throughput_by(periods, counts, {})
        assert Throughput.sum(found.values()).created == 2
        assert Span.around(now).first <= now <= Span.around(now).last


def test_sums_of_nothing_are_nothing() -> None:
    assert Throughput.sum([]) == Throughput()
    assert Throughput.sum([Throughput(1, 2, 3, 4), Throughput(10)]) == Throughput(11, 2, 3, 4)


def test_counts_in_memory_are_bounded() -> None:
    counts = MinuteCounts()
    for number in range(4_000):
        at = NOON + number * MINUTE
        counts.add([MinuteCount(at, "new", is_created=True, transitions=1)], at)
    assert len(counts.since(NOON)) == KEPT_SPAN // MINUTE + 1
