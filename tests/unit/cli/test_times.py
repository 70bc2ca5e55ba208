"""Ages and distances, as people write and read them."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import pytest

from engine.cli.times import duration, moment
from engine.domain.spans import distance, span

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2min", 120), ("2m", 120), ("1h", 3_600), ("2d", 172_800), ("1w", 604_800)],
)
def test_durations_have_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1 h", "1h ", "1y", "999999999w"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="must be a time such as 90s, 30min, 2h or 7d"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2h", NOON - timedelta(hours=2)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-03-01T11:00:00", NOON - timedelta(hours=1)),
        ("2026-03-01T13:00:00+01:00", NOON),
        ("2026-03-01T12:00:00Z", NOON),
    ],
)
def test_moments_are_times_or_ages(text: str, time: datetime) -> None:
    assert moment(text, NOON) == time


@pytest.mark.parametrize("text", ["", "noon", "2026-13-01", "999999999h", "0001-01-01T00:00+09:00"])
def test_other_texts_are_no_moments(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="must be an age such as 2h, or a time such as"):
        moment(text, NOON)


def test_lengths_have_their_two_largest_units() -> None:
    day, minute = timedelta(days=1), timedelta(minutes=1)
    lengths = (timedelta(0), minute - timedelta(seconds=1), minute, 125 * minute, 3 * day + minute)
    assert [*map(span, lengths)] == ["0 s", "59 s", "1 min", "2 h 5 min", "3 d"]
    assert distance(NOON + day, NOON) == "in 1 d"
    assert distance(NOON, NOON) == "0 s ago"
