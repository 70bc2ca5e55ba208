"""The retention rule: its valid arguments."""

from datetime import timedelta
from typing import Any

import pytest

from engine import InvalidValueError, Retention, SyncJobEngine


@pytest.mark.parametrize(
    "how",
    [
        {"max_age": timedelta(0)},
        {"max_age": timedelta.max},
        {"max_jobs": 0},
        {"max_age": timedelta(days=30), "max_jobs": 1_000_000, "interval_seconds": 0.5},
    ],
)
def test_rules(how: dict[str, Any]) -> None:
    rule = Retention(**how)
    assert all(getattr(rule, name) == value for name, value in how.items())


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({}, "retention needs a max_age or a max_jobs"),
        ({"max_age": timedelta(-1)}, "max_age must be a timedelta, 0 or more"),
        ({"max_age": 30}, "max_age must be a timedelta"),
        ({"max_jobs": -1}, "max_jobs must be 0 to"),
        ({"max_jobs": 1.5}, "max_jobs must be an int"),
        ({"max_jobs": 1, "interval_seconds": 0}, "interval_seconds must be seconds, above 0"),
        ({"max_jobs": 1, "interval_seconds": float("nan")}, "interval_seconds must be seconds"),
        ({"max_jobs": 1, "interval_seconds": float("inf")}, "interval_seconds must be seconds"),
        ({"max_jobs": 1, "interval_seconds": "1"}, "interval_seconds must be seconds"),
    ],
)
def test_what_can_be_no_rule(how: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidValueError, match=problem):
        Retention(**how)


def test_an_engine_takes_nothing_else_for_a_rule() -> None:
    with pytest.raises(InvalidValueError, match="retention must be a Retention"):
        SyncJobEngine(retention=30)  # type: ignore[call-overload]
