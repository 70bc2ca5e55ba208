"""Deadlines: the accepted values, their stored form, and the moment of expiry."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine import AGENT_JOB_LIFECYCLE, PAID_JOB_LIFECYCLE, AgentJobStatus, InvalidValueError
from engine.domain.deadlines import (
    NEVER,
    Due,
    check_expires,
    deadlines_text,
    due_after,
    due_in,
)

A = AgentJobStatus
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


def _at(deadline: timedelta | datetime, now: datetime = NOW) -> datetime | None:
    """Store a deadline for running jobs, and return its moment."""
    text = deadlines_text(AGENT_JOB_LIFECYCLE, {A.RUNNING: deadline})
    return due_in(text, "running", now).at


def test_a_timedelta_counts_from_each_entering() -> None:
    for delay in (timedelta(microseconds=1), timedelta(seconds=0.1), timedelta(days=400)):
        assert _at(delay) == NOW + delay
        assert _at(delay, NOW + timedelta(days=1)) == NOW + timedelta(days=1) + delay


def test_a_datetime_stays_what_it_is_in_any_zone() -> None:
    at = datetime(2026, 3, 2, 1, 30, 0, 7, tzinfo=timezone(timedelta(hours=5)))
    for now in (NOW, NOW + timedelta(days=9)):
        assert _at(at, now) == at
    assert _at(at).tzinfo is UTC  # type: ignore[union-attr]


def test_other_statuses_have_no_deadline() -> None:
    text = deadlines_text(AGENT_JOB_LIFECYCLE, {"running": timedelta(1)})
    assert due_in(text, "awaiting_payment", NOW) == NEVER
    assert due_in(None, "running", NOW) == NEVER
    assert deadlines_text(AGENT_JOB_LIFECYCLE, {}) is deadlines_text(AGENT_JOB_LIFECYCLE, None)


@pytest.mark.parametrize("delay", [timedelta.max, timedelta(days=999_999_999), LAST - NOW])
def test_time_never_runs_past_the_end_of_the_calendar(delay: timedelta) -> None:
    assert _at(delay) == LAST
    assert due_after(NOW, delay) == Due(LAST, NOW)
    assert due_after(NOW, delay).kept(NOW - timedelta(days=1)).at == LAST - timedelta(days=1)


def test_a_relative_time_keeps_its_length_when_the_clock_is_set_back() -> None:
    due = due_after(NOW, timedelta(hours=1))
    for earlier in (timedelta(microseconds=1), timedelta(hours=2), timedelta(days=365)):
        assert due.kept(NOW - earlier) == due_after(NOW - earlier, timedelta(hours=1))
    for later in (timedelta(0), timedelta(minutes=1), timedelta(days=365)):
        assert due.kept(NOW + later) is due


def test_a_length_below_nothing_is_none() -> None:
    assert due_after(NOW, timedelta.min) == Due(NOW, NOW)
    assert Due(FIRST, LAST).kept(NOW) == Due(NOW, NOW)


def test_nothing_is_left_of_a_time_that_only_began() -> None:
    assert Due(None, LAST).kept(NOW) == NEVER


def test_an_absolute_time_stays_whatever_the_clock_shows() -> None:
    for due in (Due(NOW), NEVER):
        assert due.kept(NOW - timedelta(days=365)) is due


@pytest.mark.parametrize(
    "deadline",
    [
        timedelta(0),
        timedelta(-1),
        5,
        1.5,
        "1 h",
        None,
    ],
    ids=str,
)
def test_a_value_that_is_no_time_is_refused(deadline: Any) -> None:  # noqa: ANN401
    problem = r"^deadlines\['running'\] must be a timedelta above 0 or an aware datetime, not "
    with pytest.raises(InvalidValueError, match=problem) as bad:
        deadlines_text(AGENT_JOB_LIFECYCLE, {A.RUNNING: deadline})
    assert bad.value.field == "deadlines['running']"


@pytest.mark.parametrize(
    ("deadline", "problem"),
    [
        (datetime(2026, 3, 1), "is a datetime without time zone: add tzinfo"),  # noqa: DTZ001 - the refused value
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
            "is outside the calendar in UTC: datetime.datetime(9999, 12, 31, ",
        ),
    ],
    ids=["naive", "past the end"],
)
def test_a_datetime_that_names_no_moment_is_refused(deadline: datetime, problem: str) -> None:
    with pytest.raises(InvalidValueError) as bad:
        deadlines_text(AGENT_JOB_LIFECYCLE, {A.RUNNING: deadline})
    assert str(bad.value).startswith(f"deadlines['running'] {problem}")


@pytest.mark.parametrize("deadlines", [[A.RUNNING], timedelta(1), "running"], ids=str)
def test_what_is_no_mapping_is_refused(deadlines: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidValueError, match="must map statuses to times"):
        deadlines_text(AGENT_JOB_LIFECYCLE, deadlines)


def test_a_status_that_is_unknown_or_has_no_end_by_time_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="is not one of"):
        deadlines_text(AGENT_JOB_LIFECYCLE, {"unheard of": timedelta(1)})
    for lifecycle in (AGENT_JOB_LIFECYCLE, PAID_JOB_LIFECYCLE):
        with pytest.raises(InvalidValueError, match="can't apply to completed") as refused:
            check_expires(lifecycle, "completed", "deadline")
        assert lifecycle.hint not in str(refused.value)  # no lifecycle lets what has ended expire


def test_in_the_default_lifecycle_a_deadline_is_for_running_jobs_alone() -> None:
    assert deadlines_text(PAID_JOB_LIFECYCLE, {"running": timedelta(1)})
    with pytest.raises(InvalidValueError) as refused:
        deadlines_text(PAID_JOB_LIFECYCLE, {"awaiting_payment": timedelta(1)})
    assert str(refused.value) == (
        "deadlines can't apply to awaiting_payment: only a job in running may have a deadline in "
        f"this lifecycle; see `expires_to`; {PAID_JOB_LIFECYCLE.hint}"
    )


def test_the_error_lists_the_statuses_that_may_have_a_deadline() -> None:
    able = "only a job in awaiting_payment, awaiting_input or running may have a deadline"
    with pytest.raises(InvalidValueError, match=able) as refused:
        check_expires(AGENT_JOB_LIFECYCLE, "completed", "deadline")
    assert refused.value.field == "deadline"
