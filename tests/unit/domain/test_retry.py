"""The retry rule: the errors that allow another attempt, and the delays."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from engine.domain.exceptions import InvalidValueError
from engine.domain.retry import MAX_DELAY_SECONDS, Retry


class Refused(Exception):  # noqa: N818 - any error of a user's
    retryable = False


def test_the_defaults_are_those_that_are_documented() -> None:
    rule = Retry()
    assert (rule.max_attempts, rule.first_delay_seconds, rule.factor) == (3, 1.0, 2.0)
    assert (rule.longest_delay_seconds, rule.jitter, rule.retry_on) == (300.0, 0.2, (Exception,))


def test_delays_grow_up_to_the_longest() -> None:
    rule = Retry(max_attempts=1_000, jitter=0)
    delays = [rule.delay_seconds(failures, 0.9) for failures in range(1, 12)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize(("first", "longest"), [(0, 300), (299, 300), (301, 301), (3_600, 3_600)])
def test_the_longest_delay_is_by_default_at_least_the_first(first: float, longest: float) -> None:
    rule = Retry(2, first)
    assert rule.longest_delay_seconds == longest
    assert rule.delay_seconds(1, 0.5) == first
    assert replace(rule, first_delay_seconds=7_200).longest_delay_seconds == 7_200
    assert Retry(2, first, max_delay_seconds=5_000).longest_delay_seconds == 5_000


@pytest.mark.parametrize("first", [0, 0.001, 1.0, MAX_DELAY_SECONDS])
@pytest.mark.parametrize("factor", [1, 1.5, 2, 1_000])
def test_no_delay_is_too_large_to_be_added_up(first: float, factor: float) -> None:
    rule = Retry(1_000, first, factor, MAX_DELAY_SECONDS, jitter=1)
    delays = [rule.delay_seconds(failures, 0.5) for failures in range(1, 1_001)]
    assert delays[0] == first
    assert all(earlier <= later <= MAX_DELAY_SECONDS for earlier, later in pairwise(delays))
    assert delays[-1] == (0 if first == 0 else first if factor == 1 else MAX_DELAY_SECONDS)


@pytest.mark.parametrize("failures", [1, 5, 1_000])
def test_delays_are_spread_evenly_to_both_sides(failures: int) -> None:
    middle = Retry(jitter=0).delay_seconds(failures, 0)
    spread = [Retry().delay_seconds(failures, random) for random in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert spread == pytest.approx([middle * part for part in (0.8, 0.9, 1.0, 1.1, 1.2)])
    assert Retry(jitter=1).delay_seconds(failures, 0.0) == 0


@pytest.mark.parametrize(
    ("retry_on", "error", "is_retried"),
    [
        (Exception, ValueError(), True),
        ((OSError, ValueError), UnicodeError(), True),
        (OSError, ConnectionResetError(), True),
        (OSError, ValueError(), False),
        ((), ValueError(), False),
        (Exception, KeyboardInterrupt(), False),
        (Exception, SystemExit(), False),
        (Exception, Refused(), False),
        (Refused, Refused(), False),
    ],
)
def test_only_what_the_rule_names_and_the_error_allows_is_retried(
    retry_on: Any,  # noqa: ANN401 - a class or some
    error: BaseException,
    is_retried: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert Retry(retry_on=retry_on).is_for(error) is is_retried


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("max_attempts", [0, 1_001, 1.0, "3", None, True]),
        ("first_delay_seconds", [-1, 31_622_401, float("nan"), "1", None, True]),
        ("factor", [0.5, 1_001, 10**400, float("inf"), float("nan"), "2", None]),
        ("max_delay_seconds", [0.5, 31_622_401, float("inf"), float("nan"), "1", True]),
        ("jitter", [-0.1, 1.1, float("nan"), "0", None, False]),
        ("retry_on", [BaseException, KeyboardInterrupt, "OSError", None, [OSError], (OSError, 1)]),
    ],
)
def test_what_can_be_no_rule(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidValueError, match=f"^{field} must be ") as caught:
            Retry(**{field: value})
        assert caught.value.field == field
